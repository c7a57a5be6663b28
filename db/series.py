"""Series and studies on record: what has come of them, what was decided, which set of instances was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, func, insert, or_, select, update

from db import conclusions, jobs
from db.ids import new_id
from db.jobs import Owed
from db.manifests import Promise, promise
from db.records import FileState, Whole
from db.store import Store, Writer
from db.tables import Evidence as EvidenceRow
from db.tables import File, JobInput, Series, SeriesRevision, Study
from db.tables import Manifest as ManifestRow

INCOMPLETE = "series-incomplete"  #: reason code of the files of a quarantined series


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


def revise(writer: Writer, item: Open, ordered: Sequence[Instance], owed: Sequence[Owed]) -> list[str]:
    """The instances decided on, in slice order, become the series' next revision, which owes its readings.

    The same set again makes none. Returns the files that this takes out of quarantine.
    """
    row = writer.connection.execute(select(Series).where(Series.id == item.id)).one()
    digest = hashlib.sha256("\n".join(["series", *(i.digest for i in ordered)]).encode()).hexdigest()
    latest = writer.connection.execute(
        select(SeriesRevision.id, SeriesRevision.number, SeriesRevision.digest)
        .where(SeriesRevision.series_id == item.id)
        .order_by(SeriesRevision.number.desc())
        .limit(1)
    ).one_or_none()
    ids = [i.evidence_id for i in ordered]
    if latest is not None and latest.digest == digest:
        revision_id = latest.id
    else:
        revision_id, number = new_id(), (latest.number if latest else 0) + 1
        writer.connection.execute(
            insert(SeriesRevision).values(
                id=revision_id, series_id=item.id, number=number, digest=digest, instances=len(ids),
                state=row.state, reason=row.reason, supersedes=latest.id if latest else None,
                created_at=writer.now,
            )
        )  # fmt: skip
        writer.connection.execute(update(Series).where(Series.id == item.id).values(revision=number))
        writer.audit(
            f"series:{item.id}", "series:revised", revision=number, instances=len(ids),
            supersedes=latest.id if latest else None,
        )  # fmt: skip
    new = jobs.owe(writer, item.case_id, ids, digest, owed, revision_id) if ids else 0
    back = _move_files(writer, item, (FileState.QUARANTINED,), FileState.READY, None)
    if new:
        _move_files(writer, item, (FileState.DONE,), FileState.READY, None)
    else:
        conclusions.settle_files(writer, ids)
    return [file_id for file_id, _ in back]


def set_aside(writer: Writer, item: Open, sentence: str) -> list[tuple[str, str]]:
    """Quarantines the files of a series that is not read for lack of the rest, and that nothing else reads.

    Returns them as (file, evidence).
    """
    return _move_files(writer, item, (FileState.READY,), FileState.QUARANTINED, sentence)


def _move_files(
    writer: Writer, item: Open, states: Sequence[FileState], to: FileState, sentence: str | None
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    reason = INCOMPLETE if to is FileState.QUARANTINED else None
    ids = [i.evidence_id for i in item.instances]
    for start in range(0, len(ids), 500):
        query = update(File).where(File.evidence_id.in_(ids[start : start + 500]), File.state.in_(states))
        if to is FileState.QUARANTINED:
            query = query.where(
                ~exists(select(JobInput.job_id).where(JobInput.evidence_id == File.evidence_id))
            )
        if FileState.QUARANTINED in states:
            query = query.where(File.reason == INCOMPLETE)
        moved = writer.connection.execute(
            query.values(state=to, reason=reason, sentence=sentence, changed_at=writer.now).returning(
                File.id, File.evidence_id
            )
        )
        found += [(file_id, str(evidence_id)) for file_id, evidence_id in moved]
    for file_id, _ in found:
        detail = {"reason": reason} if reason else {}
        writer.audit(f"file:{file_id}", f"file:{to}", **detail)
    return found


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


def release(store: Store, file_id: str) -> list[str]:
    """Sends a quarantined series round again by one of its files; its files' ids, none if it is of none."""
    with store.write() as writer:
        row = writer.connection.execute(
            select(EvidenceRow.case_id, EvidenceRow.series_uid)
            .join(File, File.evidence_id == EvidenceRow.id)
            .where(File.id == file_id, File.state == FileState.QUARANTINED, File.reason == INCOMPLETE)
        ).one_or_none()
        if row is None:
            return []
        series = writer.connection.execute(
            update(Series)
            .where(Series.case_id == row.case_id, Series.series_uid == row.series_uid)
            .values(state=Whole.WAITING, last_at=writer.now, check_at=writer.now)
            .returning(Series.id)
        ).one()
        files = select(EvidenceRow.id).where(
            EvidenceRow.case_id == row.case_id, EvidenceRow.series_uid == row.series_uid
        )
        moved = writer.connection.execute(
            update(File)
            .where(
                File.evidence_id.in_(files), File.state == FileState.QUARANTINED, File.reason == INCOMPLETE
            )
            .values(state=FileState.READY, reason=None, sentence=None, changed_at=writer.now)
            .returning(File.id)
        )
        found = [one for (one,) in moved.all()]
        for one in found:
            writer.audit(f"file:{one}", "file:released")
        writer.audit(f"series:{series.id}", "series:released")
    return found
