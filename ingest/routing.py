"""Which jobs an input owes: the cards' needs against the input's facts, or why no model reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from db.jobs import Owed
from db.records import Evidence, Kind
from models.card import ModelCard


def owed(evidence: Evidence, cards: Sequence[ModelCard]) -> tuple[list[Owed], str | None]:
    """The readings an input owes, or (none and) the reason that is recorded in their place."""
    wanted = [card for card in cards if reads(card, evidence)]
    if wanted:
        return [Owed(model=c.name, version=c.version, weights_sha256=c.weights_sha256) for c in wanted], None
    if evidence.kind is Kind.DOCUMENT:
        return [], "no-image: a DICOM object without pixels is kept and shown; no model reads it"
    return [], f"no-model: no installed model reads {_words(evidence)}"


def reads(card: ModelCard, evidence: Evidence) -> bool:
    """Does this model ask for inputs of this kind and modality?"""
    if card.needs.kind != evidence.kind:
        return False
    return not card.needs.modalities or evidence.facts.get("modality") in card.needs.modalities


def _words(evidence: Evidence) -> str:
    if evidence.kind is not Kind.IMAGE:
        return f"{evidence.kind}s"
    modality = str(evidence.facts.get("modality") or "")
    return f"{modality} images" if re.fullmatch("[A-Z]{2,16}", modality) else "images of this modality"
