"""The intake ledger: every file ever seen, in exactly one state, and the evidence it became."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from db import arrivals, conclusions, identities, jobs, retention, statements
from db.errors import Misconfigured, Rejected
from db.ids import new_id
from db.jobs import Owed
from db.keys import Keys
from db.records import Evidence, FileState, Kind
from db.series import Routed
from db.store import Order, Writer
from db.tables import OPEN, Case, EvidenceLink, File
from db.tables import Evidence as EvidenceRow

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


def look_up(
    writer: Writer, digests: Iterable[str], uids: Iterable[str], found: Iterable[Evidence] = ()
) -> None:
    """Notes which of these no input holds, so that `accept` need not ask for each of a batch alone.

    found: whose content is looked for as well. Where another ingest enters one meanwhile, the row's own
    constraint refuses the second.
    """
    contents = {_content(writer.keys, one, identities.pseudonym(writer.keys, one.identity)) for one in found}
    for column, values in (
        (EvidenceRow.digest, set(digests)), (EvidenceRow.uid, set(uids)), (EvidenceRow.content, contents)
    ):  # fmt: skip
        wanted = sorted(value for value in values if value)
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            held = set(writer.connection.scalars(select(column).where(column.in_(part))))
            writer.absent.update((column.key, value) for value in part if value not in held)


def accept(
    writer: Writer, file_id: str, evidence: Evidence, *, digest: str, size: int, owed: Sequence[Owed],
    unread: str | None = None, awaits_series: bool = False, routed: Routed | None = None,
    look_after: float = 0.0,
) -> FileState:  # fmt: skip
    """Records an input and the jobs it owes. The same bytes again are a duplicate.

    The same words again under another header are one reading: the new input is linked to the first.
    unread: "code: sentence" why no model reads this input, when `owed` is empty.
    awaits_series: a model reads it with its whole series, once that is decided on; routed: by which rules.
    look_after: seconds to leave its series alone (db/series.py: arrive).
    Raises Rejected `conflict` when its UID is already held by other bytes.
    """
    known = None
    if not writer.is_absent("digest", digest):
        known = writer.connection.execute(statements.KNOWN, {"digest": digest}).one_or_none()
    if known is not None:
        retention.restored(writer, known.id)
        jobs.owe_later(writer, known.case_id, known.id, digest, owed)  # a model may have come since
        conclude_later(writer, file_id, FileState.DUPLICATE, digest=digest, evidence_id=known.id)
        return FileState.DUPLICATE
    if (same := _same_message(writer, evidence)) is not None:
        conclude_later(
            writer, file_id, FileState.DUPLICATE, reason="same-message", digest=digest, evidence_id=same,
            sentence="the same message was received before in other bytes; that reading stands",
        )  # fmt: skip
        return FileState.DUPLICATE
    evidence_id, case_id, content = _record(writer, evidence, digest, size)
    if evidence.series_uid or evidence.study_uid:
        arrivals.arrive(writer, case_id, evidence, routed, look_after)
    first = _link(writer, evidence_id, case_id, evidence.kind, content)
    if first is not None and evidence.kind == Kind.NOTE:
        jobs.owe_later(writer, first.case_id, first.id, first.digest, owed)
        conclude_later(
            writer, file_id, FileState.DONE, reason="same-text", digest=digest, evidence_id=evidence_id,
            sentence="the same words were received before under another header; that reading stands",
        )  # fmt: skip
        return FileState.DONE
    jobs.owe_later(writer, case_id, evidence_id, digest, owed)
    if not owed and unread and writer.first("unread", series_or_digest := evidence.series_uid or digest):
        conclusions.unread(writer, case_id, evidence_id, series_or_digest, unread)
    state = FileState.READY if owed or awaits_series else FileState.DONE
    conclude_later(writer, file_id, state, digest=digest, evidence_id=evidence_id)
    return state


def _same_message(writer: Writer, evidence: Evidence) -> str | None:
    """The input that is this message sent again: the same identifier and content, other bytes."""
    if not evidence.uid or not evidence.content or evidence.reader == "dicom":
        return None
    if writer.is_known_absent("uid", evidence.uid):
        return None
    patient = identities.identify(writer, evidence.identity)
    return writer.connection.scalar(
        select(EvidenceRow.id).where(
            EvidenceRow.uid == evidence.uid, EvidenceRow.content == _content(writer.keys, evidence, patient)
        )
    )


def _link(
    writer: Writer, evidence_id: str, case_id: str, kind: Kind, content: str | None
) -> Row[str, str, str] | None:
    """The earliest input with the same content, as (id, case_id, digest), linked to this one."""
    if content is None or kind not in (Kind.NOTE, Kind.IMAGE):
        return None  # two people may well have the same values, or the same sequence
    if writer.is_absent("content", content):
        return None
    same = {"content": content, "mine": evidence_id}
    first = writer.connection.execute(statements.SAME_CONTENT, same).one_or_none()
    if first is None:
        return None
    relation = "same_text_as" if kind == Kind.NOTE else "same_pixels_as"
    writer.connection.execute(
        insert(EvidenceLink).values(
            evidence_id=evidence_id, other_id=first.id, relation=relation, created_at=writer.now
        )
    )
    writer.audit(
        f"evidence:{evidence_id}", "evidence:linked", relation=relation, other=first.id, case=case_id,
        other_case=first.case_id,
    )  # fmt: skip
    return first


def _record(writer: Writer, evidence: Evidence, digest: str, size: int) -> tuple[str, str, str | None]:
    """The evidence row, with its case, identity and content key. Raises Rejected `conflict`."""
    holds = evidence.uid and not writer.is_absent("uid", evidence.uid)
    if holds and writer.connection.scalar(statements.HOLDERS, {"uid": evidence.uid}):
        name = "SOPInstanceUID" if evidence.reader == "dicom" else "message identifier"
        raise Rejected(
            "conflict", f"this {name} was received before with other bytes; the first one is kept",
            f"Find out which copy is right; if this one, give it a new {name} and send it again.",
        )  # fmt: skip
    patient = identities.identify(writer, evidence.identity)
    if evidence.case_key:
        case_id = writer.keys.pseudonym("c", patient or "", evidence.case_key)
    else:
        case_id = writer.keys.pseudonym("c", "", digest)
    if writer.first("case", case_id):
        row = {"id": case_id, "patient": patient, "created_at": writer.now}
        writer.later(Order.CASE, _enter_cases, row)
    evidence_id = new_id()
    content = _content(writer.keys, evidence, patient)
    writer.later(
        Order.EVIDENCE, _enter_evidence,
        {"id": evidence_id, "case_id": case_id, "kind": evidence.kind, "format": evidence.reader,
         "uid": evidence.uid or None, "digest": digest, "bytes": size, "content": content,
         "study_uid": evidence.study_uid or None, "series_uid": evidence.series_uid or None,
         "facts": dict(evidence.facts), "received_at": writer.now},
    )  # fmt: skip
    writer.audit(
        f"evidence:{evidence_id}", "evidence:received", case=case_id, kind=evidence.kind, digest=digest
    )
    return evidence_id, case_id, content


def _content(keys: Keys, evidence: Evidence, patient: str | None) -> str | None:
    """Keyed, because a short text could be guessed from its digest. Words are one patient's; without
    a patient, one case's: two unknown people may both be told "no change"."""
    if not evidence.content:
        return None
    whose = ("pixels",) if evidence.kind is Kind.IMAGE else (
        "note", patient or "", "" if patient else evidence.case_key)  # fmt: skip
    return keys.pseudonym("s", *whose, evidence.content)


def _enter_cases(writer: Writer, rows: Sequence[dict[str, object]]) -> None:
    writer.connection.execute(statements.new(writer.dialect, Case), sorted(rows, key=itemgetter("id")))


def _enter_evidence(writer: Writer, rows: Sequence[dict[str, object]]) -> None:
    writer.connection.execute(statements.EVIDENCE, list(rows))
