"""Plain-text clinical notes, with an optional header block or sidecar that says whose they are."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.foreign import foreign as foreign  # noqa: PLC0414 - offered to callers here too
from ingest.plaintext import CONTROLS, binary, decoded, mark
from ingest.whose import KEYS, plain, put, whose
from models.payloads import Note

SUFFIXES = frozenset((".txt", ".text", ".note", ".md"))
MAX_BYTES = 1_000_000  #: a note is pages, not megabytes: the longest discharge summaries have some 100 kB
_HEADER_LINE = re.compile(r"[ \t]*([A-Za-z][A-Za-z _-]{0,30}?)[ \t]*:[ \t]*(.{0,256})")


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file so named and so begun is a plain-text note."""
    return suffix in SUFFIXES and foreign(head, "") is None and (mark(head)[0] != b"" or b"\0" not in head)


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
    owner = whose(sidecar, header, parts)
    return Evidence(
        kind=Kind.NOTE,
        case_key=owner.case_key,
        identity=owner.identity,
        content=content(body),
        facts={
            "note_type": owner.note_type,
            "characters": len(body),
            "lines": body.count("\n") + (not body.endswith("\n")),
            "encoding": encoding,
            "has_header": bool(header),
        },
    )


def payload(data: bytes, kind: Kind = Kind.NOTE) -> Note:
    """The text without its header block; findings' offsets count in it.

    Its size was settled when it was read. Raises Rejected as `read` does otherwise.
    """
    text, _ = _decode(data, len(data))
    return Note(text=_header(text)[1])


def content(body: str) -> str:
    """A digest of the words in their lines: line ends, trailing spaces and outer blank lines do not count."""
    lines = "\n".join(line.rstrip() for line in unicodedata.normalize("NFC", body).splitlines())
    return hashlib.sha256(lines.strip("\n\ufeff").encode("utf-8", "surrogatepass")).hexdigest()


def _decode(data: bytes, max_bytes: int) -> tuple[str, str]:
    """The text and its encoding; an 8-bit code page is never guessed."""
    if len(data) > max_bytes:
        raise Rejected(
            "too-large", f"the note has more than {max_bytes} bytes", "Split it, or check the file."
        )
    text = decoded(data)
    controls = len(text) - len(text.translate(dict.fromkeys(CONTROLS)))
    if controls * 20 > len(text):
        raise binary()
    text = text.translate(CONTROLS)
    if not text.strip("\ufeff \t\r\n\f"):
        raise Rejected("empty", "the note has no text", "Check the export.")
    return text, mark(data)[1]


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
        key = KEYS.get(plain(match[1])) if match else None
        if match is None or (count == 0 and key is None) or count == 40:
            break
        if key:
            put(found, key, match[2].strip())
        else:
            kept.append(line)
    return {}, text


def _body(text: str) -> str:
    if not text.strip():
        raise Rejected("empty", "the note has a header but no text", "Check the export.")
    return text
