"""What comes of a decided series: its next revision and the readings owed, or files set aside and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import exists, insert, select, update

from db import conclusions, jobs
from db.ids import new_id
from db.jobs import Owed
from db.records import FileState, Whole
from db.series import Instance, Open
from db.store import Store, Writer
from db.tables import Evidence as EvidenceRow
from db.tables import File, JobInput, Series, SeriesRevision

INCOMPLETE = "series-incomplete"  #: reason code of the files of a quarantined series


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
