"""Jobs: owed, hinted, claimed under a lease, concluded once; SQL is the record, Redis only hints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    TextClause,
    and_,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from db.ids import new_id
from db.leases import LeaseWatch
from db.records import Diagnosis, FileState, Finding, JobState, Kind
from db.store import Store, Writer
from db.tables import WAITING, Artifact, Evidence, File, Job, JobInput, Result, SeriesRevision

CONCLUDED = (JobState.DONE, JobState.ABSTAINED)
LONGEST_DELAY = timedelta(minutes=10)  #: of a retry
Waiting = Row[str, str, str, str, str, int, datetime]  #: of _chosen


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
    dialect = postgresql if writer.connection.dialect.name == "postgresql" else sqlite
    inputs = [evidence_ids] if isinstance(evidence_ids, str) else list(evidence_ids)
    new = 0
    for item in owed:
        job_id = new_id()
        row = {
            "id": job_id, "case_id": case_id, "input_digest": digest, "model": item.model,
            "model_version": item.version, "weights_sha256": item.weights_sha256, "lane": item.lane,
            "state": JobState.OWED, "attempts": 0, "created_at": writer.now, "revision_id": revision_id,
        }  # fmt: skip
        done = writer.connection.execute(
            dialect.insert(Job).values(row).on_conflict_do_nothing().returning(Job.id)
        ).one_or_none()
        if done is None:
            continue
        new += 1
        rows = [{"job_id": job_id, "position": n, "evidence_id": e} for n, e in enumerate(inputs)]
        writer.connection.execute(insert(JobInput), rows)
        writer.audit(f"job:{job_id}", "job:owed", model=item.model, version=item.version, case=case_id)
    return new


def unread(writer: Writer, case_id: str, evidence_id: str, series: str, reason: str) -> None:
    """Records, once a series, that no model reads this input: an abstention people can see."""
    digest = hashlib.sha256(f"unread:{series}".encode()).hexdigest()
    owe(writer, case_id, evidence_id, digest, [Owed(model="none", version="1", weights_sha256="")])
    row = writer.connection.execute(
        select(Job.id).where(Job.input_digest == digest, Job.model == "none", Job.state == JobState.OWED)
    ).one_or_none()
    if row is None:
        return
    writer.connection.execute(
        update(Job)
        .where(Job.id == row.id)
        .values(state=JobState.ABSTAINED, finished_at=writer.now, device="none")
    )
    insert_results(writer, row.id, Diagnosis(abstained=True, reason=reason))
    writer.audit(f"job:{row.id}", "job:abstained", reason=reason.partition(":")[0])


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
    return and_(Job.state == JobState.OWED, _due_time(now))


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


def claim(
    store: Store, job_id: str, *, worker: str, lease_seconds: float, limit: int = 1,
    lanes: Sequence[str] | None = None, yield_turn: bool = False, held: Mapping[str, str] | None = None,
) -> list[Claimed]:  # fmt: skip
    """Claims what is best to do now, prompted by a hinted job, with neighbours of its model and lane.

    lanes: those served, most urgent first; None keeps to the hinted job's own lane. The first lane
        with waiting work is served; with `yield_turn` it is instead the lane, of those behind it, whose
        work waits longest, so that a stream of urgent work starves nobody.
    held: the models that the worker holds, with their weights' SHA-256: what is owed to another version
        of one of them is left to a worker that holds that.
    limit: jobs at most. One that was tried before goes alone: were it to end the process, it ends no other's.
    Empty when the hint is late: the job is done, or in another worker's hands.
    """
    with store.read() as connection:
        mine = _readable(held or {})
        first = connection.execute(_chosen(Job.id == job_id, WAITING, *mine)).one_or_none()
        if first is not None and lanes is not None:
            first = _best(connection, lanes, yield_turn, first, store.now(), mine)
    if first is None:
        return []
    return _take(store, first, 1 if first.attempts else limit, worker, lease_seconds)


def _take(store: Store, first: Waiting, limit: int, worker: str, lease_seconds: float) -> list[Claimed]:
    """Claims a job, unless another just did, and the oldest of its neighbours that were not tried before."""
    same = (
        WAITING, Job.model == first.model, Job.lane == first.lane,
        Job.weights_sha256 == first.weights_sha256, Job.model_version == first.model_version,
    )  # fmt: skip
    with store.write() as writer:
        # two looks, each by its index: ordered in one, the whole backlog would be sorted at every claim
        alone = select(Job).where(*same, Job.id == first.id)
        others = (
            select(Job)
            .where(*same, Job.id != first.id, Job.attempts == 0, _due_time(writer.now))
            .order_by(Job.created_at)
        )
        rows = list(writer.connection.execute(alone.with_for_update(skip_locked=True)))
        others = others.limit(limit - len(rows)).with_for_update(skip_locked=True)
        if len(rows) < limit:
            rows += writer.connection.execute(others)
        return [_claimed(writer, row, worker, lease_seconds) for row in rows]


def _readable(held: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Not of another version of a model that is held."""
    if not held:
        return []
    return [or_(Job.model.not_in(held), Job.weights_sha256.in_(held.values()))]


