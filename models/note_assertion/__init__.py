"""Which problems a note asserts, negates, doubts, recalls or tells of relatives, coded, with offsets."""

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
    """The term lists, opened. The rules run on the CPU, whatever device is asked for."""
    from models.note_assertion.model import NoteAssertion

    return NoteAssertion(card)


def example() -> Payload:
    """An invented discharge note."""
    return Note(text=(HERE / "example" / "note.txt").read_text("utf-8"))


def _marks(finding: Finding) -> list[Any]:
    from models.highlight import Mark

    seen: Mapping[str, Any] = finding.evidence
    said = finding.qualifier or "asserted"
    label = f"{finding.code.value} {seen['term']}: {', '.join(seen['qualifiers']) or 'asserted'}"
    marks = [Mark(start=seen["start"], end=seen["end"], kind=said, label=label)]
    for trigger in seen["triggers"]:
        marks.append(
            Mark(start=trigger["start"], end=trigger["end"], kind=trigger["qualifier"], trigger=True)
        )
    return marks


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The note with each mention filled in the colour of its qualifier, and each deciding term underlined."""
    from models.highlight import page

    if not isinstance(payload, Note):
        raise TypeError(f"a note was expected, got {type(payload).__name__}")
    marks = [mark for finding in findings if "term" in finding.evidence for mark in _marks(finding)]
    return Explanation(media_type="text/html", content=page("note-assertion", payload.text, marks))
