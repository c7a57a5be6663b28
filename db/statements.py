"""The statements that every input needs, built once: building each anew took longer than running it."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Insert, Select, Table, Update, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.records import FileState, JobState
from db.tables import Evidence, File, Job, Manifest, Series, Study

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


@cache
def conclude(*, ignored: bool, withdrawn: bool) -> Update:
    """UPDATE of a pending `file` to its next state by `new_` columns.

    ignored: its path may come again; withdrawn: only a pending one, else also one taken for withdrawn.
    """
    is_open: ColumnElement[bool] = _files.c.state == FileState.PENDING
    if not withdrawn:
        is_open |= (_files.c.state == FileState.IGNORED) & (_files.c.reason == "withdrawn")
    names = ("state", "reason", "sentence", "digest", "evidence_id", "changed_at")
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    if ignored:
        values["path_key"] = bindparam("file")
    return update(_files).where(_files.c.id == bindparam("file"), is_open).values(values)


@cache
def standing(table: type[Series] | type[Study]) -> Select[Any, Any]:
    """(id, state) of the series or study `uid` of a `case`."""
    columns = table.__table__.c
    uid = columns.series_uid if table is Series else columns.study_uid
    return select(columns.id, columns.state).where(
        columns.case_id == bindparam("case"), uid == bindparam("uid")
    )


@cache
def arrival(dialect: str, table: type[Series] | type[Study], changed: tuple[str, ...]) -> Insert:
    """INSERT of a series or study with its first instance; else one more instance, and these columns."""
    columns = table.__table__.c
    key = "series_uid" if table is Series else "study_uid"
    statement = _insert(dialect, table.__table__)  # type: ignore[arg-type]
    found: Insert = statement.on_conflict_do_update(
        index_elements=["case_id", key],
        set_={name: statement.excluded[name] for name in changed} | {"instances": columns.instances + 1},
    )
    return found
