"""The database: its engine, its migrations, and transactions that carry their audit entries."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

from db import audit, keys, settings
from db.archive import Archive
from db.errors import Misconfigured, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
PRAGMAS = (
    *("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"),
    "cache_size=-8192",  # KiB: what one write of many rows changes, lest pages go to the disk twice
    "wal_autocheckpoint=4000",  # pages: fewer and larger ones, for the same reason
)

UNDEFINED_TABLE = "42P01"  #: PostgreSQL's; SQLite has no code of its own for it
DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT", "XX001")  #: XX001: a corrupted page of PostgreSQL's

Put = Callable[["Writer", list[Any]], object]


def utcnow() -> datetime:
    """Now, with its zone."""
    return datetime.now(UTC)


class Order(IntEnum):
    """What is put off, in the order in which it is written: rows after those that they refer to."""

    IDENTITY, CASE, EVIDENCE, ARRIVAL, JOB, FILE = range(6)


class Writer:
    """One write transaction: its connection, its time, and the audit entries it will append."""

    def __init__(self, connection: Connection, now: datetime, key: keys.Keys) -> None:
        self._connection = connection
        self._later: dict[tuple[Order, Put], list[Any]] = {}
        self.dialect = connection.dialect.name
        self.now = now
        self.keys = key
        self.entries: list[audit.Entry] = []
        self._done: set[tuple[str, ...]] = set()
        self.absent: set[tuple[str, str]] = set()  #: (column, value) that no row held, asked for many at once

    @property
    def connection(self) -> Connection:
        """The transaction's connection; what was put off is written first, so that whoever asks sees it."""
        self.flush()
        return self._connection

    def later(self, order: Order, put: Put, row: object) -> None:
        """Puts a row off, to be written together with others of its kind by `put(writer, rows)`."""
        self._later.setdefault((order, put), []).append(row)

    def flush(self) -> None:
        """Writes what was put off."""
        while self._later:
            waiting, self._later = self._later, {}
            for (_, put), rows in sorted(waiting.items(), key=lambda item: item[0][0]):
                put(self, rows)

    def first(self, *what: str) -> bool:
        """Is it the first time in this transaction that this is asked? Else what it stands for is done."""
        known = what in self._done
        self._done.add(what)
        return not known

    def is_absent(self, column: str, value: str) -> bool:
        """Is it known that no row holds this value? Told once: whoever asks may be about to enter it."""
        known = (column, value) in self.absent
        self.absent.discard((column, value))
        return known

    def is_known_absent(self, column: str, value: str) -> bool:
        """The same, of one who will not enter it."""
        return (column, value) in self.absent

    def audit(self, subject: str, action: str, **detail: object) -> None:
        """Notes a step; `action` is `subject:verb`. Identifiers, codes and numbers only, never people."""
        self.entries.append((subject, action, detail))


class Store:
    """A database with the keys that seal its columns and chain its log."""

    def __init__(
        self, url: str, key: keys.Keys, *, anchor: Path | None = None, now: Callable[[], datetime] = utcnow
    ) -> None:
        self.engine = _engine(url)
        self.keys = key
        self.anchor = anchor
        self.now = now

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """A write transaction; its audit entries are appended last and commit with it or not at all.

        Raises Unavailable when the database cannot be reached, is full, or stays locked.
        """
        with _fate(), self.engine.connect().execution_options(wetread_write=True) as connection:
            with connection.begin():
                writer = Writer(connection, self.now(), self.keys)
                yield writer
                writer.flush()
                head = audit.append(connection, self.keys.audit, writer.entries, writer.now)
                anchor = self.anchor if head is not None and audit.holds(connection, self.anchor) else None
            if head is not None and anchor is not None:
                # it is committed: a full disk only leaves the older anchor, which still holds
                with suppress(OSError):
                    audit.note_anchor(anchor, head)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only look. Raises Unavailable when the database cannot be reached."""
        with _fate(), self.engine.connect() as connection:
            yield connection

    def verify_audit(self) -> audit.Verdict:
        """Walks the audit chain against the anchor."""
        anchor = audit.read_anchor(self.anchor) if self.anchor else None
        with self.read() as connection:
            return audit.verify(connection, self.keys.audit, anchor)

    def close(self) -> None:
        """Lets the connections go."""
        self.engine.dispose()


@contextmanager
def _fate() -> Iterator[None]:
    """What the world does to a database becomes Unavailable, without the statement's values."""
    try:
        yield
    except TimeoutError:
        raise Unavailable("database: every connection is in use; does it hang?") from None
    except DBAPIError as error:
        if told := _told(error):
            raise Unavailable(f"database: {told}") from None
        raise


