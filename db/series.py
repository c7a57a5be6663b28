"""Series and studies on record: what has come of them, what was decided, and what makes them be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, func, or_, select, update

from db.manifests import Promise, promise
from db.records import Whole
from db.store import Store, Writer
from db.tables import Evidence as EvidenceRow
from db.tables import File, Series, Study
from db.tables import Manifest as ManifestRow


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One input of a series."""

    evidence_id: str
    digest: str
    series_uid: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What the routing rules say of a series, kept until it is decided; None where they say nothing."""

    policy: str | None = None  #: wait, partial, quarantine
    lane: str | None = None
    models: Sequence[str] | None = None  #: the models that may read it; None: any that asks for it


@dataclass(frozen=True, kw_only=True)
class Open:
    """A series or study that waits for its decision, with all that has come of it."""

    id: str
    case_id: str
    study_uid: str
    count: int  #: instances counted when this was read: a decision on fewer is void
    instances: tuple[Instance, ...]
    last_at: datetime
    forced: bool
    declared: bool
    promise: Promise | None
    reason: str | None  #: of the last decision
    routed: Routed = Routed()


def due(store: Store, table: type[Series] | type[Study], limit: int = 100) -> list[Open]:
    """Those whose time to be looked at has come, longest waiting first."""
    with store.read() as connection:
        rows = connection.execute(
            select(table)
            .where(table.state == Whole.WAITING, table.check_at <= store.now())
            .order_by(table.check_at)
            .limit(limit)
        ).all()
        told = bool(rows) and connection.scalar(select(ManifestRow.id).limit(1)) is not None
        return [_opened(connection, table, row, told) for row in rows]


def _opened(connection: Connection, table: type[Series] | type[Study], row: Any, told: bool) -> Open:
    members = [EvidenceRow.case_id == row.case_id, EvidenceRow.study_uid == row.study_uid]
    if table is Series:
        members[1] = EvidenceRow.series_uid == row.series_uid
    query = select(EvidenceRow.id, EvidenceRow.digest, EvidenceRow.series_uid, EvidenceRow.facts)
    found = connection.execute(query.where(*members).order_by(EvidenceRow.id))
    return Open(
        id=row.id, case_id=row.case_id, study_uid=row.study_uid, count=row.instances, last_at=row.last_at,
        instances=tuple(
            Instance(evidence_id=i, digest=d, series_uid=s or "", facts=f) for i, d, s, f in found
        ),
        forced=row.forced_at is not None, declared=row.declared_at is not None,
        promise=promise(connection, *members) if told else None, reason=row.reason,
        routed=Routed(policy=row.policy, lane=row.lane, models=row.models) if table is Series else Routed(),
    )  # fmt: skip


def _unchanged(table: type[Series] | type[Study], item: Open) -> list[ColumnElement[bool]]:
    """Nothing came, and nobody spoke, since it was read."""
    return [
        table.id == item.id, table.state == Whole.WAITING, table.instances == item.count,
        table.forced_at.is_not(None) if item.forced else table.forced_at.is_(None),
        table.declared_at.is_not(None) if item.declared else table.declared_at.is_(None),
    ]  # fmt: skip


def wait(writer: Writer, table: type[Series] | type[Study], item: Open, reason: str, until: datetime) -> None:
    """Records why it still waits, and when to look again."""
    changed = writer.connection.execute(
        update(table).where(*_unchanged(table, item)).values(reason=reason, check_at=until)
    )
    if changed.rowcount == 1 and _code(reason) != _code(item.reason or ""):
        _audit(writer, table, item, Whole.WAITING, reason)


def decide(
    writer: Writer, table: type[Series] | type[Study], item: Open, state: Whole, reason: str, **more: object
) -> bool:
    """Records a decision with its reason; False when an instance came meanwhile, or another decided."""
    changed = writer.connection.execute(
        update(table)
        .where(*_unchanged(table, item))
        .values(state=state, reason=reason, decided_at=writer.now, **more)
    )  # fmt: skip
    if changed.rowcount != 1:
        return False
    _audit(writer, table, item, state, reason)
    return True


def _audit(writer: Writer, table: type[Series] | type[Study], item: Open, state: Whole, reason: str) -> None:
    word = "series" if table is Series else "study"
    writer.audit(f"{word}:{item.id}", f"{word}:{state}", reason=reason, case=item.case_id)


def _code(reason: str) -> str:
    return reason.partition(":")[0]


def force(store: Store, uid: str) -> list[tuple[str, str]]:
    """Calls a series or study (by UID or id) complete as it is; returns what, as (kind, id).

    A study takes its series with it. One that was complete already stays as it is.
    """
    forced: list[tuple[str, str]] = []
    with store.write() as writer:
        named = or_(Study.id == uid, Study.study_uid == uid)
        studies = writer.connection.execute(select(Study.id, Study.study_uid, Study.case_id).where(named))
        chosen = [*studies]
        wanted = [or_(Series.id == uid, Series.series_uid == uid)]
        wanted += [(Series.case_id == s.case_id) & (Series.study_uid == s.study_uid) for s in chosen]
        series: Select[Any] = select(Series.id).where(or_(*wanted))
        for table, ids in (
            (Study, [s.id for s in chosen]),
            (Series, [r.id for r in writer.connection.execute(series)]),
        ):
            word = "series" if table is Series else "study"
            for row_id in ids:
                changed = writer.connection.execute(
                    update(table)
                    .where(table.id == row_id, table.state != Whole.COMPLETE)
                    .values(state=Whole.WAITING, forced_at=writer.now, check_at=writer.now)
                )
                if changed.rowcount == 1:
                    writer.audit(f"{word}:{row_id}", f"{word}:forced")
                    forced.append((word, row_id))
    return forced


def known(connection: Connection, uid: str) -> bool:
    """Is there a series or study of this UID or id?"""
    return any(
        connection.scalar(select(func.count()).select_from(table).where(or_(*clauses)))
        for table, clauses in (
            (Series, (Series.id == uid, Series.series_uid == uid)),
            (Study, (Study.id == uid, Study.study_uid == uid)),
        )
    )


def declare(writer: Writer, folder_keys: Iterable[str]) -> None:
    """The sender of these folders said that they are done: what they held is looked at now."""
    keys = list(folder_keys)
    for start in range(0, len(keys), 500):
        part = File.folder_key.in_(keys[start : start + 500])
        _touch(writer, part, values={"declared_at": writer.now, "check_at": writer.now})


def look_again(writer: Writer, *files: Any) -> None:
    """Series and studies with files such as these are looked at now."""
    _touch(writer, *files, values={"check_at": writer.now})


def _touch(writer: Writer, *files: Any, values: dict[str, object]) -> None:
    pairs: tuple[tuple[Any, Any, Any], ...] = (
        (Series, Series.series_uid, EvidenceRow.series_uid),
        (Study, Study.study_uid, EvidenceRow.study_uid),
    )
    for table, uid, theirs in pairs:
        held = (
            select(EvidenceRow.id)
            .join(File, File.evidence_id == EvidenceRow.id)
            .where(*files, EvidenceRow.case_id == table.case_id, theirs == uid)
            .correlate(table)
        )
        writer.connection.execute(
            update(table).where(table.state == Whole.WAITING, exists(held)).values(values)
        )


def study_series(connection: Connection, study: Open) -> list[str]:
    """The states of the study's series."""
    query = select(Series.state).where(Series.case_id == study.case_id, Series.study_uid == study.study_uid)
    return list(connection.scalars(query))


def wake_study(writer: Writer, series: Open) -> None:
    """A decided series is news for its study."""
    writer.connection.execute(
        update(Study)
        .where(
            Study.case_id == series.case_id, Study.study_uid == series.study_uid, Study.state == Whole.WAITING
        )
        .values(check_at=writer.now)
    )
