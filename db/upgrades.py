"""Readings that are owed to a model's earlier version move on to the one that is served now."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, update

from db import conclusions, jobs
from db.jobs import Owed
from db.records import Diagnosis, JobState
from db.store import Store
from db.tables import Job, JobInput

MOVED = (JobState.OWED, JobState.QUEUED, JobState.FAILED)


def move_on(store: Store, served: Iterable[Owed]) -> int:
    """Jobs of other versions or weights that wait or failed are owed to those served; how many.

    The old job is concluded as an abstention that says so: nothing is lost, and nothing read twice.
    """
    moved = 0
    for owed in served:
        while part := _some(store, owed):
            moved += part
    return moved


def _some(store: Store, owed: Owed, limit: int = 200) -> int:
    query = (
        select(Job.id, Job.case_id, Job.input_digest, Job.revision_id, Job.lane)
        .where(Job.model == owed.model, Job.weights_sha256 != owed.weights_sha256, Job.state.in_(MOVED))
        .order_by(Job.created_at)
        .limit(limit)
    )
    with store.read() as connection:
        if connection.execute(query.limit(1)).first() is None:
            return 0
    with store.write() as writer:
        rows = writer.connection.execute(query.with_for_update(skip_locked=True)).all()
        for row in rows:
            inputs = list(writer.connection.scalars(
                select(JobInput.evidence_id).where(JobInput.job_id == row.id).order_by(JobInput.position)
            ))  # fmt: skip
            new = Owed(
                model=owed.model, version=owed.version, weights_sha256=owed.weights_sha256, lane=row.lane
            )
            jobs.owe(writer, row.case_id, inputs, row.input_digest, [new], row.revision_id)
            reason = f"superseded-version: version {owed.version} reads it instead"
            writer.connection.execute(
                update(Job).where(Job.id == row.id)
                .values(state=JobState.ABSTAINED, finished_at=writer.now, device="none", error=None)
            )  # fmt: skip
            conclusions.insert_results(writer, row.id, Diagnosis(abstained=True, reason=reason))
            writer.audit(f"job:{row.id}", "job:abstained", reason="superseded-version", version=owed.version)
            conclusions.settle_files(writer, inputs)
    return len(rows)
