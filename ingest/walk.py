"""A walk over a DICOM file's elements to their declared ends, reading no values but the few that it needs."""

from __future__ import annotations

import struct

from db.errors import Rejected
from ingest.standard import LONG_VRS, UNDEFINED
from ingest.streams import File, Gap, too_large

DEPTH_LIMIT = 64  #: sequences within sequences
ELEMENT_LIMIT = 2_000_000  #: elements and items walked in one file

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PER_FRAME = 0x52009230  # PerFrameFunctionalGroupsSequence
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_KEPT = frozenset(
    (
        *(0x00020002, 0x00020010, 0x00080016, 0x00080018, 0x00280002, 0x00280004),
        *(0x00280008, 0x00280010, 0x00280011, 0x00280100),
    )
)


def shown(tag: int) -> str:
    """A tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Walk:
    """One file's walk: a forward reader, the byte order in force and what the top level told."""

    def __init__(self, stream: File, wanted: frozenset[int]) -> None:
        self.stream = stream
        self.wanted = wanted
        self.ranges: list[tuple[int, int, int]] = []
        self.frame_group: tuple[int, int] | None = None
        self.explicit = True
        self.values: dict[int, bytes] = {}
        self.last = 0
        self.pixels = 0
        self.pixel_bytes = 0  #: declared length of native pixel data
        self._count = 0
        self.order("<")

    def order(self, sign: str) -> None:
        """Little (`<`) or big (`>`) endian from here on."""
        self.sign = sign
        self._head = struct.Struct(f"{sign}HHL").unpack
        self._short = struct.Struct(f"{sign}H").unpack_from
        self._long = struct.Struct(f"{sign}L").unpack

    def _step(self) -> None:
        self._count += 1
        if self._count > ELEMENT_LIMIT:
            raise too_large(f"the file has more than {ELEMENT_LIMIT} elements")

    def meta(self) -> None:
        """The file meta information: group 0002, explicit VR little endian; stops before the rest."""
        while True:
            start = self.stream.position
            head = self.stream.take(8)
            if head[:2] != b"\x02\x00":
                self.stream.seek(start)
                return
            if len(head) < 8:
                raise Gap("the file ends inside its file meta information")
            self._element(head, True, 0)

    def data_set(self, explicit: bool, depth: int) -> None:
        """The main data set to the end of the file, or an item's to its delimiter."""
        if depth > DEPTH_LIMIT:
            raise Rejected(
                "malformed", f"sequences are nested deeper than {DEPTH_LIMIT}", "Export the file again."
            )
        first = True
        while True:
            head = self.stream.take(8)
            if len(head) < 8 or (depth == 0 and head == bytes(8)):
                self._end(head, depth)
                return
            if first and (explicit or depth == 0):
                # writers err about this, inside sequences above all; pydicom decides by the letters too
                explicit = head[4:6].isalpha() and head[4:6].isupper()
                first = False
            if depth == 0:
                self.explicit = explicit
            if self._element(head, explicit, depth) == ITEM_END and depth:
                return

    def _end(self, head: bytes, depth: int) -> None:
        """Only zero padding may stand where the next element would."""
        if depth:
            raise Gap("the file ends inside a sequence item of undefined length")
        while head:
            if any(head):
                raise Gap(f"the file ends inside the element after {shown(self.last)}")
            head = self.stream.take(1 << 16)

    def _element(self, head: bytes, explicit: bool, depth: int) -> int:
        self._count += 1
        if self._count > ELEMENT_LIMIT:
            self._step()
        start = self.stream.position - 8
        group, element, length = self._head(head)
        tag: int = group << 16 | element
        if tag == ITEM_END:
            return tag
        vr = head[4:6] if explicit and b"AA" <= head[4:6] <= b"ZZ" else b""
        if vr in LONG_VRS:
            length = self._length(tag)
        elif vr:
            (length,) = self._short(head, 6)
        if depth == 0 and tag < ITEM:  # a stray item is no element
            self.last = max(self.last, tag)
            if tag in PIXELS:
                self.pixels, self.pixel_bytes = tag, length
        if length == UNDEFINED or tag in _KEPT or tag == PER_FRAME:
            self._value(tag, vr, length, explicit, depth)
        elif (there := self.stream.skip(length)) < length:
            raise Gap(f"element {shown(tag)} declares {length} bytes, {there} are there")
        if depth == 0 and tag in self.wanted and tag != PER_FRAME:
            self.ranges.append((tag, start, self.stream.position))
        return tag

    def _value(self, tag: int, vr: bytes, length: int, explicit: bool, depth: int) -> None:
        """Passes over an element's value, keeping the few that the walk itself needs."""
        if tag == PER_FRAME and depth == 0 and tag in self.wanted:
            self._per_frame(length, explicit)
        elif length == UNDEFINED:
            self._undefined(tag, vr, explicit, depth)
        elif depth == 0 and tag in _KEPT and length <= 128:
            self.values[tag] = self._exactly(tag, length)
        elif (there := self.stream.skip(length)) < length:
            raise Gap(f"element {shown(tag)} declares {length} bytes, {there} are there")

    def _exactly(self, tag: int, length: int) -> bytes:
        data = self.stream.take(length)
        if len(data) < length:
            raise Gap(f"element {shown(tag)} declares {length} bytes, {len(data)} are there")
        return data

    def _length(self, tag: int) -> int:
        data = self.stream.take(4)
        if len(data) < 4:
            raise Gap(f"the file ends inside the header of element {shown(tag)}")
        length: int = self._long(data)[0]
        return length

    def _undefined(self, tag: int, vr: bytes, explicit: bool, depth: int) -> None:
        """Items to their delimiter: of a sequence, or the fragments of encapsulated pixel data."""
        sequence = vr in (b"SQ", b"UN") or (not vr and tag not in PIXELS)
        while True:
            self._step()
            head = self.stream.take(8)
            if len(head) < 8:
                raise Gap(f"element {shown(tag)} does not reach its delimiter")
            group, element, length = self._head(head)
            item = group << 16 | element
            if item == SEQUENCE_END:
                return
            if item != ITEM or (length == UNDEFINED and not sequence):
                raise Gap(f"element {shown(tag)} has something other than an item in it")
            if length == UNDEFINED:
                self.data_set(explicit, depth + 1)
            else:
                there = self.stream.skip(length)
                if there < length:
                    raise Gap(f"an item of {shown(tag)} declares {length} bytes, {there} are there")

    def _per_frame(self, length: int, explicit: bool) -> None:
        """Finds the middle frame's item among those of all frames, which may be hundreds of thousands."""
        end = None if length == UNDEFINED else self.stream.position + length
        number, middle = 0, self.frames() // 2
        while end is None or self.stream.position < end:
            self._step()
            head = self.stream.take(8)
            if len(head) < 8:
                raise Gap(f"element {shown(PER_FRAME)} does not reach its end")
            group, element, size = self._head(head)
            if group << 16 | element == SEQUENCE_END:
                return
            start = self.stream.position
            if size == UNDEFINED:
                self.data_set(explicit, 1)
            elif self.stream.skip(size) < size:
                raise Gap(f"an item of {shown(PER_FRAME)} does not reach its end")
            if number == middle:
                self.frame_group = (start, self.stream.position - (8 if size == UNDEFINED else 0))
            number += 1

    def frames(self) -> int:
        """NumberOfFrames, 1 when it is absent or no number."""
        return int(text) if (text := self.text(0x00280008)).isdecimal() else 1

    def text(self, tag: int) -> str:
        """A kept value as text."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0")

    def number(self, tag: int, absent: int) -> int:
        """A kept unsigned short."""
        value = self.values.get(tag, b"")
        return int(self._short(value)[0]) if len(value) >= 2 else absent
