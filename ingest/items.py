"""The items of a DICOM sequence and the elements in them, found without reading their values."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from db.errors import Rejected
from ingest.standard import LONG_VRS, UNDEFINED
from ingest.walk import DEPTH_LIMIT, ITEM, ITEM_END, SEQUENCE_END

STEPS = 100_000  #: elements and items gone through in one sequence


class Items:
    """A sequence's bytes, gone through item by item and element by element, within STEPS."""

    def __init__(self, data: bytes, *, explicit: bool, little: bool) -> None:
        self.data = data
        sign = "<" if little else ">"
        self._head, self._short = struct.Struct(f"{sign}HHL"), struct.Struct(f"{sign}H")
        self._long = struct.Struct(f"{sign}L")
        self.explicit = explicit
        self._count = 0

    def top(self) -> list[tuple[int, int]]:
        """Where the items of the sequence that the bytes begin with lie."""
        _, vr, begins, length = self._element(0)
        if vr == b"UN":
            self.explicit = False  # PS3.5 6.2.2: the value of an unknown sequence is implicit VR
        return self._items(begins, length, 0)[0]

    def elements(self, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Of each element in an item: tag, where it starts, where its value begins and where that ends."""
        while position + 8 <= end:
            start = position
            tag, vr, begins, length = self._element(position)
            if tag == ITEM_END:
                return
            position = self._past(vr, begins, length, 0)
            if position > end:
                raise _malformed("an element of the sequence does not end within its item")
            yield tag, start, begins, position

    def _take(self, form: struct.Struct, position: int) -> tuple[int, ...]:
        self._count += 1
        if self._count > STEPS or position + form.size > len(self.data):
            raise _malformed("the sequence does not hold together")
        return form.unpack_from(self.data, position)

    def _element(self, position: int) -> tuple[int, bytes, int, int]:
        """Tag, VR, where the value begins and its declared length."""
        group, element, length = self._take(self._head, position)
        tag, vr = group << 16 | element, self.data[position + 4 : position + 6]
        if not self.explicit or tag in (ITEM, ITEM_END, SEQUENCE_END):
            return tag, b"", position + 8, length
        if vr in LONG_VRS:
            return tag, vr, position + 12, self._take(self._long, position + 8)[0]
        return tag, vr, position + 8, self._take(self._short, position + 6)[0]

    def _past(self, vr: bytes, begins: int, length: int, depth: int) -> int:
        """Where a value ends."""
        if length != UNDEFINED:
            return begins + length
        if vr not in (b"", b"SQ", b"UN") or depth > DEPTH_LIMIT:
            raise _malformed("the sequence has a value without an end")
        return self._items(begins, length, depth + 1)[1]

    def _items(self, position: int, length: int, depth: int) -> tuple[list[tuple[int, int]], int]:
        """Where the items of a sequence lie, and where it ends."""
        found: list[tuple[int, int]] = []
        end = len(self.data) if length == UNDEFINED else min(position + length, len(self.data))
        while position + 8 <= end:
            tag, _, begins, size = self._element(position)
            if tag == SEQUENCE_END:
                return found, position + 8
            if tag != ITEM:
                raise _malformed("the sequence has something other than an item in it")
            stop = begins + size if size != UNDEFINED else self._item_end(begins, depth)
            if stop > end:
                raise _malformed("an item of the sequence does not end within it")
            found.append((begins, stop))
            position = stop
        return found, position

    def _item_end(self, position: int, depth: int) -> int:
        """Past the delimiter of an item of undefined length."""
        while True:
            tag, vr, begins, length = self._element(position)
            if tag == ITEM_END:
                return position + 8
            position = self._past(vr, begins, length, depth)


def _malformed(sentence: str) -> Rejected:
    return Rejected("malformed", sentence, "Validate the file (dciodvfy) and export it again.")
