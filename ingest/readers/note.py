"""Plain-text clinical notes, with an optional header block or sidecar that says whose they are."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Identity, Kind
from ingest.foreign import foreign as foreign  # noqa: PLC0414 - offered to callers here too
from models.payloads import Note

SUFFIXES = frozenset((".txt", ".text", ".note", ".md"))
MAX_BYTES = 1_000_000  #: a note is pages, not megabytes: the longest discharge summaries have some 100 kB
NOTE_TYPES = frozenset(
    (
        *("admission", "consult", "discharge", "echo", "ecg", "emergency", "general", "history-and-physical"),
        *("nursing", "operative", "pathology", "physician", "procedure", "progress", "radiology"),
        *("referral", "respiratory", "social-work"),
    )
)

# What a header or sidecar may say, by every name it is known under; `ignored` is known but not kept.
_KEYS = {
    "patient-id": "number",
    "mrn": "number",
    "issuer": "issuer",
    "issuer-of-patient-id": "issuer",
    "patient-name": "name",
    "birth-date": "birth_date",
    "dob": "birth_date",
    "date-of-birth": "birth_date",
    "encounter": "encounter",
    "encounter-id": "encounter",
    "visit": "encounter",
    "visit-id": "encounter",
    "accession": "accession",
    "accession-number": "accession",
    "note-type": "note_type",
    "author": "ignored",
    "date": "ignored",
}
_HEADER_LINE = re.compile(r"[ \t]*([A-Za-z][A-Za-z _-]{0,30}?)[ \t]*:[ \t]*(.{0,256})")
_PART = re.compile(r"(patient|encounter)[=-](.{1,64})", re.IGNORECASE)
# the control characters that are no layout become spaces: one for one, so that offsets hold
_CONTROLS = {code: " " for code in (*range(0x20), 0x7F) if chr(code) not in "\t\n\r\f"}
_BOMS = (  # UTF-32 before UTF-16, whose little-endian mark it begins with
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file so named and so begun is a plain-text note."""
    return suffix in SUFFIXES and foreign(head, "") is None and (_bom(head)[0] != b"" or b"\0" not in head)


def whole(path: Path) -> str | None:
    """None when there is any text; a plain text has no declared end, so quiet time must tell the rest."""
    return None if path.stat().st_size else "the file is empty so far"


def is_sidecar(path: Path, names_in_folder: Collection[str]) -> bool:
    """Whether this JSON file only describes a note that lies beside it."""
    if path.suffix.lower() != ".json":
        return False
    if Path(path.stem).suffix.lower() in SUFFIXES and path.stem in names_in_folder:
        return True
    return any(Path(n).stem == path.stem and Path(n).suffix.lower() in SUFFIXES for n in names_in_folder)


