"""C-CDA documents: the sections' words, and the results, problems and medications that they code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import coded, markup
from ingest.coded import Record, moment
from ingest.plaintext import bounded, brief, last, loaded
from models.payloads import Payload

SUFFIXES = frozenset((".xml", ".ccda", ".cda"))
MAX_BYTES = 32 * 2**20
ELEMENTS = 200_000
DEPTH = 150  #: of elements; real documents have some twenty
_V3 = "{urn:hl7-org:v3}"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_SSN = "2.16.840.1.113883.4.1"  # a social security number is nobody's patient number
_BLOCKS = frozenset(("paragraph", "list", "item", "br", "table", "thead", "tbody", "tr", "caption", "text"))
_CLOSED = frozenset(("paragraph", "list", "table", "caption"))  # what follows these begins a line
_SILENT = frozenset(("renderMultiMedia", "observationMedia"))
_VOID = frozenset(("aborted", "cancelled", "nullified", "held", "new", "suspended"))
# what an observation is called whose value is the problem (SNOMED CT and LOINC, C-CDA R2.1 Problem Type)
_PROBLEMS = frozenset(
    (
        "55607006",
        "282291009",
        "64572001",
        "404684003",
        "29308-4",
        "75323-6",
        "75326-9",
        "75318-6",
        "ASSERTION",
    )
)
_CUT = frozenset(
    (3, 5, 20)
)  # expat's errors for a document that ends early: no element, token, CDATA section


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file so begun is XML with a clinical document for its root."""
    start = head.removeprefix(b"\xef\xbb\xbf")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        start = start[2:].replace(b"\0", b"")
    if not start.lstrip().startswith(b"<"):
        return False
    return re.search(rb"<([A-Za-z0-9_-]{1,20}:)?ClinicalDocument[\s>]", start) is not None or suffix in (
        ".ccda",
        ".cda",
    )


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


# ── XML ───────────────────────────────────────────────────────────────────────────────────────────


class _Builder(ET.TreeBuilder):
    """A tree with bounds; deeper ones would exhaust whoever walks them."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = self.count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Any:
        """Raises Rejected beyond the bounds."""
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > DEPTH or self.count > ELEMENTS:
            raise Rejected(
                "too-large", f"it has more than {ELEMENTS} elements, or deeper than {DEPTH}", "Split it."
            )
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Any:
        """One level up."""
        self.depth -= 1
        return super().end(tag)


def _root(data: bytes) -> ET.Element:
    """The document's root. Raises Rejected; entities and document types are never resolved."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=_Builder(), forbid_dtd=True)
    try:
        parser.feed(data.lstrip())
        root: ET.Element = parser.close()
    except DefusedXmlException:
        raise Rejected(
            "entities", "it declares a document type or entities, which wetread does not resolve",
            "Export it without a DOCTYPE.",
        ) from None  # fmt: skip
    except ET.ParseError as error:
        line, column = error.position
        cut = error.code in _CUT
        raise Rejected(
            "truncated" if cut else "malformed",
            f"the XML {'ends' if cut else 'cannot be parsed'} at line {line}, column {column}",
            "Send the whole file again." if cut else "Validate it and export it again.",
        ) from None
    except (LookupError, ValueError):
        raise Rejected(
            "malformed", "the XML is in an encoding that is not known", "Export it as UTF-8."
        ) from None
    if root.tag != f"{_V3}ClinicalDocument":
        raise Rejected("malformed", "its root is no ClinicalDocument of HL7 v3", "Export it as C-CDA R2.1.")
    return root


def _path(element: ET.Element, *names: str) -> Iterator[ET.Element]:
    """The descendants that this path of local names leads to."""
    return element.iterfind("/".join(f"{_V3}{name}" for name in names))


def _first(element: ET.Element, *names: str) -> ET.Element:
    """The first of them, or an element without anything."""
    return next(_path(element, *names), ET.Element("none"))


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _words(element: ET.Element) -> str:
    """The words of a narrative block in their lines; a cell is set apart from the next."""
    parts: list[str] = []

    def walk(one: ET.Element) -> None:
        name = _local(one)
        if name in _SILENT or not name:
            return
        parts.append("\n" if name in _BLOCKS else "\t" if name in ("td", "th") else "")
        parts.append(re.sub(r"\s+", " ", one.text or ""))
        for inner in one:
            walk(inner)
            parts.append(re.sub(r"\s+", " ", inner.tail or ""))
        parts.append("\n" if name in _CLOSED else "")

    walk(element)
    return markup.tidied("".join(parts))


# ── the document ──────────────────────────────────────────────────────────────────────────────────


def _record(data: bytes) -> Record:
    root = _root(data)
    kind = _first(root, "code").get("code", "")
    record = Record(format="cda", date=moment(_first(root, "effectiveTime").get("value", "")))
    record.note_type = coded.NOTE_TYPES.get(kind, "")
    record.facts = {"document": kind if re.fullmatch(r"\d{1,6}-\d", kind) else ""}
    _own(record, root)
    for body in _path(root, "component", "structuredBody"):
        record.say("\n\n".join(_sections(body)))
        _entries(record, body)
    for text in _path(root, "component", "nonXMLBody", "text"):
        _unstructured(record, text)
    record.close()
    return record


