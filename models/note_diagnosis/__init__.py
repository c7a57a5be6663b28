"""The likely disease that a short description of symptoms speaks of, with the words that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models.payloads import Note, Payload
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The regression, opened. It runs on the CPU, whatever device is asked for."""
    from models.note_diagnosis.model import NoteDiagnosis

    return NoteDiagnosis(card)


def example() -> Payload:
    """An invented description of symptoms."""
    return Note(text=(HERE / "example" / "note.txt").read_text("utf-8"))


def _legend(finding: Finding) -> list[str]:
    seen: Mapping[str, Any] = finding.evidence
    lines = [
        f"{finding.code.value} {finding.code.meaning}: {finding.probability:.2f} (asked: {finding.threshold})"
    ]
    return lines + [f"{a['code']} {a['meaning']}: {a['probability']:.2f}" for a in seen["alternatives"]]


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The note with the words that spoke for the disease marked, and the runners-up listed above it."""
    from models.highlight import Mark, page

    if not isinstance(payload, Note):
        raise TypeError(f"a note was expected, got {type(payload).__name__}")
    marks, legend = [], []
    for finding in findings:
        words: Any = finding.evidence.get("words", ())
        marks += [
            Mark(start=w["start"], end=w["end"], kind="word", label=f"+{w['weight']:.1f}") for w in words
        ]
        legend += _legend(finding)
    return Explanation(media_type="text/html", content=page("note-diagnosis", payload.text, marks, legend))
