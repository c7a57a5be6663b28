"""Bytes taken in order from a file or from its deflated data set, never more than are asked for."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from db.errors import Rejected

INFLATED_LIMIT = 256 * 2**20  #: bytes a deflated data set may grow to


class Gap(Exception):  # noqa: N818 - control flow
    """The bytes end before their declared end, or are not what was declared."""


class File:
    """Bytes taken or skipped in order from a seekable stream."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        self.seek(0)

    def seek(self, position: int) -> None:
        """Back to, or on to, a position."""
        self._file.seek(position)
        self.position = position

    def take(self, count: int) -> bytes:
        """The next bytes, fewer where the stream ends."""
        data = self._file.read(count)
        self.position += len(data)
        return data

    def skip(self, count: int) -> int:
        """How many of the bytes were there."""
        position = self.position + count
        if position > self._size:
            count, position = self._size - self.position, self._size
        self._file.seek(position)
        self.position = position
        return count

    def finish(self) -> None:
        """Raises Gap when the stream itself has not come to its end."""


class Inflating(File):
    """The same over a raw deflate stream (PS3.5 A.5), which may never grow beyond the limit."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        super().__init__(file)
        file.seek(position)
        self.position = 0
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ready = b""
        self._grown = 0

    def _more(self) -> bool:
        """Inflates up to 64 KiB more."""
        if self._engine.eof:
            return False
        packed = self._engine.unconsumed_tail or self._file.read(1 << 16)
        try:
            fresh = self._engine.decompress(packed, 1 << 16) if packed else b""
        except zlib.error:
            raise Gap("the deflated data set is damaged") from None
        self._grown += len(fresh)
        if self._grown > INFLATED_LIMIT:
            raise too_large(f"the deflated data set grows beyond {INFLATED_LIMIT >> 20} MiB")
        self._ready += fresh
        return bool(packed)

    def take(self, count: int) -> bytes:
        """The next inflated bytes, fewer where they end."""
        while len(self._ready) < count and self._more():
            pass
        data, self._ready = self._ready[:count], self._ready[count:]
        self.position += len(data)
        return data

    def skip(self, count: int) -> int:
        """How many of the bytes were there."""
        left = count
        while left:
            if not self._ready and not self._more():
                break
            step = min(left, len(self._ready))
            self._ready, left = self._ready[step:], left - step
        self.position += count - left
        return count - left

    def finish(self) -> None:
        """Raises Gap when the deflated stream has not come to its own end."""
        while self._more():
            self._ready = b""
        if not self._engine.eof:
            raise Gap("the deflated data set has not reached its end")


def too_large(sentence: str) -> Rejected:
    """The refusal of something that would take too much memory or time."""
    return Rejected("too-large", sentence, "Check how the file was made; export it again if it is genuine.")
