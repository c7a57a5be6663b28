"""C-CDA documents: the sections' words, and the results, problems and medications that they code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import coded, meanings
from ingest.coded import Record, moment
from ingest.hl7v3 import every, first, has, local_name, root_of, words_of
from ingest.plaintext import bounded, brief, last, loaded
from models.payloads import Payload

SUFFIXES = frozenset((".xml", ".ccda", ".cda"))
MAX_BYTES = 32 * 2**20
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_SSN = "2.16.840.1.113883.4.1"  # a social security number is nobody's patient number
_VOID = frozenset(("aborted", "cancelled", "nullified", "held", "new", "suspended"))
# what an observation is called whose value is the problem (SNOMED CT and LOINC, C-CDA R2.1 Problem Type)
_PROBLEMS = frozenset((
    *("55607006", "282291009", "64572001", "404684003"),
    *("29308-4", "75323-6", "75326-9", "75318-6", "ASSERTION"),
))  # fmt: skip


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file so begun is XML with a clinical document for its root."""
    start = head.removeprefix(b"\xef\xbb\xbf")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        start = start[2:].replace(b"\0", b"")
    if not start.lstrip().startswith(b"<"):
        return False
    named = suffix in (".ccda", ".cda")
    return named or re.search(rb"<([A-Za-z0-9_-]{1,20}:)?ClinicalDocument[\s>]", start) is not None


def whole(path: Path) -> str | None:
    """None when the file ends with a tag."""
    return None if last(path).rstrip(b"\0")[-1:] == b">" else "the document has not reached its last tag"


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """Whose the document is, and which features and texts it holds.

    A table where any value is known but age and sex, else a note where there is text, else a document.
    Raises Rejected (`too-large`, `empty`, `truncated`, `malformed`, `entities`, `several-patients`,
    `unsupported-body`, `bad-sidecar`, `contradiction`) and OSError.
    """
    return coded.evidence(_record(loaded(path, MAX_BYTES)), sidecar, parts)


def payload(data: bytes, kind: Kind) -> Payload:
    """The values as Table, or the sections' words as Note.

    Raises Rejected as `read` does, and `wrong-kind` when it holds no such thing.
    """
    return coded.payload(_record(bounded(data, MAX_BYTES)), kind)


# ── the document ──────────────────────────────────────────────────────────────────────────────────


def _record(data: bytes) -> Record:
    root = root_of(data)
    kind = first(root, "code").get("code", "")
    record = Record(format="cda", date=moment(first(root, "effectiveTime").get("value", "")))
    record.note_type = coded.NOTE_TYPES.get(kind, "")
    record.facts = {"document": kind if re.fullmatch(r"\d{1,6}-\d", kind) else ""}
    _own(record, root)
    for body in every(root, "component", "structuredBody"):
        record.say("\n\n".join(_sections(body)))
        _entries(record, body)
    for text in every(root, "component", "nonXMLBody", "text"):
        _unstructured(record, text)
    record.close()
    return record


def _own(record: Record, root: ET.Element) -> None:
    """Patient, encounter and accession. Raises Rejected `several-patients`."""
    roles = list(every(root, "recordTarget", "patientRole"))
    if len({_number(role) for role in roles}) > 1:
        raise Rejected("several-patients", "it speaks of more than one patient", "Send a document for each.")
    owner: dict[str, str] = {}
    if roles:
        person = first(roles[0], "patient")
        birth = first(person, "birthTime").get("value", "")[:8]
        record.birth = birth if re.fullmatch(r"\d{8}", birth) else ""
        sex = first(person, "administrativeGenderCode").get("code", "")
        record.sex = {"M": "male", "F": "female"}.get(sex, "")
        number, issuer = _number(roles[0])
        name = first(person, "name")
        words = ["".join(one.itertext()) for part in ("family", "given") for one in every(name, part)]
        owner = {"number": number, "issuer": issuer, "name": "^".join(words), "birth_date": record.birth}
    owner["encounter"] = _identifier(root, "componentOf", "encompassingEncounter", "id")
    owner["accession"] = _identifier(root, "inFulfillmentOf", "order", "id")
    record.owner = {key: said for key, value in owner.items() if (said := brief(value))}
    own = first(root, "id")
    if own.get("root"):
        # documents whose maker gives each the same id still differ in their patient
        version = first(root, "versionNumber").get("value", "")
        record.uid = coded.sameness(
            "cda", own.get("root", ""), own.get("extension", ""), version, owner.get("number", "")
        )