def _chosen(*where: ColumnElement[bool] | TextClause) -> Select[str, str, str, str, str, int, datetime]:
    return select(
        Job.id, Job.model, Job.lane, Job.weights_sha256, Job.model_version, Job.attempts, Job.created_at
    ).where(*where)


def _best(
    connection: Connection,
    lanes: Sequence[str],
    yield_turn: bool,
    hinted: Waiting,
    now: datetime,
    mine: Sequence[ColumnElement[bool]],
) -> Waiting:
    """The job to begin with: the hinted one when its lane is to be served, else that lane's oldest."""
    found: list[Waiting] = []
    for lane in lanes:
        query = _chosen(WAITING, Job.lane == lane, _due_time(now), *mine).order_by(Job.created_at).limit(1)
        row = connection.execute(query).one_or_none()
        if row is None:
            continue
        found.append(row)
        if not yield_turn:
            break
    if not found:  # a retry that is not due yet, hinted all the same
        return hinted
    chosen = min(found[1:], key=lambda row: row.created_at) if found[1:] else found[0]
    return hinted if hinted.lane == chosen.lane else chosen


def _due_time(now: datetime) -> ColumnElement[bool]:
    # a delay longer than any we set: the clock was put back since
    return or_(Job.not_before.is_(None), Job.not_before <= now, Job.not_before > now + LONGEST_DELAY)


def _claimed(writer: Writer, row: Row[Any], worker: str, lease_seconds: float) -> Claimed:
    token = new_id()
    writer.connection.execute(
        update(Job).where(Job.id == row.id).values(
            state=JobState.RUNNING, attempts=row.attempts + 1, token=token, worker=worker,
            lease_until=writer.now + timedelta(seconds=lease_seconds), started_at=writer.now, not_before=None,
        )
    )  # fmt: skip
    writer.audit(f"job:{row.id}", "job:claimed", attempt=row.attempts + 1)
    return Claimed(
        id=row.id, token=token, model=row.model, version=row.model_version,
        weights_sha256=row.weights_sha256, lane=row.lane, attempts=row.attempts + 1,
        inputs=_inputs(writer, row.id), queued_seconds=(writer.now - row.created_at).total_seconds(),
        seen_at=_seen_at(writer, row.id) or row.created_at,
    )  # fmt: skip


def is_waiting(store: Store, job_id: str) -> str | None:
    """The lane of a job that still waits to be claimed, None when it does not."""
    with store.read() as connection:
        return connection.scalar(select(Job.lane).where(Job.id == job_id, WAITING))


