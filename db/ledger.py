"""The intake ledger: every file ever seen, in exactly one state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, select, update

from db import statements
from db.errors import Misconfigured
from db.ids import new_id
from db.keys import Keys
from db.records import FileState
from db.store import Order, Writer
from db.tables import OPEN, File

WITHDRAWN = "withdrawn"  #: reason of a file that its sender took back before it was read


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A file as the inbox shows it."""

    name: str  #: path below the inbox, POSIX form; sealed before it is stored
    suffix: str
    bytes: int
    file_id: str = ""  #: known beforehand of what an archive holds; else a fresh one
    parent_id: str | None = None  #: the archive it was unpacked from
    key: str = ""  #: what its path is known by, when that is not its name


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A file of the ledger that is not concluded."""

    id: str
    name: str
    parent_id: str | None = None  #: the archive it was unpacked from


def path_key(keys: Keys, name: str) -> str:
    """The keyed digest under which a path is known without being told."""
    return keys.pseudonym("f", name)


def folder_key(keys: Keys, name: str) -> str:
    """The keyed digest of the folder that a path lies in."""
    return keys.pseudonym("d", name.rpartition("/")[0])


def see(
    writer: Writer, sightings: Sequence[Sighting], state: FileState = FileState.PENDING
) -> dict[str, str]:
    """Enters files newly seen (or droppings, as ignored). Returns their ids by name.

    A path that already has an open row keeps it.
    """
    by_key = {path_key(writer.keys, s.key or s.name): s for s in sightings}
    rows: list[dict[str, object]] = []
    for key, sighting in sorted(by_key.items(), key=itemgetter(0)):  # as they lie in the index
        file_id = sighting.file_id or new_id()
        sealed = writer.keys.seal(sighting.name, f"files.name:{file_id}")
        rows.append(
            {"id": file_id, "path_key": key, "name_sealed": sealed, "suffix": sighting.suffix[:16],
             "bytes": sighting.bytes, "state": state, "first_seen": writer.now, "changed_at": writer.now,
             "reason": "dropping" if state is FileState.IGNORED else None,
             "folder_key": folder_key(writer.keys, sighting.key or sighting.name),
             "parent_id": sighting.parent_id}
        )  # fmt: skip
    if not rows:
        return {}
    new = set(writer.connection.scalars(_seen(writer.dialect), rows))
    found: dict[str, str] = {}
    rest: list[str] = []
    for row in rows:
        file_id, key = str(row["id"]), str(row["path_key"])
        if file_id not in new:
            rest.append(key)
            continue
        found[by_key[key].name] = file_id
        writer.audit(f"file:{file_id}", "file:seen" if state is FileState.PENDING else "file:ignored")
    for start in range(0, len(rest), 500):  # SQLite binds 32,766 variables at most
        part = File.path_key.in_(rest[start : start + 500])
        query = select(File.id, File.path_key).where(part, OPEN, File.state == state)
        found.update((by_key[key].name, file_id) for file_id, key in writer.connection.execute(query))
    return found


@cache
def _seen(dialect: str) -> Any:
    """INSERT of files that tells the ids of those whose path had no open row yet."""
    return statements.new(dialect, File).returning(File.id)


def open_files(connection: Connection, keys: Keys) -> list[Pending]:
    """The files that are seen and not concluded, for a start after any stop."""
    query = select(File.id, File.name_sealed, File.parent_id).where(File.state == FileState.PENDING)
    return [
        Pending(id=i, name=keys.unseal(sealed, f"files.name:{i}"), parent_id=parent)
        for i, sealed, parent in connection.execute(query)
    ]


def seen(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Which of these path keys files were ever taken in under."""
    found: set[str] = set()
    for start in range(0, len(keys), 500):
        part = keys[start : start + 500]
        found.update(connection.scalars(select(File.path_key).where(File.path_key.in_(part))))
    return found


def droppings(connection: Connection) -> set[str]:
    """The path keys already counted as droppings."""
    query = select(File.path_key).where(File.state == FileState.IGNORED, File.reason == "dropping")
    return set(connection.scalars(query))


