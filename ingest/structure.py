"""A DICOM file's structure, walked element by element to its declared end without reading values."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.config import IGNORE
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from db.errors import Rejected

INFLATED_LIMIT = 256 * 2**20  #: bytes a deflated data set may grow to
DEPTH_LIMIT = 64  #: sequences within sequences
ELEMENT_LIMIT = 2_000_000  #: elements and items walked in one file

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
DICOMDIR = "1.2.840.10008.1.3.10"

# PS3.5 table 6.2-1 and 7.1.2: these VRs have two reserved bytes and a 32-bit length
LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
VRS = LONG_VRS | SHORT_VRS

# Where objects without pixels end at the earliest: a required (or the only meaningful) last module.
_LAST: tuple[tuple[str, int], ...] = (
    ("1.2.840.10008.5.1.4.1.1.88.", 0x0040A730),  # structured reports: ContentSequence
    ("1.2.840.10008.5.1.4.1.1.11.", 0x00700082),  # presentation states: PresentationCreationDate
    ("1.2.840.10008.5.1.4.1.1.481.3", 0x30060080),  # RT structure set: RTROIObservationsSequence
    ("1.2.840.10008.5.1.4.1.1.481.5", 0x300A0002),  # RT plan: RTPlanLabel
    ("1.2.840.10008.5.1.4.1.1.9.", 0x54000100),  # waveforms: WaveformSequence
    ("1.2.840.10008.5.1.4.1.1.104.", 0x00420011),  # encapsulated documents: EncapsulatedDocument
    (DICOMDIR, 0x00041220),  # DirectoryRecordSequence
)
_IMAGE = re.compile(r"Image Storage|(?<!Surface )Segmentation Storage|Parametric Map Storage")
_KEPT = frozenset(
    (
        *(0x00020002, 0x00020010, 0x00080016, 0x00080018, 0x00280002, 0x00280004),
        *(0x00280008, 0x00280010, 0x00280011, 0x00280100),
    )
)


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What the walk found; nothing in it is a patient's."""

    gap: str | None = None  #: what is missing or wrong, as a sentence; None: the file is whole
    complete: bool = False  #: every element's declared bytes are there, whatever `gap` says of the object
    fault: Rejected | None = None  #: why waiting cannot help
    transfer_syntax: str = ""  #: TransferSyntaxUID; "" when there is no file meta information
    sop_class: str = ""
    last: int = 0  #: greatest tag at the top level
    pixels: int = 0  #: tag of the pixel data element, 0 when there is none
    image: bool = False  #: the SOP class, or Rows, says that there must be pixel data
    body: int = 0  #: where the main data set begins in the file

    @property
    def deflated(self) -> bool:
        """Whether the main data set is deflated."""
        return self.transfer_syntax == DeflatedExplicitVRLittleEndian


class _Gap(Exception):  # noqa: N818 - control flow: the bytes end before their declared end
    pass


class _File:
    """Bytes taken or skipped in order from a seekable stream."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        self.seek(0)

    def seek(self, position: int) -> None:
        self._file.seek(position)
        self.position = position

    def take(self, count: int) -> bytes:
        data = self._file.read(count)
        self.position += len(data)
        return data

    def skip(self, count: int) -> int:
        """How many of the bytes were there."""
        there = min(count, self._size - self.position)
        self.seek(self.position + there)
        return there

    def finish(self) -> None:
        """Raises _Gap when the stream itself has not come to its end."""


class _Inflating(_File):
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
            raise _Gap("the deflated data set is damaged") from None
        self._grown += len(fresh)
        if self._grown > INFLATED_LIMIT:
            raise too_large(f"the deflated data set grows beyond {INFLATED_LIMIT >> 20} MiB")
        self._ready += fresh
        return bool(packed)

    def take(self, count: int) -> bytes:
        while len(self._ready) < count and self._more():
            pass
        data, self._ready = self._ready[:count], self._ready[count:]
        self.position += len(data)
        return data

    def skip(self, count: int) -> int:
        left = count
        while left:
            if not self._ready and not self._more():
                break
            step = min(left, len(self._ready))
            self._ready, left = self._ready[step:], left - step
        self.position += count - left
        return count - left

    def finish(self) -> None:
        while self._more():
            self._ready = b""
        if not self._engine.eof:
            raise _Gap("the deflated data set has not reached its end")


def uid_name(uid: str) -> str:
    """The standard's name of a UID; "" for a private one, and for what is no UID."""
    name = UID(uid, IGNORE).name  # validation would warn, and quote it
    return "" if name == uid else name


