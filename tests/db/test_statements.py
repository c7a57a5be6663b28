"""The statements built once do what those built each time did, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

from db import statements
from db.records import FileState
from db.store import Store
from db.tables import Case, Series

AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_series_that_comes_again_counts_one_more_and_keeps_its_id(store: Store) -> None:
    row = {
        "id": "a", "case_id": "c", "study_uid": "1", "series_uid": "1.1", "revision": 0, "policy": None,
        "lane": None, "models": None, "check_at": AT, "last_at": AT, "reason": "one", "forced_at": None,
        "declared_at": None, "instances": 1, "state": "waiting", "created_at": AT,
    }  # fmt: skip
    with store.write() as writer:
        dialect = writer.connection.dialect.name
        case = {"id": "c", "patient": None, "created_at": AT}
        for _ in range(2):
            writer.connection.execute(statements.new(dialect, Case), [case])
        query = statements.arrival(dialect, Series, ("reason", "models"))
        writer.connection.execute(query, row)
        writer.connection.execute(query, {**row, "id": "b", "reason": "two", "models": ["m"], "lane": "stat"})
        found = writer.connection.execute(Series.__table__.select()).one()
        held = writer.connection.execute(statements.standing(Series), {"uids": ["1.1"]}).one()
    assert (found.id, found.instances, found.reason, found.models) == ("a", 2, "two", ["m"])
    assert found.lane is None
    assert tuple(held) == ("a", "c", "1.1", "waiting")


def test_only_an_open_file_is_concluded(store: Store) -> None:
    from db import ledger
    from db.ledger import Sighting

    with store.write() as writer:
        file_id = ledger.see(writer, [Sighting(name="a", suffix="", bytes=1)])["a"]
    with store.write() as writer:
        assert ledger.conclude(writer, file_id, FileState.DONE)
        assert not ledger.conclude(writer, file_id, FileState.QUARANTINED)
    with store.read() as connection:
        assert ledger.state_of(connection, file_id) is FileState.DONE
