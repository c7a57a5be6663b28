"""DICOM objects, with or without a preamble and in any transfer syntax, become images and documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, overload

from blake3 import blake3
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import display, frames, header, waveform
from ingest.elements import code_string, integer, numbers, tags, value
from ingest.quiet import quiet
from ingest.standard import DICOMDIR, plausible
from ingest.streams import too_large
from ingest.structure import Structure, opened, walk
from ingest.walk import PIXELS
from models.payloads import Image, Recording

SUFFIXES = frozenset((".dcm", ".dicom", ".dic", ".ima"))  #: what a file that should be DICOM is named

_NATIVE = ("", ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
_AGAIN = "Send the file again from its source and compare the sizes."

#: what is parsed of an element, but for pixel data: look-up tables are the longest
ELEMENT_BYTES = 512 * 2**10
DIRECTORY_BYTES = 32 * 2**20  #: of a DICOMDIR's records: some hundred thousand
_FILE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # PS3.10 8.2 allows eight of A-Z 0-9 _; media are laxer

_BULK = PIXELS | {waveform.SEQUENCE}  # found, and left where they are until they are asked for

_PIXEL_DESCRIPTION = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "PlanarConfiguration"),
)
#: what an image is made of, and what it is said to show
IMAGE_TAGS = tags(
    *("Modality", "BodyPartExamined", "ViewPosition", "AnatomicRegionSequence", "ViewCodeSequence"),
    *("PixelSpacing", "ImagerPixelSpacing", "BurnedInAnnotation", "PresentationLUTShape"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "SmallestImagePixelValue", "LargestImagePixelValue"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(f"{hue}PaletteColorLookupTableDescriptor" for hue in ("Red", "Green", "Blue", "Alpha")),
    *(f"{hue}PaletteColorLookupTableData" for hue in ("Red", "Green", "Blue", "Alpha")),
    *(f"Segmented{hue}PaletteColorLookupTableData" for hue in ("Red", "Green", "Blue", "Alpha")),
    *("PaletteColorLookupTableUID", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("FloatPixelData", "DoubleFloatPixelData", "PixelData"),
)


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file with these first bytes is DICOM; the suffix is no evidence."""
    return head[128:132] == b"DICM" or plausible(head)


def whole(path: Path) -> str | None:
    """None when the file has reached its declared end, else what is missing.

    Also None when more bytes could not mend it (a bomb, too deep a nesting): `read` says why.
    Raises OSError.
    """
    with path.open("rb") as file:
        return walk(file).gap


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """The file's identifiers and facts; pixel values are not read.

    sidecar, parts: not asked; a DICOM object says itself whose it is.

    Raises Rejected (`not-dicom`, `truncated`, `no-sop-instance-uid`, `bad-uid`, `no-pixels`,
    `dicomdir`, `malformed`, `too-large`, `unsupported-transfer-syntax`; of an ECG also as
    `waveform.recording`) and OSError.
    """
    with path.open("rb") as file:
        if not claims(file.read(4096), path.suffix.lower()):
            raise Rejected("not-dicom", "the file does not begin like a DICOM file", "Export it as DICOM.")
        structure = walk(file, header.TAGS | _BULK)
        if structure.fault:
            raise structure.fault
        if structure.sop_class == DICOMDIR:
            raise Rejected("dicomdir", "this is a DICOMDIR, an index of other files", "Send those files.")
        _refuse_incomplete(structure)
        with guarded("the data set could not be parsed"):
            source = opened(file, structure)
            ds, _ = _parse(source, structure, without=_BULK)
            if waveform.is_recording(structure):
                found = waveform.recording(source, structure)
                return waveform.recorded(_evidence(ds, structure), found)
            return replace(_evidence(ds, structure), content=_content(source, ds, structure))


def referenced(path: Path) -> list[str]:
    """The files that a DICOMDIR's records name, as paths below its folder (PS3.3 F.3.2.2).

    Raises Rejected (`truncated`, `malformed`, `too-large`) and OSError.
    """
    with path.open("rb") as file:
        structure = walk(file, tags("DirectoryRecordSequence"))
        if structure.fault:
            raise structure.fault
        _refuse_incomplete(structure)
        with guarded("the directory's records could not be parsed"):
            ds, _ = _parse(opened(file, structure), structure, limit=DIRECTORY_BYTES)
            found = [
                value(record, "ReferencedFileID") for record in value(ds, "DirectoryRecordSequence") or ()
            ]
    paths = ([str(part) for part in ([it] if isinstance(it, str) else it or ())] for it in found)
    return ["/".join(parts) for parts in paths if parts and all(_FILE_ID.fullmatch(p) for p in parts)]


@overload
def payload(data: bytes, kind: Literal[Kind.IMAGE] = Kind.IMAGE) -> Image: ...
@overload
def payload(data: bytes, kind: Kind) -> Image | Recording: ...
def payload(data: bytes, kind: Kind = Kind.IMAGE) -> Image | Recording:
    """The middle frame as it would be displayed, or an ECG's leads in mV when `kind` is a recording.

    Raises Rejected (`truncated`, `no-pixels`, `malformed`, `too-large`, `undecodable`,
    `unsupported-transfer-syntax`; of an ECG as `waveform.recording`).
    """
    if kind == Kind.RECORDING:
        return _recording(data)
    _, ds, own = described(data)
    with guarded("the pixel description could not be understood"):
        return display.image(ds, own)


