"""Files of plain text within a limit: their bytes, and their words without byte order mark."""

from __future__ import annotations

from pathlib import Path

from db.errors import Rejected

_BOM = b"\xef\xbb\xbf"


def load(path: Path, limit: int) -> bytes:
    """The file's bytes. Raises Rejected `too-large` beyond `limit` bytes, and OSError."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Rejected("too-large", f"the file has more than {limit} bytes", "Split it into several.")
    return data


def text(data: bytes, what: str) -> str:
    """The words of `what`, in UTF-8 or ASCII. Raises Rejected `binary`, `undecodable-text`, `empty`."""
    if b"\0" in data:
        raise Rejected("binary", f"{what} should be text, got binary data", "Check the export.")
    try:
        found = data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(
            "undecodable-text", f"{what} should be UTF-8 or ASCII, at byte {error.start} it is neither",
            "Export it as UTF-8.",
        ) from None  # fmt: skip
    if not found.strip():
        raise Rejected("empty", f"{what} holds nothing", "Check the export.")
    return found


def line(data: bytes, number: int) -> str:
    """One line's words, without its end. Raises Rejected `binary`, `undecodable-text` with its number."""
    if b"\0" in data:
        raise Rejected("binary", f"line {number} should be text, got binary data", "Check the export.")
    try:
        return data.rstrip(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected(
            "undecodable-text", f"line {number} is neither UTF-8 nor ASCII", "Export the file as UTF-8."
        ) from None


def is_text(head: bytes) -> bool:
    """Whether a file that begins so may be plain text."""
    return b"\0" not in head
