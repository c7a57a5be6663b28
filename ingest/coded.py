"""What coded records (FHIR, HL7 v2, C-CDA) say of one patient: values, genotypes and texts, latest first."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone

from db.errors import Rejected
from db.records import LOINC, Evidence, Kind
from ingest import markup, values
from ingest.meanings import meant, prescribed
from ingest.plaintext import CONTROLS, clean
from ingest.readers import note
from ingest.whose import whose
from models.features import dictionary
from models.payloads import Note, Payload, Table, Value, Variants

GENE_STUDIED = f"{LOINC}|48018-6"
DIPLOTYPES = frozenset(
    (f"{LOINC}|84413-4", f"{LOINC}|47998-0")
)  #: genotype display name, variant display name
DEMOGRAPHIC = frozenset(("age", "sex"))  #: they alone make no table: every record has them
NOTE_TYPES = {
    "18842-5": "discharge", "11488-4": "consult", "34117-2": "history-and-physical", "11506-3": "progress",
    "11504-8": "operative", "18748-4": "radiology", "28570-0": "procedure", "57133-1": "referral",
    "34133-9": "general", "34111-5": "emergency", "11526-1": "pathology",
}  # fmt: skip  #: of documents by LOINC
TEXT_MAX = 1_000_000  #: characters of all texts of a file, as of a note
BREAK = "\n\f\n"  #: between texts of one file
_MOMENT = re.compile(
    r"(\d{4})-?(\d\d)?-?(\d\d)?[T ]?(\d\d)?:?(\d\d)?:?(\d\d)?(?:\.\d+)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)


def moment(text: str) -> str:
    """A time of FHIR, HL7 v2 or CDA as 14 digits in UTC that sort; "" when it is none."""
    match = _MOMENT.match(text.strip()[:40])
    if not match:
        return ""
    *numbers, zone = match.groups()
    found = [int(n) if n else low for n, low in zip(numbers, (1, 1, 1, 0, 0, 0), strict=True)]
    offset = timedelta()
    if zone and zone not in "zZ":
        minutes = int(zone[1:3]) * 60 + int(zone[-2:])
        offset = timedelta(minutes=minutes if zone[0] == "+" else -minutes)
    try:
        year, month, day, hour, minute, second = found
        local = datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
        return local.astimezone(UTC).strftime("%Y%m%d%H%M%S").zfill(14)
    except (ValueError, OverflowError):
        return ""


@dataclass(kw_only=True)
class Record:
    """What one file says, as a reader fills it in. Holds a patient's identity and words."""

    format: str
    owner: dict[str, str] = field(default_factory=dict)  #: as the header of `ingest.whose.whose`
    uid: str = ""
    birth: str = ""  #: YYYYMMDD
    sex: str = ""
    date: str = ""  #: `moment` of the record itself, where no observation has one
    values: dict[str, Value] = field(default_factory=dict)
    genotype: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    note_type: str = ""
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    left_out: int = 0  #: values of known features that could not be understood
    unread: int = 0  #: embedded files that are not text
    _when: dict[str, str] = field(default_factory=dict)
    _odd: dict[str, str] = field(default_factory=dict)  # when the latest of a feature's left out was measured
    _characters: int = 0

    def observe(self, codes: Iterable[str], cells: Sequence[object], unit: str, when: str) -> bool:
        """Keeps what an observation says of the features that its codes stand for, unless later is known.

        cells: the value, or several spellings of one category. Returns whether the codes mean a feature.
        What cannot be understood, or lies outside the feature's limits, is left out and counted; what was
        measured before it does not stand in for it.
        """
        names = meant(codes)
        for name in names:
            before = self.left_out
            found = self._understood(name, cells, unit)
            if found is not None:
                self._keep(name, found, when)
            elif self.left_out > before:
                self._odd[name] = max(when, self._odd.get(name, ""))
        return bool(names)

    def present(self, codes: Iterable[str], when: str) -> None:
        """Keeps that a condition is there; its absence is never concluded."""
        for name in meant(codes):
            if (found := values.present(name)) is not None:
                self._keep(name, found, when)

    def takes(self, codes: Iterable[str], names: Iterable[str], when: str) -> None:
        """Keeps that a medication is taken, by its codes or its name: most codes are of one product alone."""
        for name in {*meant(codes), *prescribed(names)}:
            if (found := values.present(name)) is not None:
                self._keep(name, found, when)

    def diplotype(self, gene: str, text: str) -> None:
        """Keeps a genotype that is written as star alleles or bases."""
        try:
            name = values.gene(gene)
            found = values.genotype(name, text, "genotype") if name else None
        except Rejected:
            self.left_out += 1
            return
        if name and found:
            self.genotype[name] = found

    def say(self, text: str) -> None:
        """Keeps a text. Raises Rejected `too-large` beyond a million characters in all."""
        text = (
            clean(text)
            .replace("\r\n", "\n")
            .replace("\r", "\n")
            .translate(CONTROLS | {0x0C: "\n"})
            .strip("\n ")
        )
        if not text.strip():
            return
        self.texts.append(text)
        self._characters += len(text)
        if self._characters > TEXT_MAX:
            raise Rejected(
                "too-large",
                f"its texts have more than {TEXT_MAX} characters",
                "Split it, or check the export.",
            )

    def embed(self, data: str, media_type: str) -> None:
        """Keeps an embedded file in base64 when it is text; counts any other."""
        if not data.strip():
            return
        kind, _, parameters = media_type.lower().partition(";")
        charset = re.search(r"charset=\"?([a-z0-9_-]{1,20})", parameters)
        try:
            content = base64.b64decode("".join(data.split()), validate=True)
            text = content.decode(charset[1] if charset else "utf-8-sig")
        except (binascii.Error, LookupError, UnicodeError, ValueError):
            text = ""
        if "html" in kind or "xml" in kind:
            text = markup.stripped(text)
        if not text.strip() or not ("text" in kind or "html" in kind) or "rtf" in kind or "\0" in text:
            self.unread += 1
            return
        self.say(text)

    def _understood(self, name: str, cells: Sequence[object], unit: str) -> Value | None:
        for cell in cells:
            try:
                if (found := values.value(name, cell, unit, "")) is not None:
                    return found
            except Rejected:
                continue
        self.left_out += any(not values.unknown(cell) for cell in cells)
        return None

    def _keep(self, name: str, found: Value, when: str) -> None:
        if name not in self.values or when >= self._when[name]:
            self.values[name], self._when[name] = found, when

    def close(self) -> None:
        """Leaves out what is older than an odd value; adds sex, and the age at the latest observation or else
        at the record's own date.
        """
        for name, when in self._odd.items():
            if self._when.get(name, when) < when:
                del self.values[name], self._when[name]
        dated = max((w for n, w in self._when.items() if n not in DEMOGRAPHIC), default="") or self.date
        if self.sex and "sex" not in self.values:
            self.observe_demographic("sex", self.sex)
        if "age" not in self.values and (years := age(self.birth, dated)) is not None:
            self.observe_demographic("age", years)

    def observe_demographic(self, name: str, cell: object) -> None:
        """Keeps age or sex where the dictionary has it and it can be understood."""
        if name in dictionary() and (found := self._understood(name, (cell,), "")) is not None:
            self.values[name] = found

    @property
    def has_table(self) -> bool:
        """Whether anything is known but whose and how old."""
        return bool(self.genotype or self.values.keys() - DEMOGRAPHIC)

    @property
    def text(self) -> str:
        """All texts, a line with a form feed between them."""
        return BREAK.join(self.texts)