def described(data: bytes, wanted: frozenset[int] = IMAGE_TAGS) -> tuple[Structure, Dataset, Dataset | None]:
    """An image object's wanted elements, ready to be decoded, and the middle frame's functional groups.

    Raises Rejected as `payload` does.
    """
    file, structure = _walked(data, wanted)
    if not structure.pixels:
        raise Rejected("no-pixels", "the object has no pixel data", "It is kept; there is no image to read.")
    frames.require_decoder(structure.transfer_syntax)
    with guarded("the data set could not be parsed"):
        ds, own = _parse(opened(file, structure), structure)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = _pixel_syntax(structure)
    return structure, ds, own


def _recording(data: bytes) -> Recording:
    file, structure = _walked(data, _BULK)
    if not waveform.is_recording(structure):
        raise Rejected("no-leads", "the object is no ECG", "It is kept; there is no recording to read.")
    with guarded("the waveform could not be understood"):
        return waveform.recording(opened(file, structure), structure)


def _walked(data: bytes, wanted: frozenset[int]) -> tuple[BytesIO, Structure]:
    """A whole object's structure."""
    file = BytesIO(data)
    structure = walk(file, wanted)
    if structure.fault:
        raise structure.fault
    _refuse_incomplete(structure)
    return file, structure


@contextmanager
def guarded(sentence: str) -> Iterator[None]:
    """Only Rejected leaves: the libraries' own messages quote values of the patient's."""
    try:
        with quiet():
            yield
    except (Rejected, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - whatever a hostile file makes pydicom raise, the file is at fault
        raise Rejected("malformed", sentence, "Validate the file (dciodvfy) and export it again.") from None


def _refuse_incomplete(structure: Structure) -> None:
    if structure.gap is None:
        return
    if structure.complete and structure.image and not structure.pixels and structure.last > 0x0020000E:
        raise Rejected(
            "no-pixels",
            "an image object without pixel data",
            "Send the whole object; some archives strip pixel data from exports.",
        )
    raise Rejected("truncated", structure.gap, _AGAIN)


def _parse(
    source: BinaryIO, structure: Structure, without: frozenset[int] = frozenset(), limit: int = ELEMENT_BYTES
) -> tuple[Dataset, Dataset | None]:
    """The elements asked for as a data set, and the middle frame's functional groups."""
    kept = BytesIO()
    for tag, start, end in structure.ranges:
        if tag in without:
            continue
        if end - start > limit and tag not in PIXELS:
            raise too_large(f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) has {end - start} bytes")
        source.seek(start)
        kept.write(source.read(end - start))
    group = None
    if structure.frame_group is not None:
        start, end = structure.frame_group
        if end - start > ELEMENT_BYTES:
            raise too_large(f"the functional groups of a frame have {end - start} bytes")
        source.seek(start)
        group = _data_set(BytesIO(source.read(end - start)), structure)
    kept.seek(0)
    return _data_set(kept, structure), group


def _content(source: BinaryIO, ds: Dataset, structure: Structure) -> str:
    """A digest of the pixel data as encoded, how they are laid out and where they lie; "" without pixels.

    Nothing of the header that names or numbers the object is in it: the same pixels sent again under
    another header have the same digest. The place is in it because empty slices are all alike.
    """
    span = next((span for span in structure.ranges if span[0] == structure.pixels), None)
    if span is None or not structure.pixels:
        return ""
    found = blake3()
    native = structure.transfer_syntax in _NATIVE
    layout: list[object] = ["" if native else structure.transfer_syntax, structure.little]
    layout += [integer(ds, keyword) for keyword in _PIXEL_DESCRIPTION]
    layout += [code_string(ds, "PhotometricInterpretation")]
    layout += [numbers(ds, "ImageOrientationPatient", 6), numbers(ds, "ImagePositionPatient", 3)]
    found.update(repr(layout).encode())
    _, start, end = span
    source.seek(start + (12 if structure.explicit else 8))  # PS3.5 7.1.2: OB, OW, OF, OD have long lengths
    while start < end and (chunk := source.read(min(1 << 20, end - source.tell()))):
        found.update(chunk)
    return found.hexdigest()


def _data_set(data: BytesIO, structure: Structure) -> Dataset:
    return read_dataset(data, not structure.explicit, structure.little)


def _pixel_syntax(structure: Structure) -> UID:
    """How the pixel data are encoded, also where the file does not say or was deflated."""
    if structure.transfer_syntax and not structure.deflated:
        return UID(structure.transfer_syntax)
    if not structure.little:
        return ExplicitVRBigEndian
    return ExplicitVRLittleEndian if structure.explicit else ImplicitVRLittleEndian


def _evidence(ds: Dataset, structure: Structure) -> Evidence:
    uid = header.uid(ds, "SOPInstanceUID")
    study_uid, series_uid = header.uid(ds, "StudyInstanceUID"), header.uid(ds, "SeriesInstanceUID")
    if structure.pixels:
        frames.require_decoder(structure.transfer_syntax)
    elif structure.image:
        raise Rejected("no-pixels", "an image object without pixel data", "Send the whole object.")
    return Evidence(
        kind=Kind.IMAGE if structure.pixels else Kind.DOCUMENT,
        uid=uid,
        case_key=header.accession(ds) or study_uid,
        identity=header.identity(ds),
        study_uid=study_uid,
        series_uid=series_uid,
        facts=header.facts(ds, structure),
    )
