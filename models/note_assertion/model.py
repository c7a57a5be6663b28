"""The opened term lists: one finding a mention, with its qualifier and the offsets of what decided."""

from __future__ import annotations

from collections.abc import Sequence

from db.records import ICD10CM, Code, Diagnosis, Finding
from models import text
from models.card import ModelCard
from models.note_assertion.pipeline import Assertions, Mention
from models.payloads import Note, Payload

LONGEST_NOTE = 2_000_000  #: characters; about ten seconds on one core
MOST_MENTIONS = 20_000  #: a longer list is no note but a register or a fault


def _finding(mention: Mention) -> Finding:
    """A mention as a finding; holds offsets and our own terms, never the note's words."""
    qualifiers = mention.qualifiers
    problem = mention.problem
    return Finding(
        code=Code(value=problem.code, system=ICD10CM, meaning=problem.meaning),
        positive=not qualifiers,
        qualifier=qualifiers[0] if qualifiers else None,
        evidence={
            "kind": "mention",
            "term": problem.term,
            "start": mention.start,
            "end": mention.end,
            "sentence_start": mention.sentence[0],
            "sentence_end": mention.sentence[1],
            "qualifiers": list(qualifiers),
            "triggers": [
                {"qualifier": t.question, "term": t.term, "start": t.start, "end": t.end}
                for t in mention.triggers
            ],
        },
    )


class NoteAssertion:
    """The model; rules on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        self.assertions = Assertions(card.folder)

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a note, in order; a note that cannot be read abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Note):
            return Diagnosis.abstain("not-a-note", "the payload is an image, a note was expected")
        refusal = text.refusal(payload, longest=LONGEST_NOTE)
        if refusal:
            return Diagnosis.abstain(*refusal)
        mentions = self.assertions.mentions(payload.text)
        if not mentions:
            return Diagnosis.abstain("nothing-recognised", "no problem of the vocabulary is in the note")
        if len(mentions) > MOST_MENTIONS:
            return Diagnosis.abstain(
                "too-many-mentions", f"{len(mentions)} mentions, at most {MOST_MENTIONS} make a note"
            )
        return Diagnosis(findings=tuple(_finding(m) for m in mentions))