def _inputs(writer: Writer, job_id: str) -> tuple[Input, ...]:
    query = (
        select(Evidence.id, Evidence.kind, Evidence.format, Evidence.digest)
        .join(JobInput, JobInput.evidence_id == Evidence.id)
        .where(JobInput.job_id == job_id)
        .order_by(JobInput.position)
    )
    return tuple(
        Input(evidence_id=i, kind=k, format=f, digest=d) for i, k, f, d in writer.connection.execute(query)
    )


def _seen_at(writer: Writer, job_id: str) -> datetime | None:
    query = (
        select(func.min(File.first_seen))
        .join(JobInput, JobInput.evidence_id == File.evidence_id)
        .where(JobInput.job_id == job_id)
    )
    return writer.connection.scalar(query)


def renew(store: Store, tokens: Iterable[str], lease_seconds: float) -> None:
    """Prolongs the leases a living worker holds."""
    held = list(tokens)
    if held:
        with store.write() as writer:
            until = writer.now + timedelta(seconds=lease_seconds)
            writer.connection.execute(
                update(Job)
                .where(Job.token.in_(held), Job.state == JobState.RUNNING)
                .values(lease_until=until)
            )


def conclude(store: Store, conclusions: Sequence[Conclusion]) -> list[bool]:
    """Commits results, job states, file states and audit together; one truth value a conclusion.

    False where the lease was lost meanwhile: whoever holds the job now writes its result.
    """
    with store.write() as writer:
        return [_conclude_one(writer, c) for c in conclusions]


def _conclude_one(writer: Writer, done: Conclusion) -> bool:
    state = JobState.ABSTAINED if done.diagnosis.abstained else JobState.DONE
    changed = writer.connection.execute(
        update(Job)
        .where(Job.id == done.job.id, Job.token == done.job.token, Job.state == JobState.RUNNING)
        .values(
            state=state, finished_at=writer.now, device=done.device, backend=done.backend,
            seconds=dict(done.seconds), token=None, lease_until=None, error=None,
        )
    )  # fmt: skip
    if changed.rowcount != 1:
        return False
    insert_results(writer, done.job.id, done.diagnosis, _lineage(writer, done.job))
    for name, digest in done.artifacts.items():
        writer.connection.execute(insert(Artifact).values(job_id=done.job.id, name=name, digest=digest))
    reason = (done.diagnosis.reason or "").partition(":")[0]
    detail = {"reason": reason} if reason else {"findings": len(done.diagnosis.findings)}
    writer.audit(f"job:{done.job.id}", f"job:{state}", device=done.device, **detail)
    _settle_files(writer, done.job.id)
    return True


@dataclass(frozen=True, kw_only=True)
class _Lineage:
    """How a job's results stand to those of the same series' other revisions."""

    status: str = "preliminary"
    partial: str | None = None  #: why the series was read although it was not whole
    supersedes: str | None = None  #: the job of the revision before


def _lineage(writer: Writer, job: Claimed) -> _Lineage:
    """Marks the results of the series' earlier revisions as superseded; a late one is born so."""
    job_id = job.id
    mine = writer.connection.execute(
        select(Job.model, SeriesRevision.series_id, SeriesRevision.number, SeriesRevision.state,
               SeriesRevision.reason)
        .join(SeriesRevision, SeriesRevision.id == Job.revision_id)
        .where(Job.id == job_id)
    ).one_or_none()  # fmt: skip
    if mine is None:
        return _joined(writer, job) if job.inputs[0].kind == Kind.TABLE else _Lineage()
    others = writer.connection.execute(
        select(Job.id, SeriesRevision.number)
        .join(SeriesRevision, SeriesRevision.id == Job.revision_id)
        .where(
            SeriesRevision.series_id == mine.series_id, Job.model == mine.model, Job.id != job_id,
            Job.state.in_(CONCLUDED),
        )
        .order_by(SeriesRevision.number)
    ).all()  # fmt: skip
    older = [row.id for row in others if row.number < mine.number]
    superseded = any(row.number > mine.number for row in others)
    _supersede(writer, older, job_id)
    return _Lineage(
        status="superseded" if superseded else "preliminary",
        partial=mine.reason if mine.state == "partial" else None,
        supersedes=older[-1] if older else None,
    )