def _own(record: Record, root: ET.Element) -> None:
    """Patient, encounter and accession. Raises Rejected `several-patients`."""
    roles = list(_path(root, "recordTarget", "patientRole"))
    if len({_number(role) for role in roles}) > 1:
        raise Rejected("several-patients", "it speaks of more than one patient", "Send a document for each.")
    owner: dict[str, str] = {}
    if roles:
        person = _first(roles[0], "patient")
        birth = _first(person, "birthTime").get("value", "")[:8]
        record.birth = birth if re.fullmatch(r"\d{8}", birth) else ""
        sex = _first(person, "administrativeGenderCode").get("code", "")
        record.sex = {"M": "male", "F": "female"}.get(sex, "")
        number, issuer = _number(roles[0])
        name = _first(person, "name")
        words = ["".join(one.itertext()) for part in ("family", "given") for one in _path(name, part)]
        owner = {"number": number, "issuer": issuer, "name": "^".join(words), "birth_date": record.birth}
    owner["encounter"] = _identifier(root, "componentOf", "encompassingEncounter", "id")
    owner["accession"] = _identifier(root, "inFulfillmentOf", "order", "id")
    record.owner = {key: said for key, value in owner.items() if (said := brief(value))}
    own = _first(root, "id")
    if own.get("root"):
        # documents whose maker gives each the same id still differ in their patient
        version = _first(root, "versionNumber").get("value", "")
        record.uid = coded.sameness(
            "cda", own.get("root", ""), own.get("extension", ""), version, owner.get("number", "")
        )


def _number(role: ET.Element) -> tuple[str, str]:
    """(number, issuer): the first identifier that is no social security number, else that."""
    known = [one for one in _path(role, "id") if not one.get("nullFlavor") and one.get("root")]
    ranked = [one for one in known if one.get("root") != _SSN] + known
    best = ranked[0] if ranked else ET.Element("none")
    extension, root = best.get("extension", ""), best.get("root", "")
    return (extension, root) if extension else (root, "")


def _identifier(root: ET.Element, *names: str) -> str:
    """The one identifier under a path; "" where there are none or several."""
    found = {one.get("extension", "") or one.get("root", "") for one in _path(root, *names)} - {""}
    return found.pop() if len(found) == 1 else ""


def _sections(body: ET.Element) -> Iterator[str]:
    """Each section's title and words, those within after it."""
    for section in _path(body, "component", "section"):
        words = _words(_first(section, "text"))
        title = re.sub(r"\s+", " ", "".join(_first(section, "title").itertext())).strip()
        if words:
            yield f"{title}\n{words}".strip()
        yield from _sections(section)


def _unstructured(record: Record, text: ET.Element) -> None:
    """A body that is a file: its text where it is one, else counted as unread."""
    words = "".join(text.itertext())
    if text.get("representation") == "B64":
        record.embed(words, text.get("mediaType", ""))
    elif (
        text.get("mediaType", "text/plain").startswith("text/plain") and text.find(f"{_V3}reference") is None
    ):
        record.say(words)
    else:
        record.unread += 1


# ── entries ───────────────────────────────────────────────────────────────────────────────────────


def _entries(record: Record, element: ET.Element) -> None:
    """Hears every act that happened to the patient; not what was planned, denied or befell relatives."""
    for inner in element:
        name = _local(inner)
        if inner.get("negationInd") == "true" or inner.find(f"{_V3}subject") is not None or name == "text":
            continue
        if name == "observation" and inner.get("moodCode") == "EVN":
            _observation(record, inner)
        elif name == "substanceAdministration" and inner.get("moodCode") in ("EVN", "INT"):
            _medication(record, inner)
        _entries(record, inner)


def _observation(record: Record, found: ET.Element) -> None:
    if _first(found, "statusCode").get("code") in _VOID:
        return
    codes = _codes(_first(found, "code"))
    when = _when(found)
    for value in _path(found, "value"):
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
    spelled = (value, *_path(value, "translation"))
    return [word for one in spelled for name in ("code", "displayName") if (word := one.get(name))]


def _medication(record: Record, found: ET.Element) -> None:
    if _first(found, "statusCode").get("code", "active") in _VOID or _over(record, found):
        return
    drug = _first(found, "consumable", "manufacturedProduct", "manufacturedMaterial", "code")
    record.present(_codes(drug), _when(found))


def _over(record: Record, found: ET.Element) -> bool:
    """Whether it ended before the document was made; an end without a date is one, too."""
    ends = list(_path(found, "effectiveTime", "high"))
    dated = [moment(end.get("value", "")) for end in ends if end.get("nullFlavor") != "NA"]
    return any(not end or not record.date or end <= record.date for end in dated)


def _when(found: ET.Element) -> str:
    time = _first(found, "effectiveTime")
    spoken = (
        time.get("value", ""),
        _first(time, "low").get("value", ""),
        _first(time, "high").get("value", ""),
    )
    return next((at for text in spoken if (at := moment(text))), "")


def _codes(concept: ET.Element) -> list[str]:
    """A concept's code and translations as `system|code`."""
    return [
        f"{coded.SYSTEMS.get(system, system)}|{one.get('code', '')}"
        for one in (concept, *_path(concept, "translation"))
        for system in [one.get("codeSystem", "")]
        if one.get("code")
    ]
