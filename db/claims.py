"""A waiting job is claimed under a lease that its worker renews; its neighbours come with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    TextClause,
    or_,
    select,
)

from db import statements
from db.ids import new_id
from db.jobs import Claimed, Input, due_time
from db.store import Store, Writer
from db.tables import WAITING, Job

Waiting = Row[str, str, str, str, str, int, datetime]  #: of _chosen


def claim(
    store: Store, job_id: str, *, worker: str, lease_seconds: float,
    limit: int | Callable[[str], int] = 1, lanes: Sequence[str] | None = None, yield_turn: bool = False,
    held: Mapping[str, str] | None = None,
) -> list[Claimed]:  # fmt: skip
    """Claims what is best to do now, prompted by a hinted job, with neighbours of its model and lane.

    lanes: those served, most urgent first; None keeps to the hinted job's own lane. The first lane
        with waiting work is served; with `yield_turn` it is instead the lane, of those behind it, whose
        work waits longest, so that a stream of urgent work starves nobody.
    held: the models that the worker holds, with their weights' SHA-256: what is owed to another version
        of one of them is left to a worker that holds that.
    limit: jobs at most, or what tells it of a model. One that was tried before goes alone: were it to end
        the process, it ends no other's.
    Empty when the hint is late: the job is done, or in another worker's hands.
    """
    with store.read() as connection:
        mine = _readable(held or {})
        first = connection.execute(_chosen(Job.id == job_id, WAITING, *mine)).one_or_none()
        if first is not None and lanes is not None:
            first = _best(connection, lanes, yield_turn, first, store.now(), mine)
    if first is None:
        return []
    most = limit if isinstance(limit, int) else limit(first.model)
    return _take(store, first, 1 if first.attempts else most, worker, lease_seconds)


def more(
    store: Store, like: Claimed, *, worker: str, lease_seconds: float, limit: int,
    lanes: Sequence[str] | None = None, yield_turn: bool = False, held: Mapping[str, str] | None = None,
) -> list[Claimed]:  # fmt: skip
    """Claims further neighbours of a job in hand, `limit` at most; none where it is another's turn.

    That is where a more urgent lane has waiting work, with `yield_turn` any other lane, or where another
    model's job has waited longest in this one. lanes, held: as of `claim`.
    """
    with store.read() as connection:
        if _is_turn_of_another(connection, like, lanes, yield_turn, store.now(), _readable(held or {})):
            return []
    with store.write() as writer:
        rows = list(writer.connection.execute(_neighbours(writer, like, like.version, limit)))
        return _claimed(writer, rows, worker, lease_seconds)


def _is_turn_of_another(
    connection: Connection, like: Claimed, lanes: Sequence[str] | None, yield_turn: bool, now: datetime,
    mine: Sequence[ColumnElement[bool]],
) -> bool:  # fmt: skip
    served = list(lanes or ())
    urgent = served[: served.index(like.lane)] if like.lane in served else []
    others = [lane for lane in served if lane != like.lane] if yield_turn else urgent
    if any(_oldest(connection, lane, now, mine) is not None for lane in others):
        return True
    oldest = _oldest(connection, like.lane, now, mine)
    return oldest is not None and oldest.model != like.model


def _take(store: Store, first: Waiting, limit: int, worker: str, lease_seconds: float) -> list[Claimed]:
    """Claims a job, unless another just did, and the oldest of its neighbours that were not tried before."""
    with store.write() as writer:
        # two looks, each by its index: ordered in one, the whole backlog would be sorted at every claim
        alone = select(Job).where(Job.id == first.id, *_same(first, first.model_version))
        rows = list(writer.connection.execute(alone.with_for_update(skip_locked=True)))
        if len(rows) < limit:
            others = _neighbours(writer, first, first.model_version, limit - len(rows))
            rows += writer.connection.execute(others)
        return _claimed(writer, rows, worker, lease_seconds)


def _same(job: Waiting | Claimed, version: str) -> tuple[ColumnElement[bool] | TextClause, ...]:
    """Waiting, and a neighbour of this job: of its lane, its model, these weights."""
    return (
        WAITING, Job.model == job.model, Job.lane == job.lane, Job.weights_sha256 == job.weights_sha256,
        Job.model_version == version,
    )  # fmt: skip


def _neighbours(writer: Writer, job: Waiting | Claimed, version: str, limit: int) -> Select[Any]:
    """The oldest that wait beside this job, locked, those left out that were tried before."""
    return (
        select(Job)
        .where(*_same(job, version), Job.id != job.id, Job.attempts == 0, due_time(writer.now))
        .order_by(Job.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


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
        row = _oldest(connection, lane, now, mine)
        if row is None:
            continue
        found.append(row)
        if not yield_turn:
            break
    if not found:  # a retry that is not due yet, hinted all the same
        return hinted
    chosen = min(found[1:], key=lambda row: row.created_at) if found[1:] else found[0]
    return hinted if hinted.lane == chosen.lane else chosen


def _oldest(
    connection: Connection, lane: str, now: datetime, mine: Sequence[ColumnElement[bool]]
) -> Waiting | None:
    """Of a lane's waiting jobs that are due, the oldest."""
    query = _chosen(WAITING, Job.lane == lane, due_time(now), *mine).order_by(Job.created_at).limit(1)
    return connection.execute(query).one_or_none()


