"""A claimed job is concluded once: results, states and audit together; what it supersedes is marked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    func,
    select,
    update,
)

from db import jobs, statements
from db.jobs import CONCLUDED, Claimed, Conclusion, Owed
from db.records import Diagnosis, Finding, JobState, Kind
from db.store import Store, Writer
from db.tables import Job, JobInput, Result, SeriesRevision


def unread(writer: Writer, case_id: str, evidence_id: str, series: str, reason: str) -> None:
    """Records, once a series, that no model reads this input: an abstention people can see."""
    digest = hashlib.sha256(f"unread:{series}".encode()).hexdigest()
    jobs.owe(writer, case_id, evidence_id, digest, [Owed(model="none", version="1", weights_sha256="")])
    row = writer.connection.execute(statements.UNREAD, {"digest": digest}).one_or_none()
    if row is None:
        return
    writer.connection.execute(
        update(Job)
        .where(Job.id == row.id)
        .values(state=JobState.ABSTAINED, finished_at=writer.now, device="none")
    )
    insert_results(writer, row.id, Diagnosis(abstained=True, reason=reason))
    writer.audit(f"job:{row.id}", "job:abstained", reason=reason.partition(":")[0])


def conclude(store: Store, conclusions: Sequence[Conclusion]) -> list[bool]:
    """Commits results, job states, file states and audit together; one truth value a conclusion.

    False where the lease was lost meanwhile: whoever holds the job now writes its result.
    """
    with store.write() as writer:
        return [_conclude_one(writer, c) for c in conclusions]


def _conclude_one(writer: Writer, done: Conclusion) -> bool:
    state = JobState.ABSTAINED if done.diagnosis.abstained else JobState.DONE
    changed = writer.connection.execute(
        statements.CONCLUDE,
        {"job": done.job.id, "lease": done.job.token, "new_state": state, "new_finished_at": writer.now,
         "new_device": done.device, "new_backend": done.backend, "new_seconds": dict(done.seconds)},
    )  # fmt: skip
    if changed.rowcount != 1:
        return False
    insert_results(writer, done.job.id, done.diagnosis, _lineage(writer, done.job))
    kept = [{"job_id": done.job.id, "name": name, "digest": d} for name, d in done.artifacts.items()]
    if kept:
        writer.connection.execute(statements.ARTIFACTS, kept)
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
    mine = writer.connection.execute(statements.REVISION, {"job": job_id}).one_or_none()
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
        writer.connection.execute(statements.RESULTS, {**common, **row})
        return
    rows = [
        {**common, **_columns(f), "evidence": {**f.evidence, **flag}, "id": f"{job_id}-{n}", "position": n}
        for n, f in enumerate(diagnosis.findings)
    ]
    writer.connection.execute(statements.RESULTS, rows)


def _columns(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code.value, "system": finding.code.system, "meaning": finding.code.meaning,
        "positive": finding.positive, "probability": finding.probability, "threshold": finding.threshold,
        "value": finding.value, "unit": finding.unit, "laterality": finding.laterality, "site": finding.site,
        "qualifier": finding.qualifier, "abstained": finding.abstained, "reason": finding.reason,
    }  # fmt: skip


def _settle_files(writer: Writer, job_id: str) -> None:
    """Files of a job's inputs are done once every job of theirs is concluded."""
    settle_files(writer, writer.connection.scalars(statements.INPUT_IDS, {"job": job_id}))


def settle_files(writer: Writer, evidence_ids: Iterable[str]) -> None:
    """Files of these inputs that are read and owe nothing more are done."""
    ids = list(evidence_ids)
    for start in range(0, len(ids), 500):
        these = {"inputs": ids[start : start + 500], "at": writer.now}
        done = writer.connection.execute(statements.SETTLE, these)
        for (file_id,) in done.all():
            writer.audit(f"file:{file_id}", "file:done")
