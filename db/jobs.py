"""Jobs: owed, hinted, given back, taken back; SQL is the record, Redis only hints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    func,
    literal_column,
    or_,
    select,
    update,
)

from db import statements
from db.ids import new_id
from db.leases import LeaseWatch
from db.records import Diagnosis, JobState
from db.store import Order, Store, Writer
from db.tables import WAITING, Evidence, Job, JobInput

CONCLUDED = (JobState.DONE, JobState.ABSTAINED)
LONGEST_DELAY = timedelta(minutes=10)  #: of a retry


@dataclass(frozen=True, kw_only=True)
class Owed:
    """A reading that an input owes."""

    model: str
    version: str
    weights_sha256: str
    lane: str = "routine"


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a job."""

    evidence_id: str
    kind: str
    format: str  #: the reader module that reads its payload
    digest: str


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A job in a worker's hands until its lease ends."""

    id: str
    token: str
    model: str
    version: str
    weights_sha256: str
    lane: str
    attempts: int
    inputs: tuple[Input, ...]
    queued_seconds: float  #: since it was owed
    seen_at: datetime  #: when its input was first seen in the inbox


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """A claimed job's outcome."""

    job: Claimed
    diagnosis: Diagnosis
    device: str
    backend: str | None = None  #: what computed it: torch-fp32, openvino-bf16, ...; None: no network
    artifacts: Mapping[str, str] = field(default_factory=dict)  #: name -> archived digest
    seconds: Mapping[str, float] = field(default_factory=dict)  #: by stage


def owe(
    writer: Writer, case_id: str, evidence_ids: str | Sequence[str], digest: str, owed: Sequence[Owed],
    revision_id: str | None = None,
) -> int:  # fmt: skip
    """Records the jobs an input owes, or a series revision's instances in order; returns how many are new.

    One that exists already stays as it is.
    """
    return _owe(writer, [_owing(writer, case_id, evidence_ids, digest, item, revision_id) for item in owed])


def owe_later(writer: Writer, case_id: str, evidence_id: str, digest: str, owed: Sequence[Owed]) -> None:
    """The same, together with what other inputs of the transaction owe."""
    for item in owed:
        writer.later(Order.JOB, _owe, _owing(writer, case_id, evidence_id, digest, item))


def _owing(
    writer: Writer, case_id: str, evidence_ids: str | Sequence[str], digest: str, item: Owed,
    revision_id: str | None = None,
) -> tuple[dict[str, object], list[str]]:  # fmt: skip
    """A job's row, and its inputs in order."""
    row: dict[str, object] = {
        "id": new_id(), "case_id": case_id, "input_digest": digest, "model": item.model,
        "model_version": item.version, "weights_sha256": item.weights_sha256, "lane": item.lane,
        "state": JobState.OWED, "attempts": 0, "created_at": writer.now, "revision_id": revision_id,
    }  # fmt: skip
    return row, [evidence_ids] if isinstance(evidence_ids, str) else list(evidence_ids)


def _owe(writer: Writer, owing: Sequence[tuple[dict[str, object], list[str]]]) -> int:
    """Enters those jobs that are not there yet; how many."""
    if not owing:
        return 0
    connection = writer.connection
    new = set(connection.scalars(statements.new_job(writer.dialect), [row for row, _ in owing]))
    made = [(row, inputs) for row, inputs in owing if row["id"] in new]
    if made:
        connection.execute(
            statements.JOB_INPUTS,
            [{"job_id": row["id"], "position": n, "evidence_id": e}
             for row, inputs in made for n, e in enumerate(inputs)],
        )  # fmt: skip
    for row, _ in made:
        writer.audit(
            f"job:{row['id']}", "job:owed", model=row["model"], version=row["model_version"],
            case=row["case_id"],
        )  # fmt: skip
    return len(made)


def take_owed(store: Store, limit: int = 500) -> list[tuple[str, str]]:
    """Marks owed jobs as queued and returns their (id, lane), oldest first; the caller then hints Redis."""
    with store.read() as connection:
        if connection.execute(select(Job.id).where(_due(store.now())).limit(1)).first() is None:
            return []
    with store.write() as writer:
        query = select(Job.id, Job.lane).where(_due(writer.now)).order_by(Job.created_at).limit(limit)
        rows = [(r.id, r.lane) for r in writer.connection.execute(query.with_for_update(skip_locked=True))]
        if rows:
            writer.connection.execute(
                update(Job)
                .where(Job.id.in_([i for i, _ in rows]))
                .values(state=JobState.QUEUED, queued_at=writer.now)
            )
        for job_id, lane in rows:
            writer.audit(f"job:{job_id}", "job:queued", lane=lane)
    return rows


def _due(now: datetime) -> ColumnElement[bool]:
    return and_(Job.state == JobState.OWED, due_time(now))


