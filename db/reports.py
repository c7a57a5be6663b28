"""What people and metrics ask the database: counts, results, cases, quarantine, audit; read-only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select, text

from db.jobs import Input
from db.records import FileState, JobState, Whole
from db.tables import Case, File, Job, Result, Series

Row = dict[str, Any]


def file_counts(connection: Connection) -> dict[str, int]:
    """Files ever seen, by state; every state is there."""
    query = select(File.state, func.count()).group_by(File.state)
    found = {state: count for state, count in connection.execute(query)}  # noqa: C416 - rows, not pairs
    return {state.value: found.get(state.value, 0) for state in FileState}


def job_counts(connection: Connection) -> list[tuple[str, str, str, int]]:
    """Jobs as (state, model, lane, count)."""
    query = select(Job.state, Job.model, Job.lane, func.count()).group_by(Job.state, Job.model, Job.lane)
    return [(s, m, lane, n) for s, m, lane, n in connection.execute(query)]


def jobs_by_state(connection: Connection) -> dict[str, int]:
    """Jobs by state; every state is there."""
    totals = {state.value: 0 for state in JobState}
    for state, _, _, count in job_counts(connection):
        totals[state] += count
    return totals


def jobs_by_lane(connection: Connection) -> dict[str, dict[str, int]]:
    """Jobs not concluded, by lane and state."""
    lanes: dict[str, dict[str, int]] = {}
    for state, _, lane, count in job_counts(connection):
        if state in (JobState.OWED, JobState.QUEUED, JobState.RUNNING):
            lanes.setdefault(lane, {}).setdefault(state, 0)
            lanes[lane][state] += count
    return lanes


def oldest_pending(connection: Connection, now: datetime) -> float:
    """Seconds since the oldest file or job that is not concluded appeared; 0.0 when there is none."""
    files = connection.scalar(select(func.min(File.first_seen)).where(File.state == FileState.PENDING))
    waiting = (JobState.OWED, JobState.QUEUED, JobState.RUNNING)
    jobs = connection.scalar(select(func.min(Job.created_at)).where(Job.state.in_(waiting)))
    ages = [(now - t).total_seconds() for t in (files, jobs) if t is not None]
    return round(max([0.0, *ages]), 3)


def last_success(connection: Connection) -> datetime | None:
    """When a job was last concluded."""
    return connection.scalar(select(func.max(Job.finished_at)).where(Job.state.in_(("done", "abstained"))))


def result_counts(connection: Connection) -> list[tuple[str, str, int]]:
    """Results as (model, outcome, count); outcome is positive, negative, measured or abstained."""
    query = select(Job.model, Result.abstained, Result.positive, func.count()).join(
        Job, Job.id == Result.job_id
    )
    rows = connection.execute(query.group_by(Job.model, Result.abstained, Result.positive))
    counts: dict[tuple[str, str], int] = {}
    for model, abstained, positive, count in rows:
        answer = "measured" if positive is None else "positive" if positive else "negative"
        outcome = "abstained" if abstained else answer
        counts[model, outcome] = counts.get((model, outcome), 0) + count
    return [(model, outcome, count) for (model, outcome), count in counts.items()]


def abstention_counts(connection: Connection) -> dict[tuple[str, str], int]:
    """Abstentions by (model, reason code)."""
    query = (
        select(Job.model, Result.reason, func.count())
        .join(Job, Job.id == Result.job_id)
        .where(Result.abstained)
        .group_by(Job.model, Result.reason)
    )
    counts: dict[tuple[str, str], int] = {}
    for model, reason, count in connection.execute(query):
        key = (model, (reason or "").partition(":")[0])
        counts[key] = counts.get(key, 0) + count
    return counts


def quarantine_counts(connection: Connection) -> dict[str, int]:
    """Files ever quarantined, by reason code; a released one still counts."""
    query = text("SELECT detail FROM audit WHERE action = 'file:quarantined'")
    counts: dict[str, int] = {}
    for (detail,) in connection.execute(query):
        reason = str(json.loads(detail).get("reason", ""))
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def series_counts(connection: Connection) -> dict[str, int]:
    """Series by where they stand on their way to being whole; every state is there."""
    query = select(Series.state, func.count()).group_by(Series.state)
    found = {state: count for state, count in connection.execute(query)}  # noqa: C416 - rows, not pairs
    return {state.value: found.get(state.value, 0) for state in Whole}


def audit_length(connection: Connection) -> int:
    """Entries in the audit log."""
    return int(connection.scalar(text("SELECT seq FROM audit_head WHERE id = 1")) or 0)


def case_count(connection: Connection) -> int:
    """Cases known."""
    return int(connection.scalar(select(func.count()).select_from(Case)) or 0)


def results(
    connection: Connection, *, since: datetime | None = None, limit: int = 10_000, **wanted: str | None
) -> list[Row]:
    """Findings and abstentions, newest first, in the promised shape.

    wanted: case_id, model, code or result_id, each to narrow by; None does not narrow.
    """
    clauses = ["1 = 1"]
    values: dict[str, Any] = {"limit": limit}
    for column, value in wanted.items():
        if value is not None:
            clauses.append(f"{column} = :{column}")
            values[column] = value
    if since is not None:
        clauses.append("created_at >= :since")
        values["since"] = _bound(connection, since)
    order = "ORDER BY created_at DESC, result_id LIMIT :limit"
    query = f"SELECT * FROM v_results WHERE {' AND '.join(clauses)} {order}"  # noqa: S608 - columns are ours
    return [_result(dict(row)) for row in connection.execute(text(query), values).mappings()]


def _result(row: Row) -> Row:
    code, system, meaning = row.pop("code"), row.pop("system"), row.pop("meaning")
    row["finding"] = None if code is None else {"code": code, "system": system, "meaning": meaning}
    row["evidence"] = _json(row["evidence"])
    row["abstained"], row["partial"] = bool(row["abstained"]), bool(row["partial"])
    row["positive"] = None if row["positive"] is None else bool(row["positive"])
    row["created_at"] = _iso(row["created_at"])
    return row


def case_report(connection: Connection, case_id: str) -> Row | None:
    """One case: its evidence, jobs, results and timeline; None when there is no such case."""
    head = (
        connection.execute(text("SELECT * FROM v_cases WHERE case_id = :id"), {"id": case_id})
        .mappings()
        .first()
    )
    if head is None:
        return None
    evidence = _rows(
        connection, "SELECT id, kind, uid, digest, bytes, study_uid, series_uid, facts, received_at "
        "FROM evidence WHERE case_id = :id ORDER BY received_at, id", id=case_id,
    )  # fmt: skip
    jobs = _rows(
        connection, "SELECT * FROM v_jobs WHERE case_id = :id ORDER BY created_at, job_id", id=case_id
    )
    order = "WHERE case_id = :id ORDER BY created_at, study_uid"
    studies = _rows(connection, f"SELECT * FROM v_studies {order}", id=case_id)  # noqa: S608
    series = _rows(connection, f"SELECT * FROM v_series {order}", id=case_id)  # noqa: S608
    links = _rows(
        connection, "SELECT l.evidence_id, l.relation, l.other_id, o.case_id AS other_case_id "
        "FROM evidence_links l JOIN evidence e ON e.id = l.evidence_id "
        "JOIN evidence o ON o.id = l.other_id WHERE e.case_id = :id OR o.case_id = :id "
        "ORDER BY l.created_at, l.evidence_id", id=case_id,
    )  # fmt: skip
    others = [f"study:{s['study_id']}" for s in studies] + [f"series:{s['series_id']}" for s in series]
    return {
        **{k: _plain(k, v) for k, v in head.items()},
        "inputs": evidence,
        "links": links,
        "studies": studies,
        "series": series,
        "readings": jobs,
        "results": results(connection, case_id=case_id),
        "timeline": _timeline(connection, evidence, jobs, others),
        "reviews": [],
    }


def _timeline(
    connection: Connection, evidence: Sequence[Row], jobs: Sequence[Row], others: Sequence[str]
) -> list[Row]:
    subjects = [f"evidence:{e['id']}" for e in evidence] + [f"job:{j['job_id']}" for j in jobs] + [*others]
    files = [f["file_id"] for e in evidence for f in _rows(
        connection, "SELECT file_id FROM v_files WHERE evidence_id = :id", id=e["id"])]  # fmt: skip
    entries: list[Row] = []
    for subject in [*subjects, *(f"file:{f}" for f in files)]:
        entries += _rows(
            connection, "SELECT seq, at, subject, action, detail FROM v_audit WHERE subject = :s", s=subject
        )
    entries.sort(key=lambda e: int(e["seq"]))
    start = None
    for entry in entries:
        at = datetime.strptime(entry["at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        start = start or at
        entry["seconds"] = round((at - start).total_seconds(), 3)
    return entries


def files(connection: Connection, state: FileState, reason: str | None = None) -> list[Row]:
    """Files in a state, newest first; names stay sealed."""
    query = "SELECT * FROM v_files WHERE state = :state"
    values = {"state": state.value}
    if reason is not None:
        query += " AND reason = :reason"
        values["reason"] = reason
    return _rows(connection, query + " ORDER BY changed_at DESC, file_id", **values)


def artifacts(connection: Connection, job_id: str) -> dict[str, str]:
    """The archived digests of a job's artifacts, by name."""
    rows = _rows(connection, "SELECT name, digest FROM artifacts WHERE job_id = :id", id=job_id)
    return {r["name"]: r["digest"] for r in rows}