def _told(error: DBAPIError) -> str:
    """What happened and what to do, in words of ours; empty where it is no fault of the world."""
    kind = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    if kind == UNDEFINED_TABLE or str(error.orig).startswith("no such table"):
        return (
            "its tables are not there; `wetread up` or any service makes them. If there was a record here, "
            "restore it from backup, or correct WETREAD_DATABASE_URL"
        )
    if kind in DAMAGED:
        return "it is damaged; stop the services and restore it from backup"
    if isinstance(error, OperationalError | InterfaceError):
        return f"{type(error.orig).__name__}; is it up, and its disk not full?"
    return "the connection was lost" if error.connection_invalidated else ""


def _engine(url: str) -> Engine:
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30}, hide_parameters=True)
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    return create_engine(
        url, hide_parameters=True, pool_pre_ping=True, pool_recycle=300, connect_args={"connect_timeout": 10}
    )


def _sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin as _sqlite_begin says, not as the driver thinks
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    # IMMEDIATE for writers: a deferred transaction that turns into a writer fails instead of waiting
    write = connection.get_execution_options().get("wetread_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def migrate(store: Store, version: str = "head") -> None:
    """Brings the schema to a version. Safe from several processes at once: one waits for the other."""

    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with (
        _fate(),
        store.engine.connect().execution_options(wetread_write=True) as connection,
        connection.begin(),
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(8642)"))
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def require_own(store: Store) -> None:
    """Raises Misconfigured where the record was written under another master key: nothing would open."""
    with store.read() as connection:
        if not audit.is_of(connection, store.keys.audit):
            raise Misconfigured(
                f"the master key (id {store.keys.id}) is not the one that this record was written under; "
                "restore that one from backup, or correct WETREAD_KEY_FILE or WETREAD_DATABASE_URL"
            )


def schema_version(store: Store) -> tuple[str | None, str]:
    """The database's migration and the newest this code has."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with store.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found, ScriptDirectory(str(MIGRATIONS)).get_current_head() or ""


def open_store(values: settings.Settings, *, create_key: bool = False) -> tuple[Store, Archive]:
    """The store and archive of an installation. `create_key` makes the master key on its first start.

    Raises Misconfigured when there is no such home, or no key to what it holds.
    """
    if not values.home.is_dir() and not create_key:
        raise Misconfigured(
            f"{values.home.name}: no such home; start once with `wetread up`, or name it with --home"
        )
    if create_key:
        values.make_folders()
    if create_key and not values.master_key.exists():
        _require_empty(values)
        keys.create(values.master_key)
    key = keys.load(values.master_key)
    store = Store(values.database, key, anchor=values.home / "audit.anchor")
    return store, Archive(values.folder("archive"), key)


def _require_empty(values: settings.Settings) -> None:
    """Raises Misconfigured where something was sealed already: a new key would open none of it."""
    sealed = any(values.folder("archive").iterdir()) or (values.home / "audit.anchor").exists()
    if (sealed or _has_log(values)) and not values.master_key.exists():  # another may have made it meanwhile
        raise Misconfigured(
            f"{values.master_key}: no master key, and what was recorded here is sealed under one; restore it "
            "from backup, or correct WETREAD_KEY_FILE. To begin anew, name another home and database"
        )


def _has_log(values: settings.Settings) -> bool:
    """Does the database hold an audit log with an entry? SQLite makes no file of a question."""
    if values.database_url is None and not (values.home / "wetread.db").exists():
        return False
    engine = _engine(values.database)
    try:
        with _fate(), engine.connect() as connection:
            there = inspect(connection).has_table("audit")
            return there and connection.execute(text("SELECT 1 FROM audit LIMIT 1")).first() is not None
    finally:
        engine.dispose()
