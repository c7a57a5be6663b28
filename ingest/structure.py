"""A DICOM file's structure: whether it is whole, what it lacks, and where the elements asked for lie."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from db.errors import Rejected
from ingest.standard import DICOMDIR, UNDEFINED, is_image_class, last_required, plausible
from ingest.streams import File, Gap, Inflating
from ingest.walk import Walk, shown


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What the walk found; nothing in it is a patient's."""

    gap: str | None = None  #: what is missing or wrong, as a sentence; None: the file is whole
    complete: bool = False  #: every element's declared bytes are there, whatever `gap` says of the object
    fault: Rejected | None = None  #: why waiting cannot help
    transfer_syntax: str = ""  #: TransferSyntaxUID; "" when there is no file meta information
    sop_class: str = ""
    last: int = 0  #: greatest tag at the top level
    pixels: int = 0  #: tag of the pixel data element, 0 when there is none or it is empty
    image: bool = False  #: the SOP class, or Rows, says that there must be pixel data
    body: int = 0  #: where the main data set begins in the file
    explicit: bool = True  #: the main data set's VRs are written out
    little: bool = True  #: its byte order
    ranges: tuple[tuple[int, int, int], ...] = ()  #: (tag, start, end) of the elements asked for
    frame_group: tuple[int, int] | None = None  #: where the middle frame's functional groups lie

    @property
    def deflated(self) -> bool:
        """Whether the main data set is deflated."""
        return self.transfer_syntax == DeflatedExplicitVRLittleEndian


def walk(file: BinaryIO, wanted: frozenset[int] = frozenset()) -> Structure:
    """The structure of a DICOM file, and where the wanted top-level elements lie in its main data set.

    Time is bounded by ELEMENT_LIMIT, memory by 64 KiB whatever the file declares, depth by DEPTH_LIMIT.
    A file cut exactly between two elements is told by what its kind of object must still hold.
    """
    stream = File(file)
    if (head := stream.take(132))[128:] != b"DICM":
        stream.seek(0)
        if not plausible(head):
            return Structure(gap="the 132 bytes that begin a DICOM file are not there")
    steps = Walk(stream, wanted)
    complete, gap, fault, body = False, None, None, 0
    try:
        steps.meta()
        body = stream.position
        steps = _body(steps, file, steps.text(0x00020010))
        complete = True
        gap = _owed(steps)
    except Gap as met:
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
        pixels=steps.pixels if steps.pixel_bytes else 0,
        image=_is_image(steps),
        body=body,
        explicit=steps.explicit,
        little=steps.sign == "<",
        ranges=tuple(steps.ranges),
        frame_group=steps.frame_group,
    )


def opened(file: BinaryIO, structure: Structure) -> BinaryIO:
    """What a DICOM library may parse: the file itself, or its data set inflated within INFLATED_LIMIT."""
    if not structure.deflated:
        file.seek(0)
        return file
    stream, inflated = Inflating(file, structure.body), BytesIO()
    while chunk := stream.take(1 << 16):
        inflated.write(chunk)
    inflated.seek(0)
    return inflated


def _body(meta: Walk, file: BinaryIO, syntax: str) -> Walk:
    """Walks the main data set in the encoding that its meta information, else its first element, tells."""
    stream = meta.stream
    steps = meta
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = Inflating(file, stream.position)
        steps = Walk(stream, meta.wanted)
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


def _sop_class(steps: Walk) -> str:
    return steps.text(0x00080016) or steps.text(0x00020002)


def _is_image(steps: Walk) -> bool:
    return is_image_class(_sop_class(steps)) or (0x00280010 in steps.values and 0x00280011 in steps.values)


def _owed(steps: Walk) -> str | None:
    """What an object whose elements are all complete still lacks at its end."""
    if steps.pixels and steps.pixel_bytes:
        return _short_pixels(steps)
    sop_class = _sop_class(steps)
    if sop_class != DICOMDIR and steps.last < 0x0020000E:
        return f"the data set ends after {shown(steps.last)}, before SeriesInstanceUID (0020,000E)"
    if _is_image(steps):
        return None if steps.last > 0x7FE00010 else "the data set ends before its pixel data (7FE0,0010)"
    if steps.last < (last := last_required(sop_class)):
        return f"the data set ends after {shown(steps.last)}, before {shown(last)}"
    return None


def _short_pixels(steps: Walk) -> str | None:
    """Native pixel data hold Rows x Columns x samples x frames (PS3.5 8.1.1)."""
    if steps.pixel_bytes == UNDEFINED:
        return None
    samples = 2 if steps.text(0x00280004) == "YBR_FULL_422" else steps.number(0x00280002, 1)
    cells = steps.number(0x00280010, 0) * steps.number(0x00280011, 0) * samples * steps.frames()
    needed = (cells * steps.number(0x00280100, 8) + 7) // 8
    if steps.pixel_bytes < needed:
        return f"the pixel data are {steps.pixel_bytes} bytes, rows x columns x frames need {needed}"
    return None
