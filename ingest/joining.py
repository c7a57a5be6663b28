"""Owes the readings of two inputs of one case together, once both are there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from db import jobs, joins
from db.joins import Partner
from db.records import Evidence, Kind
from db.store import Writer
from ingest import routing
from ingest.rules import Decision
from models.card import ModelCard


def owe(
    writer: Writer, evidence: Evidence, digest: str, cards: Sequence[ModelCard], decision: Decision | None
) -> int:
    """The joined readings that an input which was just recorded makes possible; how many are new."""
    able = [c for c in cards if c.needs.joins and (
        routing.reads(c, evidence) or evidence.kind in map(Kind, c.needs.joins))]  # fmt: skip
    mine = joins.recorded(writer, digest) if able else None
    if mine is None:
        return 0
    return sum(
        _one(writer, card, first, second, decision)
        for card in able
        for first, second in _pairs(writer, card, evidence, mine)
    )


def _pairs(
    writer: Writer, card: ModelCard, evidence: Evidence, mine: Partner
) -> list[tuple[Partner, Partner]]:
    """(what the card reads, what is joined to it): each pair in the case that this input is part of."""
    if evidence.kind == card.needs.kind:
        return [
            (mine, other) for kind in card.needs.joins for other in joins.others(writer, mine, Kind(kind))
        ]
    readable = [
        other
        for other in joins.others(writer, mine, Kind(card.needs.kind))
        if routing.reads(card, Evidence(kind=Kind(card.needs.kind), facts=other.facts))
    ]
    return [(other, mine) for other in readable]


def _one(writer: Writer, card: ModelCard, first: Partner, second: Partner, decision: Decision | None) -> int:
    digest = hashlib.sha256("\n".join(["joined", first.digest, second.digest]).encode()).hexdigest()
    reading = routing.reading(card, decision.lane if decision else "routine")
    return jobs.owe(writer, first.case_id, [first.evidence_id, second.evidence_id], digest, [reading])
