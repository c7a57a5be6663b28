"""Bytes as text for the readers: UTF-8, or UTF-16/32 by its mark; nothing is guessed."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db.errors import Rejected

_BOMS = (  # UTF-32 before UTF-16, whose little-endian mark it begins with
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

#: the control characters that are no layout become spaces: one for one, so that offsets hold
CONTROLS = {code: " " for code in (*range(0x20), 0x7F) if chr(code) not in "\t\n\r\f"}


def loaded(path: Path, limit: int) -> bytes:
    """The file's bytes. Raises Rejected (`too-large` beyond `limit` bytes, `empty`) and OSError."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    return bounded(data, limit)


def bounded(data: bytes, limit: int) -> bytes:
    """The same bytes. Raises Rejected (`too-large` beyond `limit`, `empty`)."""
    if len(data) > limit:
        raise Rejected(
            "too-large", f"the file has more than {limit >> 20} MiB", "Split it, or check the export."
        )
    if not data.strip(b" \t\r\n\f\x0b\x1c\xef\xbb\xbf"):
        raise Rejected("empty", "the file holds nothing but white space", "Check the export.")
    return data


def mark(data: bytes) -> tuple[bytes, str]:
    """The byte order mark that the text begins with, and its encoding; none is UTF-8."""
    return next(((bom, name) for bom, name in _BOMS if data.startswith(bom)), (b"", "utf-8"))


def decoded(data: bytes) -> str:
    """The text, without its mark. Raises Rejected (`binary`, `undecodable-text`)."""
    bom, encoding = mark(data)
    try:
        text = data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in data and not bom:
            raise binary() from None
        raise Rejected(
            "undecodable-text",
            f"the text is not {encoding.upper()} at byte {error.start + len(bom)}",
            "Export it as UTF-8; wetread never guesses a code page, because it would change words.",
        ) from None
    if "\0" in text:
        raise binary()
    return text


def json_document(text: str, hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """A JSON document. Raises Rejected (`truncated`, `malformed`), naming line and column alone."""
    try:
        return json.loads(text, object_pairs_hook=hook)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        raise Rejected(
            "truncated" if cut else "malformed",
            f"the JSON document {'ends' if cut else 'cannot be parsed'} at line {error.lineno}, "
            f"column {error.colno}",
            "Send the whole file again." if cut else "Export it again as JSON (RFC 8259).",
        ) from None
    except (ValueError, RecursionError):
        raise Rejected(
            "malformed", "the JSON document is nested too deeply, or holds an endless number",
            "Export it again; see docs/inputs.md.",
        ) from None  # fmt: skip


def clean(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can write and no other encoding can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def brief(text: str) -> str:
    """A name or number as it is kept: without control characters and outer blanks, at most 256 characters."""
    return clean(text).translate(CONTROLS).strip()[:256]


def binary() -> Rejected:
    """The refusal of what is no text."""
    return Rejected("binary", "the file is named like a text but holds binary data", "Check the export.")


def last(path: Path) -> bytes:
    """What a file ends with, but for white space: up to 64 bytes of its last 4 KiB."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().rstrip(b" \t\r\n\x1c\x0b\0")[-64:]
