"""The audit log: whatever is done to it behind our back is named."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import audit
from db.errors import Misconfigured, Unavailable
from db.keys import Keys
from db.store import Store, migrate

LENGTH = 6


def write(store: Store, count: int = 1, subject: str = "job:1") -> None:
    for number in range(count):
        with store.write() as writer:
            writer.audit(subject, "job:owed", number=number)


def behind(store: Store, *statements: str) -> None:
    """Changes the log as one who holds the database, but not the key, could."""
    off = (
        ["DROP TRIGGER IF EXISTS audit_no_UPDATE", "DROP TRIGGER IF EXISTS audit_no_DELETE"]
        if store.engine.dialect.name == "sqlite"
        else ["ALTER TABLE audit DISABLE TRIGGER USER"]
    )
    with store.engine.connect() as connection, connection.begin():
        for statement in (*off, *statements):
            connection.execute(text(statement))


def row(store: Store, seq: int) -> str:
    with store.read() as connection:
        return str(connection.scalar(text("SELECT hash FROM audit WHERE seq = :s"), {"s": seq}))


def test_an_untouched_log_holds(store: Store) -> None:
    write(store, LENGTH)
    assert store.verify_audit() == audit.Verdict(entries=LENGTH)


def test_an_empty_log_holds(store: Store) -> None:
    assert store.verify_audit().ok


@pytest.mark.parametrize("column", ["at", "subject", "action", "detail"])
def test_an_edited_entry_is_named(store: Store, column: str) -> None:
    write(store, LENGTH)
    behind(store, f"UPDATE audit SET {column} = 'x' WHERE seq = 3")
    assert (store.verify_audit().broken_seq, store.verify_audit().problem) == (3, "entry 3 was changed")


def test_an_entry_edited_and_hashed_again_without_the_key_is_named(store: Store) -> None:
    write(store, LENGTH)
    forged = audit._hash(bytes(32), 6, "at", "s", "a", "{}", row(store, 5))
    behind(
        store,
        "UPDATE audit SET at = 'at', subject = 's', action = 'a', detail = '{}', "
        f"hash = '{forged}' WHERE seq = 6",
        f"UPDATE audit_head SET hash = '{forged}'",
    )
    assert store.verify_audit().broken_seq == 6


@pytest.mark.parametrize("seq", [1, 3])
def test_a_deleted_entry_is_named(store: Store, seq: int) -> None:
    write(store, LENGTH)
    behind(store, f"DELETE FROM audit WHERE seq = {seq}")
    assert store.verify_audit().problem == f"entry {seq} is missing"


def test_two_entries_in_each_other_s_place_are_named(store: Store) -> None:
    write(store, LENGTH)
    behind(
        store,
        "UPDATE audit SET seq = 99 WHERE seq = 2",
        "UPDATE audit SET seq = 2 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 99",
    )
    assert store.verify_audit().broken_seq == 2


def test_a_tail_cut_off_is_named(store: Store) -> None:
    write(store, LENGTH)
    behind(store, "DELETE FROM audit WHERE seq > 4")
    assert store.verify_audit().broken_seq == 5


def test_a_tail_cut_off_with_the_head_set_back_is_named(store: Store) -> None:
    write(store, LENGTH)
    behind(
        store,
        "DELETE FROM audit WHERE seq > 4",
        f"UPDATE audit_head SET seq = 4, hash = '{row(store, 4)}'",
    )
    found = store.verify_audit()
    assert (found.broken_seq, found.problem) == (
        5, "entries 5 to 6 are gone: cut off, or an older database restored",
    )  # fmt: skip


@pytest.mark.parametrize("since", [0, 1, 2, 5], ids="{}-written-since".format)
def test_a_database_restored_from_an_older_copy_is_named_however_much_is_written_since(
    tmp_path: Path, key: Keys, since: int
) -> None:
    path, copy = tmp_path / "store.db", tmp_path / "yesterday.db"

    def opened() -> Store:
        return Store(f"sqlite:///{path}", key, anchor=tmp_path / "audit.anchor")

    store = opened()
    migrate(store)
    write(store, 4)
    store.close()  # brings the write-ahead log into the file
    shutil.copy(path, copy)
    store = opened()
    write(store, 2)
    store.close()
    shutil.copy(copy, path)
    store = opened()
    write(store, since)
    assert store.verify_audit().broken_seq is not None
    store.close()


def test_a_head_row_that_is_gone_stops_every_write(store: Store) -> None:
    write(store)
    behind(store, "DELETE FROM audit_head")
    with pytest.raises(Misconfigured, match="head row is gone"):
        write(store)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET action = 'x'", "DELETE FROM audit", "DELETE FROM audit WHERE seq = 1"]
)
def test_the_database_itself_refuses_changes(store: Store, statement: str) -> None:
    write(store, 2)
    with (
        pytest.raises(DBAPIError, match="append-only"),
        store.engine.connect() as connection,
        connection.begin(),
    ):
        connection.execute(text(statement))


def test_postgresql_refuses_to_truncate_the_log(postgresql_database: str, key: Keys) -> None:
    store = Store(postgresql_database, key)
    migrate(store)
    with (
        pytest.raises(DBAPIError, match="append-only"),
        store.engine.connect() as connection,
        connection.begin(),
    ):
        connection.execute(text("TRUNCATE audit"))
    store.close()


def test_entries_roll_back_with_their_transaction(store: Store) -> None:
    write(store)
    with pytest.raises(ZeroDivisionError), store.write() as writer:  # noqa: PT012 - one transaction
        writer.audit("job:2", "job:owed")
        1 / 0  # noqa: B018
    assert store.verify_audit() == audit.Verdict(entries=1)


def test_nothing_is_written_when_the_log_cannot_be(store: Store) -> None:
    behind(store, "ALTER TABLE audit RENAME TO gone")
    with pytest.raises((DBAPIError, Unavailable)), store.write() as writer:  # noqa: PT012 - one transaction
        writer.connection.execute(
            text("INSERT INTO cases (id, created_at) VALUES ('c-1', '2024-01-01 00:00:00')")
        )
        writer.audit("case:c-1", "case:made")
    with store.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM cases")) == 0


def at_once(*work: Callable[[], None]) -> None:
    """Runs functions in threads that start together; the first error of any is raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(work))

    def run(one: Callable[[], None]) -> None:
        start.wait()
        try:
            one()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_concurrent_writers_never_fork_the_chain(store: Store) -> None:
    at_once(*(lambda n=n: write(store, 10, f"job:{n}") for n in range(4)))  # type: ignore[misc]
    assert store.verify_audit() == audit.Verdict(entries=40)


def test_a_malformed_anchor_is_not_taken_for_none(store: Store, tmp_path: Path) -> None:
    write(store)
    (tmp_path / "audit.anchor").write_text("edited")
    with pytest.raises(Misconfigured, match="malformed anchor"):
        store.verify_audit()


def test_a_commit_stands_though_its_anchor_could_not_be_noted(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with sqlite_store.write() as writer:
        writer.audit("job:a", "job:done")
    monkeypatch.setattr(audit, "note_anchor", full)
    with sqlite_store.write() as writer:
        writer.audit("job:b", "job:done")
    assert sqlite_store.verify_audit().entries == 2
    assert sqlite_store.verify_audit().ok