def too_large(sentence: str) -> Rejected:
    """The refusal of something that would take too much memory or time."""
    return Rejected("too-large", sentence, "Check how the file was made; export it again if it is genuine.")


def _tag(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class _Walk:
    """One file's walk: a forward reader, the byte order in force and what the top level told."""

    def __init__(self, stream: _File) -> None:
        self.stream = stream
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
                raise _Gap("the file ends inside its file meta information")
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
            if self._element(head, explicit, depth) == ITEM_END and depth:
                return

    def _end(self, head: bytes, depth: int) -> None:
        """Only zero padding may stand where the next element would."""
        if depth:
            raise _Gap("the file ends inside a sequence item of undefined length")
        while head:
            if any(head):
                raise _Gap(f"the file ends inside the element after {_tag(self.last)}")
            head = self.stream.take(1 << 16)

    def _element(self, head: bytes, explicit: bool, depth: int) -> int:
        self._step()
        group, element, length = self._head(head)
        tag: int = group << 16 | element
        if tag == ITEM_END:
            return tag
        vr = head[4:6]
        if explicit and b"AA" <= vr <= b"ZZ":
            if vr in LONG_VRS:
                length = self._length(tag)
            else:
                (length,) = self._short(head, 6)
        else:
            vr = b""
        if depth == 0:
            self.last = max(self.last, tag)
            if tag in PIXELS:
                self.pixels, self.pixel_bytes = tag, length
        if length == UNDEFINED:
            self._undefined(tag, vr, explicit, depth)
        elif depth == 0 and tag in _KEPT and length <= 128:
            self.values[tag] = self._exactly(tag, length)
        else:
            there = self.stream.skip(length)
            if there < length:
                raise _Gap(f"element {_tag(tag)} declares {length} bytes, {there} are there")
        return tag

    def _exactly(self, tag: int, length: int) -> bytes:
        data = self.stream.take(length)
        if len(data) < length:
            raise _Gap(f"element {_tag(tag)} declares {length} bytes, {len(data)} are there")
        return data

    def _length(self, tag: int) -> int:
        data = self.stream.take(4)
        if len(data) < 4:
            raise _Gap(f"the file ends inside the header of element {_tag(tag)}")
        length: int = self._long(data)[0]
        return length

    def _undefined(self, tag: int, vr: bytes, explicit: bool, depth: int) -> None:
        """Items to their delimiter: of a sequence, or the fragments of encapsulated pixel data."""
        sequence = vr in (b"SQ", b"UN") or (not vr and tag not in PIXELS)
        while True:
            self._step()
            head = self.stream.take(8)
            if len(head) < 8:
                raise _Gap(f"element {_tag(tag)} does not reach its delimiter")
            group, element, length = self._head(head)
            item = group << 16 | element
            if item == SEQUENCE_END:
                return
            if item != ITEM or (length == UNDEFINED and not sequence):
                raise _Gap(f"element {_tag(tag)} has something other than an item in it")
            if length == UNDEFINED:
                self.data_set(explicit, depth + 1)
            else:
                there = self.stream.skip(length)
                if there < length:
                    raise _Gap(f"an item of {_tag(tag)} declares {length} bytes, {there} are there")

    def text(self, tag: int) -> str:
        """A kept value as text."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0")

    def number(self, tag: int, absent: int) -> int:
        """A kept unsigned short."""
        value = self.values.get(tag, b"")
        return int(self._short(value)[0]) if len(value) >= 2 else absent


def walk(file: BinaryIO) -> Structure:
    """The structure of a DICOM file.

    Time is bounded by ELEMENT_LIMIT, memory by 64 KiB whatever the file declares, depth by DEPTH_LIMIT.
    A file cut exactly between two elements is told by what its kind of object must still hold.
    """
    stream = _File(file)
    if (head := stream.take(132))[128:] != b"DICM":
        stream.seek(0)
        if not plausible(head):
            return Structure(gap="the 132 bytes that begin a DICOM file are not there")
    steps = _Walk(stream)
    complete, gap, fault, body = False, None, None, 0
    try:
        steps.meta()
        body = stream.position
        steps = _body(steps, file, steps.text(0x00020010))
        complete = True
        gap = _owed(steps)
    except _Gap as met:
        gap = str(met)
    except Rejected as met:
        fault = met
    return Structure(
        gap=gap,
        complete=complete,
        fault=fault,
        transfer_syntax=steps.text(0x00020010),
        sop_class=_sop_class(steps),
        last=steps.last,
        pixels=steps.pixels,
        image=_is_image(steps),
        body=body,
    )


def opened(file: BinaryIO, structure: Structure) -> BinaryIO:
    """What a DICOM library may parse: the file itself, or its data set inflated within INFLATED_LIMIT."""
    if not structure.deflated:
        file.seek(0)
        return file
    stream, inflated = _Inflating(file, structure.body), BytesIO()
    while chunk := stream.take(1 << 16):
        inflated.write(chunk)
    inflated.seek(0)
    return inflated


def _body(meta: _Walk, file: BinaryIO, syntax: str) -> _Walk:
    """Walks the main data set in the encoding that its meta information, else its first element, tells."""
    stream = meta.stream
    steps = meta
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = _Inflating(file, stream.position)
        steps = _Walk(stream)
        steps.values.update(meta.values)
    steps.last = 0
    if syntax == ExplicitVRBigEndian:
        steps.order(">")
    elif not syntax:
        start = stream.position
        head = stream.take(8)
        stream.seek(start)
        steps.order(">" if head[:1] == b"\0" and head[1:2] != b"\0" else "<")
    steps.data_set(syntax != ImplicitVRLittleEndian, 0)
    stream.finish()
    return steps


def _sop_class(steps: _Walk) -> str:
    return steps.text(0x00080016) or steps.text(0x00020002)


def _is_image(steps: _Walk) -> bool:
    by_class = _IMAGE.search(uid_name(_sop_class(steps))) is not None
    return by_class or (0x00280010 in steps.values and 0x00280011 in steps.values)


def _owed(steps: _Walk) -> str | None:
    """What an object whose elements are all complete still lacks at its end."""
    if steps.pixels:
        return _short_pixels(steps)
    sop_class = _sop_class(steps)
    if sop_class != DICOMDIR and steps.last < 0x0020000E:
        return f"the data set ends after {_tag(steps.last)}, before SeriesInstanceUID (0020,000E)"
    if _is_image(steps):
        return None if steps.last > 0x7FE00010 else "the data set ends before its pixel data (7FE0,0010)"
    for prefix, last in _LAST:
        if sop_class.startswith(prefix) and steps.last < last:
            return f"the data set ends after {_tag(steps.last)}, before {_tag(last)}"
    return None


def _short_pixels(steps: _Walk) -> str | None:
    """Native pixel data hold Rows x Columns x samples x frames (PS3.5 8.1.1)."""
    if steps.pixel_bytes == UNDEFINED:
        return None
    frames = int(text) if (text := steps.text(0x00280008)).isdecimal() else 1
    samples = 2 if steps.text(0x00280004) == "YBR_FULL_422" else steps.number(0x00280002, 1)
    cells = steps.number(0x00280010, 0) * steps.number(0x00280011, 0) * samples * frames
    needed = (cells * steps.number(0x00280100, 8) + 7) // 8
    if steps.pixel_bytes < needed:
        return f"the pixel data are {steps.pixel_bytes} bytes, rows x columns x frames need {needed}"
    return None


def plausible(head: bytes) -> bool:
    """Whether bytes without preamble begin like a DICOM data set: two elements of group 0002 or 0008."""
    for sign in "<>":
        following = _element_end(head, 0, sign)
        if following and (following + 8 > len(head) or _element_end(head, following, sign)):
            return True
    return False


def _element_end(head: bytes, start: int, sign: str) -> int:
    """Where the short element of group 0002 or 0008 that begins here would end; 0 when there is none."""
    if len(head) < start + 8:
        return 0
    group, element, length = struct.unpack_from(f"{sign}HHL", head, start)
    if group not in (2, 8) or element > 0x2000 or (group == 2 and element > 0x102):
        return 0
    vr, size = head[start + 4 : start + 6], 8
    if vr in SHORT_VRS:
        (length,) = struct.unpack_from(f"{sign}H", head, start + 6)
    elif vr in LONG_VRS and len(head) >= start + 12:
        (length,), size = struct.unpack_from(f"{sign}L", head, start + 8), 12
    elif length == UNDEFINED:
        return start + size  # an implicit sequence
    if length > 0x10000 or (element == 0 and length != 4):
        return 0
    return int(start + size + length)