def _claimed(writer: Writer, rows: Sequence[Row[Any]], worker: str, lease_seconds: float) -> list[Claimed]:
    """Puts rows of jobs under leases of this worker."""
    if not rows:
        return []
    tokens = {row.id: new_id() for row in rows}
    writer.connection.execute(
        statements.CLAIM,
        [{"job": row.id, "new_attempts": row.attempts + 1, "new_token": tokens[row.id], "new_worker": worker,
          "new_lease_until": writer.now + timedelta(seconds=lease_seconds), "new_started_at": writer.now}
         for row in rows],
    )  # fmt: skip
    for row in rows:
        writer.audit(f"job:{row.id}", "job:claimed", attempt=row.attempts + 1)
    these = {"jobs": list(tokens)}
    inputs = _inputs(writer.connection.execute(statements.INPUTS, these))
    seen_at = dict(tuple(row) for row in writer.connection.execute(statements.SEEN_AT, these))
    return [
        Claimed(
            id=row.id, token=tokens[row.id], model=row.model, version=row.model_version,
            weights_sha256=row.weights_sha256, lane=row.lane, attempts=row.attempts + 1,
            inputs=tuple(inputs[row.id]), queued_seconds=(writer.now - row.created_at).total_seconds(),
            seen_at=seen_at.get(row.id) or row.created_at,
        )
        for row in rows
    ]  # fmt: skip


def is_waiting(store: Store, job_id: str) -> str | None:
    """The lane of a job that still waits to be claimed, None when it does not."""
    with store.read() as connection:
        return connection.scalar(select(Job.lane).where(Job.id == job_id, WAITING))


def _inputs(rows: Iterable[Row[Any, Any, Any, Any, Any]]) -> dict[str, list[Input]]:
    found: dict[str, list[Input]] = defaultdict(list)
    for job_id, evidence_id, kind, fmt, digest in rows:
        found[job_id].append(Input(evidence_id=evidence_id, kind=kind, format=fmt, digest=digest))
    return found


def renew(store: Store, tokens: Iterable[str], lease_seconds: float) -> None:
    """Prolongs the leases a living worker holds."""
    held = list(tokens)
    if held:
        with store.write() as writer:
            mine = list(writer.connection.scalars(statements.LEASED, {"tokens": held}))
            until = writer.now + timedelta(seconds=lease_seconds)
            writer.connection.execute(statements.RENEW, {"jobs": mine, "until": until})
