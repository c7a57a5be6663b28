"""An accepted input on record: its case, its identity, what it is the same as, and the jobs it owes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

from sqlalchemy import Row, insert, select

from db import arrivals, conclusions, identities, jobs, retention, statements
from db.errors import Rejected
from db.ids import new_id
from db.jobs import Owed
from db.keys import Keys
from db.ledger import conclude_later
from db.records import Evidence, FileState, Kind
from db.series import Routed
from db.store import Order, Writer
from db.tables import Case, EvidenceLink
from db.tables import Evidence as EvidenceRow


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
    look_after: seconds to leave its series alone (db/arrivals.py: arrive).
    Raises Rejected `conflict` when its UID is already held by other bytes.
    """
    if _is_duplicate(writer, file_id, evidence, digest, owed):
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


def _is_duplicate(
    writer: Writer, file_id: str, evidence: Evidence, digest: str, owed: Sequence[Owed]
) -> bool:
    """Whether these bytes, or this message, are on record; the file is then concluded as a duplicate."""
    known = None
    if not writer.is_absent("digest", digest):
        known = writer.connection.execute(statements.KNOWN, {"digest": digest}).one_or_none()
    if known is not None:
        retention.restored(writer, known.id)
        jobs.owe_later(writer, known.case_id, known.id, digest, owed)  # a model may have come since
        conclude_later(writer, file_id, FileState.DUPLICATE, digest=digest, evidence_id=known.id)
        return True
    if (same := _same_message(writer, evidence)) is None:
        return False
    conclude_later(
        writer, file_id, FileState.DUPLICATE, reason="same-message", digest=digest, evidence_id=same,
        sentence="the same message was received before in other bytes; that reading stands",
    )  # fmt: skip
    return True


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
