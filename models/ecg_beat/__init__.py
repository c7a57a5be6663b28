"""ECG beats: normal, supraventricular, ventricular or fusion (AAMI EC57), each marked where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from db.records import Diagnosis, Finding
from models.payloads import Payload, Recording
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The model with the card's weights on the device. Imports torch."""
    from models.ecg_beat.model import EcgBeat

    return EcgBeat(card, device)


def example() -> Recording:
    """An invented ECG, no one's, with two ventricular and two supraventricular early beats."""
    from safetensors.numpy import load_file

    held = load_file(HERE / "example" / "recording.safetensors")
    signals = (held["microvolts"] / 1000).astype("float32")
    return Recording(signals=signals, rate_hz=float(held["rate_hz"][0]), leads=("MLII", "V1"))


def variations(count: int = 128) -> list[Recording]:
    """Invented ECGs with early beats at many rates: to compare back-ends on."""
    from models.ecg_beat.invent import varied

    return varied(count)


def alike(expected: Diagnosis, given: Diagnosis) -> tuple[int, int]:
    """(beats of the same class, beats) of two readings of one recording."""
    told = [_beats(diagnosis) for diagnosis in (expected, given)]
    one, other = (marked for marked, _ in told)
    differing = sum(one.get(sample) != other.get(sample) for sample in one.keys() | other.keys())
    return told[0][1] - differing, told[0][1]


def _beats(diagnosis: Diagnosis) -> tuple[dict[int, str], int]:
    """Sample -> class of the beats that are not normal, and how many beats there are at all."""
    found = [f.evidence for f in diagnosis.findings if f.evidence.get("kind") == "beats"]
    marked = {int(beat["sample"]): str(beat["class"]) for one in found for beat in cast(Any, one["beats"])}
    return marked, int(cast(Any, found[0]["of"]))


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """Each finding's rhythm strip with its beats marked, as a PNG."""
    from models.ecg_beat import view

    if not isinstance(payload, Recording):
        raise TypeError(f"an ECG was expected, got {type(payload).__name__}")
    return view.render(payload, findings)