def age(birth: str, when: str) -> int | None:
    """Whole years from a birth date (YYYYMMDD) to a `moment`; None when either is not known to the day."""
    try:
        born, at = (date(int(d[:4]), int(d[4:6]), int(d[6:8])) for d in (birth, when))
    except ValueError:
        return None
    years = at.year - born.year - ((at.month, at.day) < (born.month, born.day))
    return years if years >= 0 else None


def evidence(record: Record, sidecar: bytes | None, parts: Sequence[str]) -> Evidence:
    """The record as Evidence: a table where values are known, else a note, else a document.

    Raises Rejected (`unsupported-body` when all it has is a file that is not text; as `whose` does).
    """
    owner = whose(sidecar, record.owner, parts)
    if record.has_table:
        kind = Kind.TABLE
        also = [Kind.VARIANTS] * bool(record.genotype) + [Kind.NOTE] * bool(record.texts)
    elif record.texts:
        kind, also = Kind.NOTE, []
    elif record.unread:
        raise Rejected(
            "unsupported-body", "all that it holds is an embedded file that is not plain text",
            "Send its text as plain text, its images as DICOM.",
        )  # fmt: skip
    else:
        kind, also = Kind.DOCUMENT, []
    return Evidence(
        kind=kind, also=tuple(also), format=record.format, uid=record.uid, case_key=owner.case_key,
        identity=owner.identity, facts=_facts(record, owner.note_type),
        content=note.content(record.text) if kind is Kind.NOTE else _content(record),
    )  # fmt: skip


def _content(record: Record) -> str:
    """A digest of all that was understood: a message sent again with another time stamp says the same."""
    known = [sorted(record.values.items()), sorted(record.genotype.items()), record.texts]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _facts(record: Record, note_type: str) -> dict[str, str | int | float | bool | None]:
    return {
        **record.facts,
        "features": ",".join(sorted(record.values)) if record.has_table else "",
        "genes": ",".join(sorted(record.genotype)),
        "left_out": record.left_out,
        "note_type": note_type or record.note_type,
        "texts": len(record.texts),
        "characters": len(record.text),
        "unread": record.unread,
    }


def payload(record: Record, kind: Kind) -> Payload:
    """The record as a model is given it. Raises Rejected `wrong-kind` when it holds no such thing."""
    if kind == Kind.TABLE and record.has_table:
        return Table(values=record.values, genotype=record.genotype)
    if kind == Kind.VARIANTS and record.genotype:
        return Variants(diplotypes=record.genotype)
    if kind == Kind.NOTE and record.texts:
        return Note(text=record.text)
    raise Rejected("wrong-kind", f"the file cannot be given as {kind.value}", "It is kept as it came.")


def sameness(*parts: str) -> str:
    """What copies of one message or document share: the SHA-256 of its identifier, which may name people."""
    return hashlib.sha256("|".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