def hint_lost(
    store: Store, after_seconds: float, lanes: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Jobs that were hinted long ago and never claimed; call it only for lanes whose queue is empty."""
    with store.read() as connection:
        limit = store.now() - timedelta(seconds=after_seconds)
        query = (
            select(Job.id, Job.lane)
            .where(Job.state == JobState.QUEUED, or_(Job.queued_at <= limit, Job.queued_at > store.now()))
            .limit(500)
        )
        if lanes is not None:
            query = query.where(Job.lane.in_(lanes))
        rows = [(r.id, r.lane) for r in connection.execute(query)]
    if rows:
        with store.write() as writer:
            changed = writer.connection.execute(
                update(Job)
                .where(Job.id.in_([i for i, _ in rows]), Job.state == JobState.QUEUED)
                .values(queued_at=writer.now)
                .returning(Job.id)
            )
            lost = {row.id for row in changed}
            rows = [row for row in rows if row[0] in lost]  # the others were claimed meanwhile
            for job_id, _ in rows:
                writer.audit(f"job:{job_id}", "job:hint-lost")
    return rows


def waiting(connection: Connection, limit: int) -> int:
    """Jobs owed or queued, counted up to `limit`."""
    some = select(literal_column("1")).select_from(Job).where(WAITING).limit(limit).subquery()
    return int(connection.scalar(select(func.count()).select_from(some)) or 0)


def due_time(now: datetime) -> ColumnElement[bool]:
    """Waiting jobs whose retry need not be put off any more."""
    # a delay longer than any we set: the clock was put back since
    return or_(Job.not_before.is_(None), Job.not_before <= now, Job.not_before > now + LONGEST_DELAY)


def give_back(
    store: Store, job: Claimed, error: str, *, final: bool, max_attempts: int, delay_seconds: float = 0.0,
    counted: bool = True,
) -> JobState | None:  # fmt: skip
    """A claimed job that could not be read: owed again after a delay, or failed. None: lease lost.

    error: kind and place of the failure; never its message, which may hold a patient's words.
    final: trying again cannot help.
    counted: False for a job handed back by a worker that is being stopped: it was not the job's fault.
    """
    with store.write() as writer:
        failed = counted and (final or job.attempts >= max_attempts)
        state = JobState.FAILED if failed else JobState.OWED
        values: dict[str, object] = {"state": state, "error": error, "token": None, "lease_until": None}
        if failed:
            values["finished_at"] = writer.now
        else:
            values["not_before"] = writer.now + timedelta(seconds=delay_seconds)
        if not counted:
            values["attempts"] = job.attempts - 1
        changed = writer.connection.execute(
            update(Job)
            .where(Job.id == job.id, Job.token == job.token, Job.state == JobState.RUNNING)
            .values(values)
        )
        if changed.rowcount != 1:
            return None
        action = "job:failed" if failed else "job:retried" if counted else "job:handed-back"
        writer.audit(f"job:{job.id}", action, attempt=job.attempts, error=error)
    return state


def reap(store: Store, max_attempts: int, watch: LeaseWatch | None = None) -> int:
    """Takes jobs back whose lease ended (their worker died); returns how many.

    watch: tells which have ended; without it the wall clock alone does.
    """
    with store.read() as connection:
        query = select(Job.id, Job.attempts, Job.token, Job.lease_until)
        rows = connection.execute(query.where(Job.state == JobState.RUNNING)).all()
    now = store.now()
    held = [(row.token, row.lease_until) for row in rows]
    ended = {t for t, until in held if until < now} if watch is None else watch.ended(held, now)
    rows = [row for row in rows if row.token in ended]
    if not rows:
        return 0
    taken = 0
    with store.write() as writer:
        for row in rows:
            failed = row.attempts >= max_attempts
            changed = writer.connection.execute(
                update(Job)
                .where(
                    Job.id == row.id, Job.token == row.token, Job.state == JobState.RUNNING,
                    Job.lease_until == row.lease_until,
                )
                .values(
                    state=JobState.FAILED if failed else JobState.OWED, token=None, lease_until=None,
                    error="lease ended: the worker stopped without a word",
                    finished_at=writer.now if failed else None,
                )
            )  # fmt: skip
            if changed.rowcount != 1:  # concluded or renewed meanwhile
                continue
            writer.audit(f"job:{row.id}", "job:failed" if failed else "job:lease-ended", attempt=row.attempts)
            taken += 1
    return taken


def requeue(store: Store, job_ids: Sequence[str] | None = None) -> list[str]:
    """Owes failed jobs again (all of them for None) with their attempts counted anew.

    One whose input retention removed stays failed: there is nothing left to read.
    """
    removed = (
        select(JobInput.job_id).join(Evidence, Evidence.id == JobInput.evidence_id)
        .where(JobInput.job_id == Job.id, Evidence.removed_at.is_not(None)).exists()
    )  # fmt: skip
    with store.write() as writer:
        query = update(Job).where(Job.state == JobState.FAILED, ~removed)
        if job_ids is not None:
            query = query.where(Job.id.in_(job_ids))
        done = writer.connection.execute(
            query.values(
                state=JobState.OWED, attempts=0, error=None, finished_at=None, not_before=None
            ).returning(Job.id)
        )
        ids = [row.id for row in done]
        for job_id in ids:
            writer.audit(f"job:{job_id}", "job:requeued")
    return ids
