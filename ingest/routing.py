"""Which jobs an input owes: the rules' word, within the cards' needs, or why no model reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from db.jobs import Owed
from db.records import Evidence, Kind
from db.series import Routed
from ingest.rules import DEFAULT, Decision
from models.card import ModelCard


def owed(
    evidence: Evidence, cards: Sequence[ModelCard], decision: Decision | None = None
) -> tuple[list[Owed], str | None]:
    """The readings an input owes, or (none and) the reason that is recorded in their place.

    Neither when it is read with its whole series alone, which owes its readings once it is decided on.
    decision: what the rules say; a model is never given what its card does not ask for all the same.
    """
    lane = decision.lane if decision else "routine"
    named = decision.models if decision else None
    wanted = [c for c in cards if reads(c, evidence) and (named is None or c.name in named)]
    if wanted:
        return [reading(c, lane) for c in wanted if c.needs.scope != "series"], None
    if decision and named is not None and (not named or any(reads(c, evidence) for c in cards)):
        return [], f"by-rule: rule {decision.rule} gives it to no model that reads it"
    if evidence.kind is Kind.DOCUMENT:
        return [], "no-image: a DICOM object without pixels is kept and shown; no model reads it"
    return [], f"no-model: no installed model reads {_words(evidence)}"


def owed_by_series(
    facts: Sequence[Mapping[str, Any]], cards: Sequence[ModelCard], routed: Routed
) -> list[Owed]:
    """The readings that a series decided on owes as a whole. facts: of its instances."""
    found = []
    for card in cards:
        wanted = card.needs.modalities
        if card.needs.scope != "series" or (routed.models is not None and card.name not in routed.models):
            continue
        if any(f.get("has_pixels") and (not wanted or f.get("modality") in wanted) for f in facts):
            found.append(reading(card, routed.lane or "routine"))
    return found


def word(decision: Decision) -> Routed:
    """What the rules say of a series, as it is kept; the default leaves the policy to the setting."""
    policy = None if decision.rule == DEFAULT else decision.policy
    return Routed(policy=policy, lane=decision.lane, models=decision.models)


def reading(card: ModelCard, lane: str) -> Owed:
    """A model's reading of an input, as it is owed."""
    return Owed(model=card.name, version=card.version, weights_sha256=card.weights_sha256, lane=lane)


def reads(card: ModelCard, evidence: Evidence) -> bool:
    """Does this model ask for inputs of this kind, with what this one holds?"""
    needs, facts = card.needs, evidence.facts
    if needs.kind not in (evidence.kind, *evidence.also):
        return False
    if needs.modalities and facts.get("modality") not in needs.modalities:
        return False
    if needs.alphabet and facts.get("alphabet") != needs.alphabet:
        return False
    named = _listed(facts.get("genes"))
    if needs.genes and named and not named & set(needs.genes):
        return False
    return _listed(facts.get("features")) >= set(needs.features)


def _listed(fact: object) -> set[str]:
    """The names of a fact that lists some, with commas between."""
    return set(fact.split(",")) - {""} if isinstance(fact, str) else set()


def _words(evidence: Evidence) -> str:
    if evidence.kind is Kind.TABLE:
        return "tables with only these features"
    if evidence.kind is not Kind.IMAGE:
        return f"{evidence.kind}s"
    modality = str(evidence.facts.get("modality") or "")
    return f"{modality} images" if re.fullmatch("[A-Z]{2,16}", modality) else "images of this modality"
