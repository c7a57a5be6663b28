"""The statements that every input and job needs, built once: building them took longer than running them."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from db.records import FileState, JobState
from db.tables import (
    Artifact,
    Case,
    Evidence,
    File,
    Job,
    JobInput,
    Manifest,
    Result,
    Series,
    SeriesRevision,
    Study,
)

_evidence: Table = Evidence.__table__  # type: ignore[assignment]  # SQLAlchemy types it as any FromClause
_files: Table = File.__table__  # type: ignore[assignment]
_jobs: Table = Job.__table__  # type: ignore[assignment]

#: (id, case_id) of the input whose bytes have a `digest`
KNOWN: Select[Any, Any] = (
    select(_evidence.c.id, _evidence.c.case_id)
    .where(_evidence.c.digest == bindparam("digest"))
    .with_for_update()
)
#: how many inputs hold a `uid`
HOLDERS: Select[Any] = select(func.count()).select_from(_evidence).where(_evidence.c.uid == bindparam("uid"))
#: (id, case_id, digest) of the first input but `mine` that has a `content`
SAME_CONTENT: Select[Any, Any, Any] = (
    select(_evidence.c.id, _evidence.c.case_id, _evidence.c.digest)
    .where(_evidence.c.content == bindparam("content"), _evidence.c.id != bindparam("mine"))
    .order_by(_evidence.c.received_at, _evidence.c.id)
    .limit(1)
)
#: the owed job that says that nothing reads what has a `digest`
UNREAD: Select[Any] = select(_jobs.c.id).where(
    _jobs.c.input_digest == bindparam("digest"), _jobs.c.model == "none", _jobs.c.state == JobState.OWED
)
#: a row of evidence, whole
EVIDENCE: Insert = insert(_evidence)
#: rows of jobs' inputs
JOB_INPUTS: Insert = insert(JobInput.__table__)  # type: ignore[arg-type]
#: is there any manifest?
MANIFEST: Select[Any] = select(Manifest.__table__.c.id).limit(1)


def _insert(dialect: str, table: Table) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


@cache
def new(dialect: str, table: type) -> Insert:
    """INSERT of rows, but for those that are there already."""
    found: Insert = _insert(dialect, table.__table__).on_conflict_do_nothing()  # type: ignore[attr-defined]
    return found


@cache
def new_job(dialect: str) -> Insert:
    """INSERT of a job that tells its id, and nothing when it is there already."""
    found: Insert = _insert(dialect, _jobs).on_conflict_do_nothing().returning(_jobs.c.id)
    return found


def _is_open(*, withdrawn: bool) -> ColumnElement[bool]:
    """Files to be concluded; withdrawn: only pending ones, else also those taken for withdrawn."""
    found: ColumnElement[bool] = _files.c.state == FileState.PENDING
    if not withdrawn:
        found |= (_files.c.state == FileState.IGNORED) & (_files.c.reason == "withdrawn")
    return found


#: the ids of those `files` that are to be concluded, locked in the order that every writer keeps to
OPEN_FILES: Select[Any] = (
    select(_files.c.id)
    .where(_files.c.id.in_(bindparam("files", expanding=True)), _is_open(withdrawn=False))
    .order_by(_files.c.id)
    .with_for_update()
)


@cache
def conclude(*, ignored: bool, withdrawn: bool) -> Update:
    """UPDATE of a pending `file` to its next state by `new_` columns.

    ignored: its path may come again; withdrawn: only a pending one, else also one taken for withdrawn.
    """
    names = ("state", "reason", "sentence", "digest", "evidence_id", "changed_at")
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    if ignored:
        values["path_key"] = bindparam("file")
    is_open = _is_open(withdrawn=withdrawn)
    return update(_files).where(_files.c.id == bindparam("file"), is_open).values(values)


@cache
def standing(table: type[Series] | type[Study]) -> Select[Any, Any, Any, Any]:
    """(id, case_id, uid, state) of the series or studies of these `uids`, in any case."""
    columns = table.__table__.c
    uid = columns.series_uid if table is Series else columns.study_uid
    return select(columns.id, columns.case_id, uid.label("uid"), columns.state).where(
        uid.in_(bindparam("uids", expanding=True))
    )


@cache
def arrival(dialect: str, table: type[Series] | type[Study], changed: tuple[str, ...]) -> Insert:
    """INSERT of a series or study with its first instances; else so many more, and these columns."""
    columns = table.__table__.c
    key = "series_uid" if table is Series else "study_uid"
    statement = _insert(dialect, table.__table__)  # type: ignore[arg-type]
    found: Insert = statement.on_conflict_do_update(
        index_elements=["case_id", key],
        set_={name: statement.excluded[name] for name in changed}
        | {"instances": columns.instances + statement.excluded.instances},
    )
    return found


# ── a job's ───────────────────────────────────────────────────────────────────────────────────────

#: a `job` in a worker's hands, by `new_` columns
CLAIM: Update = (
    update(Job)
    .where(Job.id == bindparam("job"))
    .values(
        state=JobState.RUNNING, attempts=bindparam("new_attempts"), token=bindparam("new_token"),
        worker=bindparam("new_worker"), lease_until=bindparam("new_lease_until"),
        started_at=bindparam("new_started_at"), not_before=None,
    )
)  # fmt: skip
_of_these: ColumnElement[bool] = JobInput.job_id.in_(bindparam("jobs", expanding=True))
#: (job_id, id, kind, format, digest) of the inputs of `jobs`, each job's in order
INPUTS: Select[Any, Any, Any, Any, Any] = (
    select(JobInput.job_id, Evidence.id, Evidence.kind, Evidence.format, Evidence.digest)
    .join(JobInput, JobInput.evidence_id == Evidence.id)
    .where(_of_these)
    .order_by(JobInput.job_id, JobInput.position)
)
#: (job_id, when the first of its inputs was seen) of `jobs`
SEEN_AT: Select[Any, Any] = (
    select(JobInput.job_id, func.min(File.first_seen))
    .join(File, File.evidence_id == JobInput.evidence_id)
    .where(_of_these)
    .group_by(JobInput.job_id)
)
#: (id, token) of those `jobs` that are running, locked in the order that every writer keeps to
RUNNING: Select[Any, Any] = (
    select(Job.id, Job.token)
    .where(Job.id.in_(bindparam("jobs", expanding=True)), Job.state == JobState.RUNNING)
    .order_by(Job.id)
    .with_for_update()
)
#: the ids of the jobs under `tokens`, locked likewise
LEASED: Select[Any] = (
    select(Job.id)
    .where(Job.token.in_(bindparam("tokens", expanding=True)), Job.state == JobState.RUNNING)
    .order_by(Job.id)
    .with_for_update()
)
#: the leases of `jobs` last until `until`
RENEW: Update = (
    update(Job).where(Job.id.in_(bindparam("jobs", expanding=True))).values(lease_until=bindparam("until"))
)
#: a running `job` that still holds its `lease` is concluded, by `new_` columns
CONCLUDE: Update = (
    update(Job)
    .where(Job.id == bindparam("job"), Job.token == bindparam("lease"), Job.state == JobState.RUNNING)
    .values(
        state=bindparam("new_state"), finished_at=bindparam("new_finished_at"),
        device=bindparam("new_device"), backend=bindparam("new_backend"),
        seconds=bindparam("new_seconds"), token=None, lease_until=None, error=None,
    )
)  # fmt: skip
#: (id, series_id, number, state, reason) of the revisions that `jobs` read
REVISIONS: Select[Any, Any, Any, Any, Any] = (
    select(Job.id, SeriesRevision.series_id, SeriesRevision.number, SeriesRevision.state,
           SeriesRevision.reason)
    .join(SeriesRevision, SeriesRevision.id == Job.revision_id)
    .where(Job.id.in_(bindparam("jobs", expanding=True)))
)  # fmt: skip
#: rows of results, whole
RESULTS: Insert = insert(Result.__table__)  # type: ignore[arg-type]
#: rows of artifacts
ARTIFACTS: Insert = insert(Artifact.__table__)  # type: ignore[arg-type]
#: the cases of `inputs`, locked in the order every writer keeps to; rows may still come that refer to them
CASES: Select[Any] = (
    select(Case.id)
    .where(Case.id.in_(select(Evidence.case_id).where(Evidence.id.in_(bindparam("inputs", expanding=True)))))
    .order_by(Case.id)
    .with_for_update(key_share=True)
)
#: the files of `inputs` are done, `at` a time, once nothing is owed of them; tells their ids
SETTLE: Any = (
    update(File)
    .where(
        File.evidence_id.in_(bindparam("inputs", expanding=True)),
        File.state == FileState.READY,
        ~exists(
            select(Job.id)
            .join(JobInput, JobInput.job_id == Job.id)
            .where(
                JobInput.evidence_id == File.evidence_id,
                Job.state.not_in((JobState.DONE, JobState.ABSTAINED)),
            )
        ),
    )
    .values(state=FileState.DONE, changed_at=bindparam("at"))
    .returning(File.id)
)
