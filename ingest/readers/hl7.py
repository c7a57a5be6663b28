"""HL7 v2 messages: results, documents, orders and admissions; values, genotypes and texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import coded, meanings
from ingest.coded import Record, moment
from ingest.foreign import foreign
from ingest.plaintext import bounded, brief, loaded
from ingest.segments import ADVICE, FRAME, Segment, segmented
from models.payloads import Payload

SUFFIXES = frozenset((".hl7",))
MAX_BYTES = 32 * 2**20
_START = re.compile(rb"\s*(MSH|FHS|BHS)([^\w\s])[^\w\s]{2,5}\2")
_BATCH = frozenset(("FHS", "BHS", "BTS", "FTS"))
_VOID = frozenset("DWXNIO")  # HL7 table 0085: deleted, wrong, no result, pending, order alone
_CANCELLED = frozenset(("CA", "DC", "OC", "OD", "CR", "DR", "DE", "UA"))  # table 0119
_TEXTS = frozenset(("TX", "FT"))
_CODED = frozenset(("CE", "CWE", "CNE", "CF", "IS", "ID"))
_NOTE_TYPES = {
    "CN": "consult", "DI": "radiology", "DS": "discharge", "ED": "emergency", "HP": "history-and-physical",
    "OP": "operative", "PN": "procedure", "PR": "progress", "SP": "pathology", "CD": "echo",
}  # fmt: skip  # of table 0270


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file so begun is an HL7 v2 message or batch, framed or not; or whether text is so named."""
    if _START.match(head.removeprefix(b"\xef\xbb\xbf").lstrip(FRAME)):
        return True
    return suffix in SUFFIXES and b"\0" not in head and foreign(head, "") is None


def whole(path: Path) -> str | None:
    """None when a framed message has its end; one without a frame has no declared end."""
    with path.open("rb") as file:
        start = file.read(1)
        file.seek(max(0, file.seek(0, 2) - 8))
        end = file.read().rstrip(b"\r\n")
    if not start:
        return "the file is empty so far"
    if start == b"\x0b" and not end.endswith(b"\x1c"):
        return "the message has not reached the end of its frame"
    return None


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """Whose the message is, and which features, genes and texts it holds.

    A table where any value is known but age and sex, else a note where there is text, else a document.
    Raises Rejected (`too-large`, `empty`, `binary`, `undecodable-text`, `truncated`, `malformed`,
    `several-messages`, `several-patients`, `unsupported-body`, `bad-sidecar`, `contradiction`) and OSError.
    """
    gap = whole(path)
    data = loaded(path, MAX_BYTES)
    if gap:
        raise Rejected("truncated", gap, "Send the whole message again.")
    return coded.evidence(_record(data), sidecar, parts)


def payload(data: bytes, kind: Kind) -> Payload:
    """The values as Table, the genotypes as Variants, or the texts as Note.

    Raises Rejected as `read` does, and `wrong-kind` when it holds no such thing.
    """
    return coded.payload(_record(bounded(data, MAX_BYTES)), kind)


def _record(data: bytes) -> Record:
    segments = [segment for segment in segmented(data) if segment.name not in _BATCH]
    header = segments[0] if segments else None
    if header is None or header.name != "MSH":
        raise Rejected("malformed", "the first segment should be MSH", ADVICE)
    if sum(segment.name == "MSH" for segment in segments) > 1:
        raise Rejected("several-messages", "the file holds more than one message", "Send a file for each.")
    message = f"{header.part(9)}^{header.part(9, 2)}"
    record = Record(format="hl7", date=moment(header.part(7)))
    record.facts = {
        "message": message if re.fullmatch(r"[A-Z][A-Z0-9]{2}\^[A-Z0-9]{0,3}", message) else "",
        "segments": len(segments),
    }
    if control := header.part(10).strip():
        # interfaces begin their count anew, hence time and type beside sender and control number
        record.uid = coded.sameness("hl7", *(header.raw(n) for n in (3, 4, 7, 9)), control)
    _own(record, segments)
    _hear(record, segments, st_is_text=message.startswith("MDM"))
    record.close()
    return record


# ── whose ─────────────────────────────────────────────────────────────────────────────────────────


def _own(record: Record, segments: Sequence[Segment]) -> None:
    """Patient and visit. Raises Rejected `several-patients`."""
    people = [segment for segment in segments if segment.name == "PID"]
    numbers = {_number(segment)[0] for segment in people}
    if len(numbers) > 1:
        raise Rejected("several-patients", "it speaks of more than one patient", "Send a message for each.")
    if people:
        person = people[0]
        number, issuer = _number(person)
        name = person.repeats(5)[0]
        birth = person.part(7)[:8]
        record.birth = birth if re.fullmatch(r"\d{8}", birth) else ""
        record.sex = {"M": "male", "F": "female"}.get(person.part(8).strip().upper(), "")
        record.owner = {
            "number": number, "issuer": issuer, "birth_date": record.birth,
            "name": "^".join(person.part(5, n, of=name) for n in (1, 2, 3)).strip("^"),
        }  # fmt: skip
    visits = {segment.part(19) for segment in segments if segment.name == "PV1"} - {""}
    if len(visits) == 1:
        record.owner["encounter"] = visits.pop()
    record.owner = {key: said for key, value in record.owner.items() if (said := brief(value))}