def _number(role: ET.Element) -> tuple[str, str]:
    """(number, issuer): the first identifier that is no social security number, else that."""
    known = [one for one in every(role, "id") if not one.get("nullFlavor") and one.get("root")]
    ranked = [one for one in known if one.get("root") != _SSN] + known
    best = ranked[0] if ranked else ET.Element("none")
    extension, root = best.get("extension", ""), best.get("root", "")
    return (extension, root) if extension else (root, "")


def _identifier(root: ET.Element, *names: str) -> str:
    """The one identifier under a path; "" where there are none or several."""
    found = {one.get("extension", "") or one.get("root", "") for one in every(root, *names)} - {""}
    return found.pop() if len(found) == 1 else ""


def _sections(body: ET.Element) -> Iterator[str]:
    """Each section's title and words, those within after it."""
    for section in every(body, "component", "section"):
        words = words_of(first(section, "text"))
        title = re.sub(r"\s+", " ", "".join(first(section, "title").itertext())).strip()
        if words:
            yield f"{title}\n{words}".strip()
        yield from _sections(section)


def _unstructured(record: Record, text: ET.Element) -> None:
    """A body that is a file: its text where it is one, else counted as unread."""
    words = "".join(text.itertext())
    if text.get("representation") == "B64":
        record.embed(words, text.get("mediaType", ""))
    elif text.get("mediaType", "text/plain").startswith("text/plain") and not has(text, "reference"):
        record.say(words)
    else:
        record.unread += 1


# ── entries ───────────────────────────────────────────────────────────────────────────────────────


def _entries(record: Record, element: ET.Element) -> None:
    """Hears every act that happened to the patient; not what was planned, denied or befell relatives."""
    for inner in element:
        name = local_name(inner)
        if inner.get("negationInd") == "true" or has(inner, "subject") or name == "text":
            continue
        if name == "observation" and inner.get("moodCode") == "EVN":
            _observation(record, inner)
        elif name == "substanceAdministration" and inner.get("moodCode") in ("EVN", "INT"):
            _medication(record, inner)
        _entries(record, inner)


def _observation(record: Record, found: ET.Element) -> None:
    if first(found, "statusCode").get("code") in _VOID:
        return
    codes = _codes(first(found, "code"))
    when = _when(found)
    for value in every(found, "value"):
        record.observe(codes, _cells(value), value.get("unit", ""), when)
        if {code.partition("|")[2] for code in codes} & _PROBLEMS and not _over(record, found):
            record.present(_codes(value), when)


def _cells(value: ET.Element) -> list[object]:
    """The value, in the spellings that it has."""
    kind = value.get(_TYPE, "").rpartition(":")[2]
    if value.get("nullFlavor"):
        return []
    if kind in ("PQ", "INT", "REAL", "BL", "TS", ""):
        return [value.get("value")]
    if kind in ("ST", "ED"):
        return ["".join(value.itertext()).strip()]
    if kind.startswith("IVL"):
        return ["range"]
    spelled = (value, *every(value, "translation"))
    return [word for one in spelled for name in ("code", "displayName") if (word := one.get(name))]


def _medication(record: Record, found: ET.Element) -> None:
    if first(found, "statusCode").get("code", "active") in _VOID or _over(record, found):
        return
    drug = first(found, "consumable", "manufacturedProduct", "manufacturedMaterial", "code")
    names = [part.get("displayName", "") for part in (drug, *every(drug, "translation"))]
    record.takes(_codes(drug), names, _when(found))


def _over(record: Record, found: ET.Element) -> bool:
    """Whether it ended before the document was made; an end without a date is one, too."""
    ends = list(every(found, "effectiveTime", "high"))
    dated = [moment(end.get("value", "")) for end in ends if end.get("nullFlavor") != "NA"]
    return any(not end or not record.date or end <= record.date for end in dated)


def _when(found: ET.Element) -> str:
    time = first(found, "effectiveTime")
    spoken = (
        time.get("value", ""),
        first(time, "low").get("value", ""),
        first(time, "high").get("value", ""),
    )
    return next((at for text in spoken if (at := moment(text))), "")


def _codes(concept: ET.Element) -> list[str]:
    """A concept's code and translations as `system|code`."""
    return [
        f"{meanings.SYSTEMS.get(system, system)}|{one.get('code', '')}"
        for one in (concept, *every(concept, "translation"))
        for system in [one.get("codeSystem", "")]
        if one.get("code")
    ]