def inputs(connection: Connection, job_id: str) -> list[Input]:
    """A job's inputs, in order."""
    rows = _rows(
        connection, "SELECT e.id AS evidence_id, e.kind, e.format, e.digest "
        "FROM job_inputs i JOIN evidence e ON e.id = i.evidence_id "
        "WHERE i.job_id = :id ORDER BY i.position", id=job_id,
    )  # fmt: skip
    return [Input(**r) for r in rows]


def audit_entries(
    connection: Connection, *, subject: str | None = None, after: int | None = None, limit: int = 1000
) -> list[Row]:
    """Audit entries in order; the newest `limit` of them unless `after` names where to begin."""
    where, values = "seq > :after", {"after": after or 0, "limit": limit}  # type: tuple[str, dict[str, Any]]
    if subject is not None:
        where += " AND subject = :subject"
        values["subject"] = subject
    order = "DESC" if after is None else "ASC"
    query = f"SELECT * FROM v_audit WHERE {where} ORDER BY seq {order} LIMIT :limit"  # noqa: S608
    return sorted(_rows(connection, query, **values), key=lambda r: int(r["seq"]))


def _rows(connection: Connection, query: str, **values: object) -> list[Row]:
    return [
        {k: _plain(k, v) for k, v in row.items()}
        for row in connection.execute(text(query), values).mappings()
    ]


JSON_COLUMNS = {"facts", "detail", "seconds", "evidence"}


def _plain(name: str, value: object) -> object:
    if name in JSON_COLUMNS and isinstance(value, str):
        return _json(value)
    if name.endswith(("_at", "_until", "_seen")):
        return _iso(value)
    return value


def _json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _iso(value: object) -> object:
    """UTC ISO 8601, from PostgreSQL's aware datetimes and SQLite's naive texts alike."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def _bound(connection: Connection, at: datetime) -> object:
    """A time as the database compares it: SQLite keeps naive UTC texts."""
    if connection.dialect.name == "sqlite":
        return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return at
