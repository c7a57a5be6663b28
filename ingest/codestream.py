"""What a compressed frame says of itself: how large it is, and whether it is whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_SIZ = b"\xff\x4f\xff\x51"  #: how a JPEG 2000 codestream begins
_JP2 = b"\0\0\0\x0cjP  "  #: how a JP2 file begins
_DHT, _SOS, _DRI = 0xC4, 0xDA, 0xDD


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """A JPEG frame of one scan, unbroken from its start to its end (ISO 10918-1 B.2)."""

    process: int  #: its start-of-frame marker's second byte: C0 baseline, C1 extended, C3 lossless
    precision: int  #: bits a sample
    shape: tuple[int, int]  #: lines, samples a line
    components: int
    tables: dict[int, bytes]  #: each Huffman table for DC or lossless: 16 counts, then the symbols
    scan: bytes  #: its scan header, from the number of components on
    restarts: bool  #: whether it restarts along the way
    coded: bytes  #: the entropy-coded data, stuffing included
    stuffed: int  #: zero bytes stuffed into them


def extents(frame: bytes) -> Iterator[tuple[int, int]]:
    """(height, width) that a JPEG, JPEG-LS or JPEG 2000 frame declares for itself."""
    at = frame.find(_SIZ, 0, 4096)
    if at >= 0 and len(frame) >= at + 24:
        # ISO 15444-1 A.5.1, SIZ: the image lies in its grid from (x0, y0) on
        right, lower, x0, y0 = struct.unpack_from(">LLLL", frame, at + 8)
        yield lower - y0, right - x0
        return
    for marker, start, _ in _segments(frame):
        if _is_start(marker) and len(frame) >= start + 6:
            yield _start_of_frame(frame, start)[1]
            return


def endless(frame: bytes) -> bool:
    """Whether a JP2 file's boxes never come to the picture: pydicom would step over an empty box for ever."""
    if not frame.startswith(_JP2):
        return False
    at = 12
    while at < len(frame) and frame[at + 4 : at + 8] != b"jp2c":
        length = int.from_bytes(frame[at : at + 4], "big")
        if length == 0:
            return True
        at += length
    return False


def whole_jpeg(frame: bytes) -> Jpeg | None:
    """The frame taken apart; None where it is cut short, broken, or of several scans.

    Decoders fill up what is missing with grey, and some do not say so.
    """
    starts, tables, interval, scan, coded_from = [], dict[int, bytes](), 0, b"", 0
    for marker, start, end in _segments(frame):
        if end > len(frame) or end < start or _odd(marker, frame[start : start + 6]):
            return None
        if _is_start(marker):
            starts.append((marker, start))
        elif marker == _DHT:
            tables.update(_tables(frame[start:end]))
        elif marker == _DRI:
            interval = int.from_bytes(frame[start:end], "big")
        elif marker == _SOS:
            scan, coded_from = frame[start:end], end
    close = frame.rfind(b"\xff\xd9", coded_from)
    if len(starts) != 1 or not scan or close < 0 or frame[close + 3 :].strip(b"\0"):
        return None  # some fill up to an even length with another byte than zero
    marker, start = starts[0]
    precision, shape, components = _start_of_frame(frame, start)
    coded = frame[coded_from:close].rstrip(b"\xff")  # a marker may be preceded by fill bytes
    octets = np.frombuffer(coded, np.uint8)
    following = octets[np.flatnonzero(octets == 0xFF) + 1]
    marks = following[following != 0]  # after a stuffed byte stands a zero
    if scan[0] != components or not np.array_equal(marks, 0xD0 + np.arange(len(marks)) % 8):
        return None
    return Jpeg(
        process=marker, precision=precision, shape=shape, components=components, tables=tables, scan=scan,
        restarts=bool(interval or len(marks)), coded=coded,
        stuffed=len(following) - len(marks),
    )  # fmt: skip


def _is_start(marker: int) -> bool:
    """ISO 10918-1 B.1.1.3, and F7 of JPEG-LS."""
    return (0xC0 <= marker <= 0xCF and marker not in (_DHT, 0xC8, 0xCC)) or marker == 0xF7


def _odd(marker: int, parameters: bytes) -> bool:
    """What other decoders stop at: a marker that begins no segment, a version of JFIF that there is not."""
    alone = marker < 0xC0 or 0xD0 <= marker <= 0xD9
    return alone or (marker == 0xE0 and parameters[:5] == b"JFIF\0" and parameters[5:] != b"\1")


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker segment up to the first scan: its marker, where its parameters begin and end."""
    at = 2 if frame[:2] == b"\xff\xd8" else len(frame)
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        yield marker, at + 4, at + 2 + length
        if marker == _SOS:
            return
        at += 2 + max(length, 2)


def _start_of_frame(frame: bytes, start: int) -> tuple[int, tuple[int, int], int]:
    """ISO 10918-1 B.2.2: precision, (lines, samples a line), components."""
    precision, height, width, components = struct.unpack_from(">BHHB", frame, start)
    return precision, (height, width), components


def _tables(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """ISO 10918-1 B.2.4.2: several tables may stand in one segment; those for AC are passed over."""
    at = 0
    while at + 17 <= len(segment):
        end = at + 17 + sum(segment[at + 1 : at + 17])
        if segment[at] >> 4 == 0:
            yield segment[at] & 15, segment[at + 1 : end]
        at = end
