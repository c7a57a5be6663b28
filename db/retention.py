"""How long payloads are kept: archived inputs go by state and age; results, evidence rows and audit stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Exists, ScalarSelect, Select, exists, func, or_, select, update

from db.archive import Archive
from db.records import FileState, JobState
from db.settings import Settings
from db.store import Store, Writer
from db.tables import Artifact, Evidence, File, Job, JobInput

OPEN = (JobState.OWED, JobState.QUEUED, JobState.RUNNING)
BATCH = 100  #: inputs in one transaction


@dataclass(frozen=True, kw_only=True)
class Due:
    """A payload that has outlived its term."""

    id: str  #: of the evidence, or of the quarantined file
    state: str  #: done, failed or quarantined
    since: datetime  #: when anything last happened to it
    digest: str | None
    bytes: int


def due(connection: Connection, settings: Settings, now: datetime) -> list[Due]:
    """The archived inputs whose term is over, oldest first. One with an open job is never among them."""
    found = []
    for state, days in (("done", settings.retain_done_days), ("failed", settings.retain_failed_days)):
        if days is not None:
            rows = connection.execute(_over(state, now - timedelta(days=days)))
            found += [Due(id=r.id, state=state, since=r.since, digest=r.digest, bytes=r.bytes) for r in rows]
    return sorted(found, key=lambda item: item.since)


def due_quarantined(connection: Connection, settings: Settings, now: datetime) -> list[Due]:
    """The quarantined files whose term is over, oldest first; whether bytes are left, the folder tells."""
    if settings.retain_quarantined_days is None:
        return []
    limit = now - timedelta(days=settings.retain_quarantined_days)
    query = (
        select(File.id, File.changed_at, File.digest, File.bytes)
        .where(File.state == FileState.QUARANTINED, File.changed_at <= limit)
        .order_by(File.changed_at)
    )
    return [
        Due(id=r.id, state="quarantined", since=r.changed_at, digest=r.digest, bytes=r.bytes)
        for r in connection.execute(query)
    ]


def _over(state: str, limit: datetime) -> Select[str, str, int, datetime]:
    """Evidence in a state since before a time: nothing of it open, nothing waiting for its series."""
    failed = _has_job((JobState.FAILED,))
    unsettled = exists().where(
        File.evidence_id == Evidence.id, File.state.in_((FileState.PENDING, FileState.READY))
    )
    finished = _last_finished()
    since = func.coalesce(_last_changed(), Evidence.received_at)
    query = select(Evidence.id, Evidence.digest, Evidence.bytes, since.label("since")).where(
        Evidence.removed_at.is_(None), ~_has_job(OPEN), Evidence.received_at <= limit, since <= limit,
        or_(finished.is_(None), finished <= limit),
    )  # fmt: skip
    return query.where(failed) if state == "failed" else query.where(~failed, ~unsettled)


def _has_job(states: Sequence[JobState]) -> Exists:
    joined = select(Job.id).join(JobInput, JobInput.job_id == Job.id)
    return joined.where(JobInput.evidence_id == Evidence.id, Job.state.in_(states)).exists()


def _last_finished() -> ScalarSelect[datetime | None]:
    query = select(func.max(Job.finished_at)).join(JobInput, JobInput.job_id == Job.id)
    return query.where(JobInput.evidence_id == Evidence.id).scalar_subquery()


def _last_changed() -> ScalarSelect[datetime]:
    """When a file of it last changed state: the same bytes sent again begin its term anew."""
    return select(func.max(File.changed_at)).where(File.evidence_id == Evidence.id).scalar_subquery()


def remove(store: Store, archive: Archive, settings: Settings, chosen: Sequence[Due]) -> list[Due]:
    """Removes payloads for good, with the pictures made from them; returns those that went.

    Each is looked at again under the write lock, since a job of it may have been opened meanwhile. The
    bytes go before the commit: a stop in between leaves a row to be done again, never bytes unaccounted for.
    """
    gone: list[Due] = []
    for start in range(0, len(chosen), BATCH):
        with store.write() as writer:
            part = {item.id for item in chosen[start : start + BATCH]}
            _lock(writer, part)
            still = [item for item in due(writer.connection, settings, writer.now) if item.id in part]
            for item in still:
                _remove_one(writer, archive, item)
        gone += still
    return gone


def _lock(writer: Writer, evidence_ids: set[str]) -> None:
    """On PostgreSQL these inputs and their jobs stand still until the commit (SQLite has one writer)."""
    jobs = select(Job.id).join(JobInput, JobInput.job_id == Job.id)
    jobs = jobs.where(JobInput.evidence_id.in_(evidence_ids)).with_for_update(of=Job)
    writer.connection.execute(jobs).all()
    inputs = select(Evidence.id).where(Evidence.id.in_(evidence_ids)).with_for_update()
    writer.connection.execute(inputs).all()


def _remove_one(writer: Writer, archive: Archive, item: Due) -> None:
    writer.connection.execute(update(Evidence).where(Evidence.id == item.id).values(removed_at=writer.now))
    pictures = _pictures_of(writer.connection, item.id)
    for digest in (item.digest, *pictures):
        if digest is not None:
            archive.remove(digest)
    writer.audit(
        f"evidence:{item.id}", "evidence:removed", digest=item.digest, state=item.state, bytes=item.bytes,
        since=item.since.isoformat(timespec="seconds"), pictures=len(pictures),
    )  # fmt: skip


def _pictures_of(connection: Connection, evidence_id: str) -> list[str]:
    """Artifacts of its jobs that no job with a payload left, and no payload itself, shares."""
    jobs = select(JobInput.job_id).where(JobInput.evidence_id == evidence_id)
    kept_jobs = (
        select(JobInput.job_id).join(Evidence, Evidence.id == JobInput.evidence_id)
        .where(Evidence.removed_at.is_(None))
    )  # fmt: skip
    shared = select(Artifact.digest).where(Artifact.job_id.in_(kept_jobs))
    payloads = select(Evidence.digest).where(Evidence.removed_at.is_(None))
    query = select(Artifact.digest).where(
        Artifact.job_id.in_(jobs), Artifact.digest.not_in(shared), Artifact.digest.not_in(payloads)
    )
    return sorted(set(connection.scalars(query)))


def restored(writer: Writer, evidence_id: str) -> bool:
    """The same bytes came again and are archived again: the input is there once more."""
    changed = writer.connection.execute(
        update(Evidence)
        .where(Evidence.id == evidence_id, Evidence.removed_at.is_not(None))
        .values(removed_at=None)
    )
    if changed.rowcount:
        writer.audit(f"evidence:{evidence_id}", "evidence:restored")
    return bool(changed.rowcount)


def removed_at(connection: Connection, job_id: str) -> datetime | None:
    """When an input of a job was removed, None while all are there."""
    query = select(func.min(Evidence.removed_at)).join(JobInput, JobInput.evidence_id == Evidence.id)
    return connection.scalar(query.where(JobInput.job_id == job_id))
