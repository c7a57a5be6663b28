"""The append-only, hash-chained audit log: an edited, deleted, reordered or cut entry is named.

Each entry's hash is an HMAC-SHA-256, under a key that the database does not hold, over the entry
and the hash before it. Writers take the head row's lock last in their transaction, append all their
entries at once, and let go at the commit, so the chain never forks and costs one look a transaction.
The newest hash is also noted beside the database (the anchor): a log cut at its tail, or a database
restored from an older copy, no longer holds the anchored entry.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Insert, Row, Select, Table, Update, bindparam, func, insert, select, update

from db.errors import Misconfigured
from db.tables import AuditEntry, AuditHead

GENESIS = "0" * 64
Entry = tuple[str, str, Mapping[str, object]]  #: subject, action, detail

_entries: Table = AuditEntry.__table__  # type: ignore[assignment]  # SQLAlchemy types it as any FromClause
_head: Table = AuditHead.__table__  # type: ignore[assignment]
#: built once, for every write transaction runs them: building them took longer
_HEAD: Select[Any, Any] = select(_head.c.seq, _head.c.hash).where(_head.c.id == 1).with_for_update()
_MOVE: Update = update(_head).where(_head.c.id == 1).values(seq=bindparam("to"), hash=bindparam("newest"))
_APPEND: Insert = insert(_entries)
_HASH: Select[Any] = select(_entries.c.hash).where(_entries.c.seq == bindparam("at"))
#: as they are hashed, then the hash
_columns = (
    _entries.c.seq, _entries.c.at, _entries.c.subject, _entries.c.action, _entries.c.detail,
    _entries.c.previous, _entries.c.hash,
)  # fmt: skip
_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


@dataclass(frozen=True, kw_only=True)
class Head:
    """The newest entry."""

    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What verifying the chain found."""

    entries: int
    broken_seq: int | None = None  #: the first entry that does not hold
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """The whole chain holds."""
        return self.problem is None


def _hash(key: bytes, seq: int, at: str, subject: str, action: str, detail: str, previous: str) -> str:
    """The chain's hash of an entry."""
    text = f"{seq}\n{at}\n{subject}\n{action}\n{detail}\n{previous}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def stamp(now: datetime) -> str:
    """A UTC time as the log writes it."""
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def append(connection: Connection, key: bytes, entries: Sequence[Entry], now: datetime) -> Head | None:
    """Appends entries in one go, last in a write transaction. Returns the new head, None for none."""
    if not entries:
        return None
    row = connection.execute(_HEAD).one_or_none()
    if row is None:
        raise Misconfigured("audit: the head row is gone; restore the database from backup")
    seq, previous, at = row.seq, row.hash, stamp(now)
    rows = []
    for subject, action, detail in entries:
        seq += 1
        text = _text(detail)
        digest = _hash(key, seq, at, subject, action, text, previous)
        rows.append(
            {"seq": seq, "at": at, "subject": subject, "action": action, "detail": text,
             "previous": previous, "hash": digest}
        )  # fmt: skip
        previous = digest
    connection.execute(_APPEND, rows)
    connection.execute(_MOVE, {"to": seq, "newest": previous})
    return Head(seq=seq, hash=previous)


def note_anchor(path: Path, head: Head) -> None:
    """Notes the newest entry beside the database; whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # threads note at once
    try:
        temporary.write_text(f"{head.seq} {head.hash}\n", "ascii")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def holds(connection: Connection, path: Path | None) -> bool:
    """Does the log still hold the anchored entry? Else the anchor is evidence, and stays as it is.

    After a restore that is meant, a person removes the anchor; the next write notes a new one.
    """
    try:
        anchor = None if path is None else read_anchor(path)
    except Misconfigured:
        return False
    if anchor is None:
        return True
    newest: str | None = connection.scalar(_HASH, {"at": anchor.seq})
    return newest == anchor.hash


def is_of(connection: Connection, key: bytes) -> bool:
    """Was the log chained under this key, by its first entry or its newest? An empty one is anybody's.

    Either may have been tampered with, which `verify` tells; that both were is less likely than another key.
    """
    ends = select(func.min(_entries.c.seq)).union(select(func.max(_entries.c.seq)))
    rows = connection.execute(select(*_columns).where(_entries.c.seq.in_(ends))).all()
    return not rows or any(row.hash == _hash(key, *tuple(row)[:-1]) for row in rows)


def read_anchor(path: Path) -> Head | None:
    """The anchored entry, None where none was noted yet."""
    try:
        seq, digest = path.read_text("ascii").split()
        return Head(seq=int(seq), hash=digest)
    except FileNotFoundError:
        return None
    except ValueError:
        raise Misconfigured(f"{path.name}: malformed anchor; was it edited?") from None


def _rows(connection: Connection) -> Generator[Row[int, str, str, str, str, str, str], None, None]:
    query = select(*_columns).order_by(_entries.c.seq)
    # more rows at a time outlive the collector's young generations, and it goes through the whole heap
    with connection.execution_options(yield_per=1_000).execute(query) as stream:
        for part in stream.partitions():
            yield from part


def verify(connection: Connection, key: bytes, anchor: Head | None = None) -> Verdict:
    """Walks the chain from its first entry and names the first one that does not hold."""
    previous, count, anchored = GENESIS, 0, anchor is None
    with closing(_rows(connection)) as rows:
        for seq, at, subject, action, detail, before, digest in rows:
            problem = None
            if seq != count + 1:
                problem = f"entry {count + 1} is missing"
            elif before != previous:
                problem = f"entry {seq} does not follow entry {seq - 1}"
            elif digest != _hash(key, seq, at, subject, action, detail, before):
                problem = f"entry {seq} was changed"
            elif anchor is not None and seq == anchor.seq:
                anchored = True
                if digest != anchor.hash:
                    problem = f"entry {seq} was replaced: it is not as anchored"
            if problem:
                return Verdict(entries=count, broken_seq=count + 1, problem=problem)
            previous, count = digest, seq
    return _verify_end(connection, Head(seq=count, hash=previous), None if anchored else anchor)


def _verify_end(connection: Connection, last: Head, unseen: Head | None) -> Verdict:
    """Is the last entry the one that the head row and the anchor know?"""
    head = connection.execute(select(AuditHead.seq, AuditHead.hash)).one_or_none()
    problem = None
    if unseen is not None:
        problem = f"entries {last.seq + 1} to {unseen.seq} are gone: cut off, or an older database restored"
    elif head is None or (head.seq, head.hash) != (last.seq, last.hash):
        problem = f"entry {last.seq + 1} and on were cut off"
    return Verdict(entries=last.seq, broken_seq=last.seq + 1 if problem else None, problem=problem)