def read(
    path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Evidence:
    """Whose the note is and what is known of it.

    sidecar: the JSON object that lies beside the note; it goes before the header, and that before
    parts: the folder names between inbox and file, such as `patient=123`, `encounter=9`.
    max_bytes: a longer note is refused.
    Raises Rejected (`too-large`, `undecodable-text`, `binary`, `empty`, `bad-sidecar`,
    `contradiction`) and OSError.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    text, encoding = _decode(data, max_bytes)
    header, body = _header(text)
    known = _merge(_sidecar(sidecar), header, _folders(parts))
    return Evidence(
        kind=Kind.NOTE,
        case_key=known.get("encounter") or known.get("accession") or "",
        identity=_identity(known),
        content=_content(body),
        facts={
            "note_type": _note_type(known.get("note_type", "")),
            "characters": len(body),
            "lines": body.count("\n") + (not body.endswith("\n")),
            "encoding": encoding,
            "has_header": bool(header),
        },
    )


def payload(data: bytes) -> Note:
    """The text without its header block; findings' offsets count in it.

    Its size was settled when it was read. Raises Rejected as `read` does otherwise.
    """
    text, _ = _decode(data, len(data))
    return Note(text=_header(text)[1])


def _content(body: str) -> str:
    """A digest of the words in their lines: line ends, trailing spaces and outer blank lines do not count."""
    lines = "\n".join(line.rstrip() for line in unicodedata.normalize("NFC", body).splitlines())
    return hashlib.sha256(lines.strip("\n\ufeff").encode("utf-8", "surrogatepass")).hexdigest()


def _bom(data: bytes) -> tuple[bytes, str]:
    return next(((bom, name) for bom, name in _BOMS if data.startswith(bom)), (b"", "utf-8"))


def _decode(data: bytes, max_bytes: int) -> tuple[str, str]:
    """The text and its encoding; an 8-bit code page is never guessed."""
    if len(data) > max_bytes:
        raise Rejected(
            "too-large", f"the note has more than {max_bytes} bytes", "Split it, or check the file."
        )
    bom, encoding = _bom(data)
    try:
        text = data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in data and not bom:
            raise _binary() from None
        raise Rejected(
            "undecodable-text",
            f"the text is not {encoding.upper()} at byte {error.start + len(bom)}",
            "Export it as UTF-8; wetread never guesses a code page, because it would change words.",
        ) from None
    controls = len(text) - len(text.translate(dict.fromkeys(_CONTROLS)))
    if "\0" in text or controls * 20 > len(text):
        raise _binary()
    text = text.translate(_CONTROLS)
    if not text.strip("\ufeff \t\r\n\f"):
        raise Rejected("empty", "the note has no text", "Check the export.")
    return text, encoding


def _binary() -> Rejected:
    return Rejected("binary", "the file is named like a text but holds binary data", "Check the export.")


def _header(text: str) -> tuple[dict[str, str], str]:
    """The `Key: value` lines at the very top, and the text after the blank line that ends them.

    Only a first line with a known key begins a header, so that a note that opens with
    "Impression: ..." keeps it. A header that no blank line ends within 40 lines is text.
    """
    found: dict[str, str] = {}
    kept: list[str] = []  # lines with keys of other kinds may be clinical: they stay in the text
    position = 0
    for count, line in enumerate(text.splitlines(keepends=True)):
        position += len(line)
        if not line.strip():
            return (found, _body("".join(kept) + text[position:])) if count else ({}, text)
        match = _HEADER_LINE.fullmatch(line.rstrip("\r\n\f"))
        key = _KEYS.get(_plain(match[1])) if match else None
        if match is None or (count == 0 and key is None) or count == 40:
            break
        if key:
            _put(found, key, match[2].strip())
        else:
            kept.append(line)
    return {}, text


def _body(text: str) -> str:
    if not text.strip():
        raise Rejected("empty", "the note has a header but no text", "Check the export.")
    return text


def _plain(key: str) -> str:
    """`PatientID`, `patient_id` and `Patient ID` alike."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[ _-]+", "-", key.strip()).lower()


def _put(found: dict[str, str], key: str, value: str) -> None:
    """Two different numbers for one patient in one place are a contradiction too."""
    if value:
        if key in ("number", "encounter") and found.get(key, value) != value:
            raise _contradiction(key)
        found[key] = value


def _contradiction(key: str) -> Rejected:
    what = "patient numbers" if key == "number" else f"{key.replace('_', ' ')}s"
    return Rejected(
        "contradiction",
        f"sidecar, header and folder give different {what}",
        "Correct whichever is wrong and send the note again; wetread does not guess whose it is.",
    )


def _sidecar(data: bytes | None) -> dict[str, str]:
    if data is None:
        return {}
    bad = Rejected(
        "bad-sidecar", "the JSON beside the note is not one object of texts", "See docs/readers.md."
    )
    try:
        entries = json.loads(data.decode("utf-8-sig")) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        raise bad from None
    if not isinstance(entries, dict):
        raise bad
    found: dict[str, str] = {}
    for name, value in entries.items():
        key = _KEYS.get(_plain(name))
        if key is None or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise bad
        _put(found, key, str(value).translate(_CONTROLS).strip()[:256])
    return found


def _folders(parts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in parts:
        if match := _PART.fullmatch(part):
            _put(found, "number" if match[1].lower() == "patient" else "encounter", match[2].strip())
    return found


def _merge(*sources: Mapping[str, str]) -> dict[str, str]:
    """The first source that names a thing decides; whose the note is, all must agree on."""
    merged: dict[str, str] = {}
    for source in sources:
        for key, value in source.items():
            if key == "number" and merged.get(key, value) != value:
                raise _contradiction(key)
            merged.setdefault(key, value)
    return merged


def _identity(known: Mapping[str, str]) -> Identity | None:
    number, name = known.get("number", ""), known.get("name", "")
    if not number and not name:
        return None
    born = re.sub(r"[-./]", "", known.get("birth_date", ""))
    return Identity(
        number=number,
        issuer=known.get("issuer", ""),
        name=name,
        birth_date=born if re.fullmatch(r"(19|20|18)[0-9]{6}", born) else "",
    )


def _note_type(word: str) -> str:
    """One of NOTE_TYPES, `other`, or "" when nothing is said."""
    plain = re.sub(r"[^a-z]+", "-", word.lower()).strip("-").removesuffix("-note").removesuffix("-report")
    plain = {"h-p": "history-and-physical", "discharge-summary": "discharge", "ed": "emergency"}.get(
        plain, plain
    )
    if not plain:
        return ""
    return plain if plain in NOTE_TYPES else "other"
