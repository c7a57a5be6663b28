"""Gzip and bgzip files inflated piece by piece, within limits: a bomb is left as soon as it shows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from db.errors import Rejected

MAGIC = b"\x1f\x8b"
END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")  #: bgzip's (SAM 4.1.2)
MEMBERS = 50_000  #: of one file: bgzip's hold 64 KiB each
_FEED = 65_536  # bytes given to zlib at a time: what it does not use is copied


def begins(head: bytes, count: int) -> bytes:
    """The first bytes that a gzip file which begins so inflates to; none when it is no gzip file."""
    try:
        return zlib.decompressobj(31).decompress(head, count)
    except zlib.error:
        return b""


def is_blocked(head: bytes) -> bool:
    """Whether a gzip file that begins so is bgzip's, which has an end marker."""
    return head[12:14] == b"BC"


def ends_marked(path: Path) -> bool:
    """Whether the file ends with bgzip's end marker. Raises OSError."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - len(END)))
        return file.read() == END


def inflated(data: bytes, most: int) -> Iterator[bytes]:
    """A gzip file's content, piece by piece; bgzip's is of many members.

    Raises Rejected (`too-large` beyond `most` bytes or MEMBERS, `truncated`, `malformed`).
    """
    view, position, total, members = memoryview(data), 0, 0, 0
    while any(view[position : position + _FEED]):  # zeros after the last member are padding
        stream, members = zlib.decompressobj(31), members + 1
        if members > MEMBERS:
            raise _too_large(f"the gzip file has more than {MEMBERS} members")
        while not stream.eof:
            fed = view[position : position + _FEED]
            try:
                part = stream.decompress(stream.unconsumed_tail or fed, 1 << 20)
            except zlib.error:
                raise Rejected("malformed", "the gzip stream is damaged", "Send it again.") from None
            if not (fed or part or stream.eof):
                raise Rejected("truncated", "the gzip stream ends before its declared end", "Send it again.")
            total += len(part)
            if total > most:
                raise _too_large(f"the file inflates to more than {most} bytes")
            yield part
            if not stream.unconsumed_tail:
                position += len(fed) - len(stream.unused_data)


def _too_large(sentence: str) -> Rejected:
    return Rejected("too-large", sentence, "Send the part of it that is asked about.")