def _number(person: Segment) -> tuple[str, str]:
    """(number, issuer) of PID-3: the medical record's, else the first; else PID-2's."""
    known = [one for n in (3, 2) for one in person.repeats(n) if person.part(n, 1, of=one)]
    best = next((one for one in known if person.part(3, 5, of=one) == "MR"), known[0] if known else "")
    return person.part(3, 1, of=best), person.part(3, 4, of=best)


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


def _hear(record: Record, segments: Sequence[Segment], *, st_is_text: bool) -> None:
    """Results, diagnoses, orders of medication, and the lines of documents."""
    lines: list[tuple[str, str]] = []  # (title, line) of the document that is being read
    genes: dict[str, str] = {}
    ordered = when = ""
    for segment in segments:
        if segment.name in ("OBR", "TXA"):
            _say(record, lines)
            when = moment(segment.part(7 if segment.name == "OBR" else 4))
            kind = segment.part(4) if segment.name == "OBR" else ""
            record.note_type = (record.note_type or coded.NOTE_TYPES.get(kind, "")
                                or (_NOTE_TYPES.get(segment.part(2), "") if not kind else ""))  # fmt: skip
        elif segment.name == "OBX" and segment.part(11) not in _VOID:
            _genotype(record, segment, genes)
            lines += _observation(record, segment, when, st_is_text=st_is_text)
        elif segment.name == "DG1" and segment.part(21) != "D":
            record.present(_codes(segment, 3, segment.part(2)), moment(segment.part(5)))
        elif segment.name == "ORC":
            ordered = segment.part(1)
        elif segment.name in ("RXE", "RXO") and ordered not in _CANCELLED:
            drug = 2 if segment.name == "RXE" else 1
            record.takes(_codes(segment, drug), [segment.part(drug, n) for n in (2, 5, 9)], record.date)
    _say(record, lines)


def _observation(record: Record, segment: Segment, when: str, *, st_is_text: bool) -> list[tuple[str, str]]:
    """Keeps a value; returns the lines of a text with their title."""
    kind, codes = segment.part(2).strip(), _codes(segment, 3)
    title = segment.part(3, 2)
    found = segment.repeats(5)
    if kind == "ED":
        _embedded(record, segment, found)
    elif kind in _TEXTS or (kind == "ST" and st_is_text and not meanings.meant(codes)):
        return [(title, segment.plain(one)) for one in found]
    elif any(one.strip(" ^") for one in found):
        record.observe(codes, _cells(segment, kind, found), segment.part(6), moment(segment.part(14)) or when)
    return []


def _cells(segment: Segment, kind: str, found: Sequence[str]) -> list[object]:
    """The value, in the spellings that it has; nothing that can be a value for several of them."""
    if len(found) > 1 and kind not in _CODED:
        return ["several"]
    if kind == "SN":  # comparator, number, separator, number
        bare = segment.part(5) in ("", "=") and not segment.part(5, 3)
        return [segment.part(5, 2) if bare else "range"]
    if kind in _CODED:
        return [segment.part(5, n, of=one) for one in found[:50] for n in (1, 2, 4, 5, 9)]
    return [segment.part(5)]


def _embedded(record: Record, segment: Segment, found: Sequence[str]) -> None:
    """ED: source, type, subtype, encoding, data."""
    for one in found:
        media = "/".join(segment.part(5, n, of=one).lower().strip() for n in (2, 3))
        media = "text/plain" if media in ("text/", "txt/", "tx/", "ft/", "/text", "/txt", "/plain") else media
        if segment.part(5, 4, of=one).lower() == "base64":
            record.embed(segment.part(5, 5, of=one), media)
        elif media == "text/plain":
            record.say(segment.part(5, 5, of=one))
        else:
            record.unread += bool(segment.part(5, 5, of=one))


def _genotype(record: Record, segment: Segment, genes: dict[str, str]) -> None:
    """The gene studied and then its diplotype, under one sub-identifier (OBX-4)."""
    codes, group = _codes(segment, 3), segment.part(4)
    spelled = [word for n in (2, 1, 9) if (word := segment.part(5, n))]
    if coded.GENE_STUDIED in codes and spelled:
        genes[group] = spelled[0]
    elif coded.DIPLOTYPES & set(codes) and group in genes:
        for word in spelled:
            record.diplotype(genes[group], word.removeprefix(genes[group]).strip())


def _codes(segment: Segment, number: int, system: str = "") -> list[str]:
    """A coded field's identifier and alternate as `system|code`."""
    pairs = ((segment.part(number, n), segment.part(number, n + 2) or system) for n in (1, 4))
    return [
        f"{meanings.SYSTEMS.get(name.strip().upper(), name)}|{code.strip()}" for code, name in pairs if code
    ]


def _say(record: Record, lines: list[tuple[str, str]]) -> None:
    """One document's lines as a text; titles stand over their lines where there are several."""
    several = len({title for title, _ in lines}) > 1
    out: list[str] = []
    before = ""
    for title, line in lines:
        if several and title and title != before:
            out += ["", title]
        before = title
        out.append(line.rstrip())
    record.say("\n".join(out))
    lines.clear()