def state_of(connection: Connection, file_id: str) -> FileState | None:
    """A file's state, None for an unknown id."""
    found = connection.scalar(select(File.state).where(File.id == file_id))
    return None if found is None else FileState(found)


def name_of(connection: Connection, keys: Keys, file_id: str) -> str:
    """The path below the inbox under which a file came: for people at the console, not for logs."""
    sealed = connection.scalar(select(File.name_sealed).where(File.id == file_id))
    return "" if sealed is None else keys.unseal(sealed, f"files.name:{file_id}")


def path_of(connection: Connection, keys: Keys, evidence_id: str) -> str:
    """The path below the inbox that an input came under first: for rules, not for logs."""
    first = select(File.id).where(File.evidence_id == evidence_id).order_by(File.first_seen, File.id).limit(1)
    file_id = connection.scalar(first)
    return "" if file_id is None else name_of(connection, keys, file_id)


def conclude(
    writer: Writer, file_id: str, state: FileState, *, reason: str | None = None, sentence: str | None = None,
    digest: str | None = None, evidence_id: str | None = None,
) -> bool:  # fmt: skip
    """Moves a pending file to its next state. False when another process already did.

    A file that another ingest took for withdrawn, since this one had claimed it, is concluded all the same.
    """
    values = _concluding(
        writer, file_id, state, reason=reason, sentence=sentence, digest=digest, evidence_id=evidence_id
    )
    query = statements.conclude(ignored=state is FileState.IGNORED, withdrawn=reason == WITHDRAWN)
    done = writer.connection.execute(query, values)
    if done.rowcount != 1:
        return False
    _tell_concluded(writer, values)
    return True


def conclude_later(
    writer: Writer, file_id: str, state: FileState, *, reason: str | None = None, sentence: str | None = None,
    digest: str | None = None, evidence_id: str | None = None,
) -> None:  # fmt: skip
    """The same, together with the other files of the transaction; of one already moved nothing changes."""
    values = _concluding(
        writer, file_id, state, reason=reason, sentence=sentence, digest=digest, evidence_id=evidence_id
    )
    writer.later(Order.FILE, _conclude, values)


def _concluding(writer: Writer, file_id: str, state: FileState, **more: str | None) -> dict[str, Any]:
    new = {f"new_{name}": value for name, value in more.items()}
    return {**new, "new_state": state, "new_changed_at": writer.now, "file": file_id}


def _conclude(writer: Writer, rows: Sequence[dict[str, Any]]) -> None:
    """Moves those files that are still open, each once."""
    waiting: set[str] = set()
    ids = [row["file"] for row in rows]
    for start in range(0, len(ids), 500):
        part = {"files": ids[start : start + 500]}
        waiting.update(writer.connection.scalars(statements.OPEN_FILES, part))
    for ignored in (False, True):
        moved = []
        for row in rows:
            if (row["new_state"] is FileState.IGNORED) is ignored and row["file"] in waiting:
                waiting.discard(row["file"])
                moved.append(row)
        if moved:
            writer.connection.execute(statements.conclude(ignored=ignored, withdrawn=False), moved)
        for row in moved:
            _tell_concluded(writer, row)


def _tell_concluded(writer: Writer, row: dict[str, Any]) -> None:
    detail = {"reason": row["new_reason"], "digest": row["new_digest"], "evidence": row["new_evidence_id"]}
    told = {name: value for name, value in detail.items() if value}
    writer.audit(f"file:{row['file']}", f"file:{row['new_state']}", **told)


def reopen(writer: Writer, file_id: str, name: str) -> None:
    """A quarantined file goes round again, as the same row, under the path it is put back at."""
    changed = writer.connection.execute(
        update(File)
        .where(File.id == file_id, File.state == FileState.QUARANTINED)
        .values(
            state=FileState.PENDING, reason=None, sentence=None, digest=None, changed_at=writer.now,
            path_key=path_key(writer.keys, name), name_sealed=writer.keys.seal(name, f"files.name:{file_id}"),
        )
    )  # fmt: skip
    if changed.rowcount != 1:
        raise Misconfigured(f"{file_id} is not in quarantine; see `wetread quarantine list`")
    writer.audit(f"file:{file_id}", "file:released")
