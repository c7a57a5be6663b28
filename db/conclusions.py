"""A claimed job is concluded once: results, states and audit together; what it supersedes is marked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Row,
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
        ids = {"jobs": [c.job.id for c in conclusions]}
        tokens = dict(tuple(row) for row in writer.connection.execute(statements.RUNNING, ids))
        kept = [tokens.get(c.job.id) == c.job.token for c in conclusions]
        won = [c for c, is_kept in zip(conclusions, kept, strict=True) if is_kept]
        if won:
            _conclude(writer, won)
        return kept


def _conclude(writer: Writer, won: Sequence[Conclusion]) -> None:
    """Writes these, whose leases hold and whose rows are locked: few statements, however many jobs."""
    inputs = list(dict.fromkeys(i.evidence_id for c in won for i in c.job.inputs))
    _one_after_the_other(writer, inputs)
    states = [JobState.ABSTAINED if c.diagnosis.abstained else JobState.DONE for c in won]
    writer.connection.execute(
        statements.CONCLUDE,
        [{"job": c.job.id, "lease": c.job.token, "new_state": state, "new_finished_at": writer.now,
          "new_device": c.device, "new_backend": c.backend, "new_seconds": dict(c.seconds)}
         for c, state in zip(won, states, strict=True)],
    )  # fmt: skip
    lineages = _lineages(writer, [c.job for c in won])
    _insert(writer, [row for c in won for row in _rows(writer, c.job.id, c.diagnosis, lineages[c.job.id])])
    artifacts = [
        {"job_id": c.job.id, "name": name, "digest": d} for c in won for name, d in c.artifacts.items()
    ]
    if artifacts:
        writer.connection.execute(statements.ARTIFACTS, artifacts)
    for c, state in zip(won, states, strict=True):
        reason = (c.diagnosis.reason or "").partition(":")[0]
        detail = {"reason": reason} if reason else {"findings": len(c.diagnosis.findings)}
        writer.audit(f"job:{c.job.id}", f"job:{state}", device=c.device, **detail)
    _settle(writer, inputs)


@dataclass(frozen=True, kw_only=True)
class _Lineage:
    """How a job's results stand to those of the same series' other revisions."""

    status: str = "preliminary"
    partial: str | None = None  #: why the series was read although it was not whole
    supersedes: str | None = None  #: the job of the revision before


def _lineages(writer: Writer, jobs_: Sequence[Claimed]) -> dict[str, _Lineage]:
    """Each job's standing, by its id."""
    rows = writer.connection.execute(statements.REVISIONS, {"jobs": [job.id for job in jobs_]})
    revisions = {row.id: row for row in rows}
    return {job.id: _lineage(writer, job, revisions.get(job.id)) for job in jobs_}


def _lineage(writer: Writer, job: Claimed, mine: Row[Any, Any, Any, Any, Any] | None) -> _Lineage:
    """Marks the results of the series' earlier revisions as superseded; a late one is born so."""
    job_id = job.id
    if mine is None:
        return _joined(writer, job) if job.inputs[0].kind == Kind.TABLE else _Lineage()
    others = writer.connection.execute(
        select(Job.id, SeriesRevision.number)
        .join(SeriesRevision, SeriesRevision.id == Job.revision_id)
        .where(
            SeriesRevision.series_id == mine.series_id, Job.model == job.model, Job.id != job_id,
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


def insert_results(writer: Writer, job_id: str, diagnosis: Diagnosis) -> None:
    """The answers of a job that stands by itself, or the one row that says why there is none."""
    _insert(writer, _rows(writer, job_id, diagnosis, _Lineage()))


def _rows(writer: Writer, job_id: str, diagnosis: Diagnosis, lineage: _Lineage) -> list[dict[str, object]]:
    """A concluded job's answers, or the one row that says why there is none."""
    flag = {"partial": lineage.partial} if lineage.partial else {}
    common: dict[str, object] = {
        "job_id": job_id, "status": lineage.status, "created_at": writer.now, "partial": bool(flag),
        "supersedes": lineage.supersedes,
    }  # fmt: skip
    if diagnosis.abstained or not diagnosis.findings:
        return [
            {**common, "id": f"{job_id}-0", "position": 0, "abstained": True, "reason": diagnosis.reason,
             "evidence": flag}
        ]  # fmt: skip
    return [
        {**common, **_columns(f), "evidence": {**f.evidence, **flag}, "id": f"{job_id}-{n}", "position": n}
        for n, f in enumerate(diagnosis.findings)
    ]


def _insert(writer: Writer, rows: Sequence[dict[str, object]]) -> None:
    """Rows of results; those that say why there is no answer have fewer columns than the others."""
    for same in ([r for r in rows if "code" in r], [r for r in rows if "code" not in r]):
        if same:
            writer.connection.execute(statements.RESULTS, same)


def _columns(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code.value, "system": finding.code.system, "meaning": finding.code.meaning,
        "positive": finding.positive, "probability": finding.probability, "threshold": finding.threshold,
        "value": finding.value, "unit": finding.unit, "laterality": finding.laterality, "site": finding.site,
        "qualifier": finding.qualifier, "abstained": finding.abstained, "reason": finding.reason,
    }  # fmt: skip


def settle_files(writer: Writer, evidence_ids: Iterable[str]) -> None:
    """Files of these inputs that are read and owe nothing more are done."""
    ids = list(evidence_ids)
    _one_after_the_other(writer, ids)
    _settle(writer, ids)


def _one_after_the_other(writer: Writer, evidence_ids: Sequence[str]) -> None:
    """Waits for whoever else is about to conclude readings of the same cases, then sees what he wrote.

    Two that conclude at once would each take the other's reading for open: a file would never be done,
    and neither of two readings supersede the other. SQLite has one writer anyway.
    """
    if writer.connection.dialect.name == "postgresql" and evidence_ids:
        writer.connection.execute(statements.CASES, {"inputs": evidence_ids}).all()


def _settle(writer: Writer, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), 500):
        these = {"inputs": ids[start : start + 500], "at": writer.now}
        done = writer.connection.execute(statements.SETTLE, these)
        for (file_id,) in done.all():
            writer.audit(f"file:{file_id}", "file:done")