def _joined(writer: Writer, job: Claimed) -> _Lineage:
    """A model's reading of an input together with another supersedes its reading of that input alone."""
    first, count = job.inputs[0].evidence_id, func.count(JobInput.position)
    same = select(JobInput.job_id).where(JobInput.evidence_id == first, JobInput.position == 0)
    others = writer.connection.execute(
        select(Job.id, count.label("inputs"))
        .join(JobInput, JobInput.job_id == Job.id)
        .where(Job.id.in_(same), Job.model == job.model, Job.id != job.id, Job.state.in_(CONCLUDED))
        .group_by(Job.id)
    ).all()
    older = [row.id for row in others if row.inputs < len(job.inputs)]
    _supersede(writer, older, job.id)
    late = any(row.inputs > len(job.inputs) for row in others)
    return _Lineage(status="superseded" if late else "preliminary", supersedes=older[-1] if older else None)


def _supersede(writer: Writer, earlier: Sequence[str], by: str) -> None:
    changed = (
        writer.connection.execute(
            update(Result)
            .where(Result.job_id.in_(earlier), Result.status == "preliminary")
            .values(status="superseded")
            .returning(Result.job_id)
        )
        if earlier
        else ()
    )
    for job_id in sorted({row.job_id for row in changed}):
        writer.audit(f"job:{job_id}", "job:superseded", by=by)


def insert_results(
    writer: Writer, job_id: str, diagnosis: Diagnosis, lineage: _Lineage | None = None
) -> None:
    """A concluded job's answers, or the one row that says why there is none."""
    lineage = lineage or _Lineage()
    flag = {"partial": lineage.partial} if lineage.partial else {}
    common: dict[str, object] = {
        "job_id": job_id, "status": lineage.status, "created_at": writer.now, "partial": bool(flag),
        "supersedes": lineage.supersedes,
    }  # fmt: skip
    if diagnosis.abstained or not diagnosis.findings:
        row = {
            "id": f"{job_id}-0",
            "position": 0,
            "abstained": True,
            "reason": diagnosis.reason,
            "evidence": flag,
        }
        writer.connection.execute(insert(Result).values({**common, **row}))
        return
    rows = [
        {**common, **_columns(f), "evidence": {**f.evidence, **flag}, "id": f"{job_id}-{n}", "position": n}
        for n, f in enumerate(diagnosis.findings)
    ]
    writer.connection.execute(insert(Result), rows)


def _columns(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code.value, "system": finding.code.system, "meaning": finding.code.meaning,
        "positive": finding.positive, "probability": finding.probability, "threshold": finding.threshold,
        "value": finding.value, "unit": finding.unit, "laterality": finding.laterality, "site": finding.site,
        "qualifier": finding.qualifier, "abstained": finding.abstained, "reason": finding.reason,
    }  # fmt: skip


def _settle_files(writer: Writer, job_id: str) -> None:
    """Files of a job's inputs are done once every job of theirs is concluded."""
    settle_files(
        writer, writer.connection.scalars(select(JobInput.evidence_id).where(JobInput.job_id == job_id))
    )


def settle_files(writer: Writer, evidence_ids: Iterable[str]) -> None:
    """Files of these inputs that are read and owe nothing more are done."""
    ids = list(evidence_ids)
    unfinished = exists(
        select(Job.id)
        .join(JobInput, JobInput.job_id == Job.id)
        .where(JobInput.evidence_id == File.evidence_id, Job.state.not_in(CONCLUDED))
    )
    for start in range(0, len(ids), 500):
        done = writer.connection.execute(
            update(File)
            .where(File.evidence_id.in_(ids[start : start + 500]), File.state == FileState.READY, ~unfinished)
            .values(state=FileState.DONE, changed_at=writer.now)
            .returning(File.id)
        )
        for (file_id,) in done.all():
            writer.audit(f"file:{file_id}", "file:done")


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
