"""The store: what the world does to a database is Unavailable, and says no value of anybody's."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import event, insert, text
from sqlalchemy.exc import DBAPIError, StatementError

from db import reports
from db.errors import Misconfigured, Unavailable
from db.keys import Keys, create
from db.settings import load
from db.store import Order, Store, Writer, migrate, open_store, require_own
from db.tables import Case


def test_a_database_that_is_not_there_is_unavailable_without_its_password(key: Keys) -> None:
    store = Store("postgresql+psycopg://u:hunter2@127.0.0.1:1/d", key)
    with pytest.raises(Unavailable) as caught, store.read():
        pass
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_without_tables_says_what_makes_them(
    request: pytest.FixtureRequest, key: Keys, tmp_path: Path, kind: str
) -> None:
    url = (
        f"sqlite:///{tmp_path / 'x.db'}"
        if kind == "sqlite"
        else request.getfixturevalue("postgresql_database")
    )
    store = Store(url, key)
    with pytest.raises(Unavailable, match="tables are not there; `wetread up`"), store.read() as connection:
        reports.file_counts(connection)
    store.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 9, b""])
def test_a_damaged_database_says_so(key: Keys, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "store.db"
    store = Store(f"sqlite:///{path}", key)
    migrate(store)
    store.close()
    whole = path.read_bytes()
    path.write_bytes(damage or whole[:200] + b"\xff" * (len(whole) - 200))
    with pytest.raises(Unavailable, match="it is damaged; stop the services and restore it"):
        migrate(store)
    store.close()


def test_a_statement_s_values_are_in_no_error(store: Store) -> None:
    with pytest.raises(DBAPIError) as caught, store.write() as writer:  # noqa: PT012 - one transaction
        for _ in range(2):
            writer.connection.execute(
                insert(Case).values(id="c-Canary", patient="Canary", created_at=writer.now)
            )
    told = str(caught.value).partition("DETAIL")[0]  # PostgreSQL's own detail quotes the key, a pseudonym
    assert "Canary" not in told


def test_a_time_without_zone_is_refused(store: Store) -> None:
    with pytest.raises(StatementError, match="naive datetime"), store.write() as writer:
        writer.connection.execute(insert(Case).values(id="c-1", created_at=datetime(2024, 1, 1)))


def test_a_time_comes_back_in_utc(store: Store) -> None:
    with store.write() as writer:
        writer.connection.execute(insert(Case).values(id="c-1", created_at=writer.now))
        written = writer.now
    with store.read() as connection:
        assert connection.scalar(Case.__table__.select().with_only_columns(Case.created_at)) == written


def test_a_writer_on_sqlite_waits_for_another(sqlite_store: Store) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with sqlite_store.write() as writer:
            writer.audit("job:1", "job:owed")
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(60)
    threading.Timer(0.3, leave.set).start()
    with sqlite_store.write() as writer:
        writer.audit("job:2", "job:owed")
    thread.join()
    assert sqlite_store.verify_audit().entries == 2


def test_a_reader_sees_nothing_of_an_open_transaction(store: Store) -> None:
    with store.write() as writer:
        writer.connection.execute(insert(Case).values(id="c-1", created_at=writer.now))
        with store.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM cases")) == 0


def test_sqlite_is_synced_at_every_commit_and_checks_its_references(sqlite_store: Store) -> None:
    with sqlite_store.read() as connection:
        found = [
            connection.scalar(text(f"PRAGMA {p}")) for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]  # 2: FULL


def test_a_look_takes_no_write_lock(sqlite_store: Store) -> None:
    said: list[str] = []
    event.listen(sqlite_store.engine, "before_cursor_execute", lambda *a: said.append(a[2]))
    with sqlite_store.read() as connection:
        connection.scalar(text("SELECT count(*) FROM cases"))
    assert "BEGIN IMMEDIATE" not in said


def test_a_home_is_made_only_when_a_start_asks_for_it(tmp_path: Path) -> None:
    settings = load(tmp_path / "home")
    with pytest.raises(Misconfigured, match="no such home"):
        open_store(settings)
    store, _ = open_store(settings, create_key=True)
    migrate(store)
    store.close()
    assert open_store(settings)[0].keys.id == store.keys.id


def test_a_home_without_its_key_is_refused_and_given_no_new_one(tmp_path: Path) -> None:
    settings = load(tmp_path / "home")
    settings.make_folders()
    with pytest.raises(Misconfigured, match="no master key"):
        open_store(settings)
    assert not settings.master_key.exists()


def test_a_start_makes_no_new_key_to_what_is_sealed_under_a_lost_one(tmp_path: Path) -> None:
    settings = load(tmp_path / "home")
    store, _ = open_store(settings, create_key=True)
    migrate(store)
    with store.write() as writer:
        writer.audit("file:x", "file:seen")
    store.close()
    settings.master_key.unlink()
    (settings.home / "audit.anchor").unlink()  # the log alone is enough
    with pytest.raises(Misconfigured, match="restore it from backup"):
        open_store(settings, create_key=True)
    assert not settings.master_key.exists()


def test_another_master_key_than_the_record_s_is_refused(tmp_path: Path) -> None:
    settings = load(tmp_path / "home")
    store, _ = open_store(settings, create_key=True)
    migrate(store)
    require_own(store)  # an empty record is anybody's
    with store.write() as writer:
        writer.audit("file:x", "file:seen")
    require_own(store)
    store.close()
    settings.master_key.unlink()
    create(settings.master_key)
    other, _ = open_store(settings)
    with pytest.raises(Misconfigured, match="is not the one that this record was written under"):
        require_own(other)
    other.close()


def test_a_log_that_was_tampered_with_at_one_end_is_still_its_key_s(store: Store) -> None:
    for subject in ("file:x", "file:y"):
        with store.write() as writer:
            writer.audit(subject, "file:seen")
    with store.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER audit_no_update"))
        else:
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        connection.execute(text("UPDATE audit SET detail = 'x' WHERE seq = 2"))
    require_own(store)
    assert not store.verify_audit().ok


def test_a_host_that_joins_a_database_must_bring_its_key(tmp_path: Path, postgresql_database: str) -> None:
    first = load(tmp_path / "a").model_copy(update={"database_url": SecretStr(postgresql_database)})
    store, _ = open_store(first, create_key=True)
    migrate(store)
    with store.write() as writer:
        writer.audit("file:x", "file:seen")
    store.close()
    second = first.model_copy(update={"home": tmp_path / "b"})
    with pytest.raises(Misconfigured, match="WETREAD_KEY_FILE"):
        open_store(second, create_key=True)


def test_what_is_put_off_is_written_before_anything_is_asked_in_order_of_what_refers_to_what(
    sqlite_store: Store,
) -> None:
    written: list[tuple[str, list[object]]] = []

    def cases(_: Writer, rows: list[object]) -> None:
        written.append(("cases", rows))

    def files(_: Writer, rows: list[object]) -> None:
        written.append(("files", rows))

    with sqlite_store.write() as writer:
        writer.later(Order.FILE, files, 1)
        writer.later(Order.CASE, cases, 2)
        writer.later(Order.FILE, files, 3)
        assert written == []
        writer.connection.scalar(text("SELECT count(*) FROM files"))
        assert written == [("cases", [2]), ("files", [1, 3])]
        writer.later(Order.CASE, cases, 4)
    assert written[2:] == [("cases", [4])]


def test_of_a_transaction_that_fails_nothing_put_off_is_written(sqlite_store: Store) -> None:
    def never(_: Writer, rows: list[object]) -> None:
        raise AssertionError(rows)

    with pytest.raises(KeyError), sqlite_store.write() as writer:  # noqa: PT012 - one transaction
        writer.later(Order.CASE, never, 1)
        raise KeyError
