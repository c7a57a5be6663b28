"""ECG beats: normal, supraventricular, ventricular or fusion (AAMI EC57), each marked where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from db.records import Finding
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


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """Each finding's rhythm strip with its beats marked, as a PNG."""
    from models.ecg_beat import view

    if not isinstance(payload, Recording):
        raise TypeError(f"an ECG was expected, got {type(payload).__name__}")
    return view.render(payload, findings)
