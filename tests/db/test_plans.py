"""How SQLite looks rows up: by the keys that it is given, not by going through all that share a state."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from db.store import Store


@pytest.mark.parametrize("count", [1, 8, 500])
@pytest.mark.parametrize(
    ("table", "key", "state", "index"),
    [
        ("files", "path_key", "pending", "ix_files_path_key"),
        ("files", "evidence_id", "ready", "ix_files_evidence_id"),
        ("jobs", "id", "queued", "sqlite_autoindex_jobs_1"),
    ],
)
def test_rows_are_found_by_their_keys_however_many_share_their_state(
    sqlite_store: Store, table: str, key: str, state: str, index: str, count: int
) -> None:
    names = ", ".join(f"'{number}'" for number in range(count))
    query = f"EXPLAIN QUERY PLAN SELECT {key} FROM {table} WHERE {key} IN ({names}) AND state = '{state}'"
    with sqlite_store.read() as connection:
        (step,) = connection.execute(text(query)).all()
    assert f"INDEX {index} " in step.detail


@pytest.mark.parametrize("table", ["files", "jobs"])
def test_the_rows_of_one_state_are_still_found_by_it(sqlite_store: Store, table: str) -> None:
    query = f"EXPLAIN QUERY PLAN SELECT id FROM {table} WHERE state = 'pending'"
    with sqlite_store.read() as connection:
        (step,) = connection.execute(text(query)).all()
    assert f"INDEX ix_{table}_state " in step.detail
