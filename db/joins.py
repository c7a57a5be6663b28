"""Inputs of one case that a model reads together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from db.records import Kind
from db.store import Writer
from db.tables import Case, Evidence


@dataclass(frozen=True, kw_only=True)
class Partner:
    """An input on record."""

    evidence_id: str
    case_id: str
    digest: str
    facts: Mapping[str, Any]


def recorded(writer: Writer, digest: str) -> Partner | None:
    """The input of these bytes, once no other writer is about to record a partner of it.

    Two that recorded both partners at once would each not see the other's, and nobody owed their reading.
    """
    row = writer.connection.execute(_chosen().where(Evidence.digest == digest)).one_or_none()
    if row is None:
        return None
    writer.connection.execute(select(Case.id).where(Case.id == row.case_id).with_for_update(key_share=True))
    return _partner(row)


def others(writer: Writer, one: Partner, kind: Kind) -> list[Partner]:
    """The inputs of a kind in the same case, in the order in which they came; their payloads still there."""
    query = _chosen().where(
        Evidence.case_id == one.case_id, Evidence.kind == kind, Evidence.removed_at.is_(None),
        Evidence.id != one.evidence_id,
    )  # fmt: skip
    return [
        _partner(row) for row in writer.connection.execute(query.order_by(Evidence.received_at, Evidence.id))
    ]


def _chosen() -> Any:
    return select(Evidence.id, Evidence.case_id, Evidence.digest, Evidence.facts)


def _partner(row: Row[Any]) -> Partner:
    return Partner(evidence_id=row.id, case_id=row.case_id, digest=row.digest, facts=row.facts)
