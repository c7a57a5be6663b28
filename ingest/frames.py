"""One frame of a DICOM object's pixel data, decoded by what is fastest for its encoding, else by the next."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from db.errors import Rejected
from ingest import codestream, fastcodecs, shelter
from ingest.elements import integer, text
from ingest.standard import uid_name
from ingest.streams import too_large

DECODED_LIMIT = 512 * 2**20  #: bytes that the one decoded frame may take, in its working form

# Fastest first, as measured (docs/benchmarks.md, decoders); the others stand in where one fails or is absent.
_PLUGINS = {
    "1.2.840.10008.1.2.4.50": ("pillow", "gdcm"),
    "1.2.840.10008.1.2.4.51": ("imagecodecs", "pillow", "gdcm"),
    "1.2.840.10008.1.2.4.57": ("imagecodecs", "gdcm"),
    "1.2.840.10008.1.2.4.70": ("imagecodecs", "gdcm"),
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "gdcm"),
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "gdcm"),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "gdcm"),
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "gdcm"),
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),
}
fastcodecs.install()
_DESCRIPTION = {  # what a decoder asks of the Image Pixel module
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "pixel_representation": "PixelRepresentation",
    "planar_configuration": "PlanarConfiguration",
}


def require_decoder(transfer_syntax: str) -> None:
    """Raises Rejected `unsupported-transfer-syntax` when pixel data so encoded cannot be decoded here."""
    if not transfer_syntax:
        return
    name = uid_name(transfer_syntax)
    with suppress(NotImplementedError):  # a standard syntax of no picture: refused as one unknown
        if name:
            get_decoder(UID(transfer_syntax))
            return
    raise Rejected(
        "unsupported-transfer-syntax",
        f"pixel data in transfer syntax {name or 'of a private kind'} cannot be decoded",
        "Ask the sender for Explicit VR Little Endian or JPEG 2000 Lossless.",
    )


def decode(ds: Dataset, index: int) -> NDArray[Any]:
    """One frame's stored values, shape (rows, columns) or (rows, columns, samples).

    Raises Rejected (`undecodable`, `unsupported-transfer-syntax`, `too-large`, `malformed`).
    """
    _refuse_large(ds, index)
    syntax = UID(text(ds.file_meta, "TransferSyntaxUID"))
    require_decoder(syntax)
    decoder, options = get_decoder(syntax), _options(ds, syntax)
    for plugin in order(syntax) or ("",):
        try:
            if plugin == "gdcm":
                return sheltered(ds, syntax, index)
            return decoder.as_array(ds, index=index, decoding_plugin=plugin, **options)[0]
        except (MemoryError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S112 - damaged data; a panic in Rust is not even an Exception
            continue
    raise _undecodable(syntax)


def order(syntax: str) -> tuple[str, ...]:
    """pydicom's plug-ins that are asked for a frame, in turn; none where all that it has may be."""
    return _PLUGINS.get(syntax, ())


def _options(ds: Dataset, syntax: UID) -> Any:
    """Has grey values come as stored: display.py minds HighBit, as pydicom does not, and copies less."""
    if integer(ds, "SamplesPerPixel") != 1:
        return {}
    return {
        "correct_unused_bits": False,
        "view_only": syntax.is_little_endian and not syntax.is_encapsulated,
    }


def _undecodable(syntax: str) -> Rejected:
    return Rejected(
        "undecodable",
        f"the pixel data could not be decoded as {uid_name(syntax)}",
        "The compressed image is damaged, or not what its header says; send it again uncompressed.",
    )


def sheltered(ds: Dataset, syntax: str, index: int) -> NDArray[Any]:
    """The frame decoded by GDCM in another process. Raises shelter.Undecodable."""
    frame = get_frame(ds.PixelData, index, number_of_frames=integer(ds, "NumberOfFrames") or 1)
    found = {name: integer(ds, keyword) for name, keyword in _DESCRIPTION.items()}
    return shelter.decode(
        frame,
        {
            "transfer_syntax_uid": syntax,
            "number_of_frames": 1,
            "photometric_interpretation": text(ds, "PhotometricInterpretation"),
            "pixel_keyword": "PixelData",
            **{name: number for name, number in found.items() if number is not None},
        },
    )


def _refuse_large(ds: Dataset, index: int) -> None:
    """Rejects what its header, or its compressed frame's own header, says would not fit in memory."""
    rows, columns = integer(ds, "Rows") or 0, integer(ds, "Columns") or 0
    if rows <= 0 or columns <= 0:
        raise Rejected("malformed", "the image has no rows or no columns", "Export it again.")
    samples = max(integer(ds, "SamplesPerPixel") or 1, 1)
    cell = samples * max((integer(ds, "BitsAllocated") or 8) // 8, 4)  # worked on as float32
    extents = [(rows, columns)]
    if UID(text(ds.file_meta, "TransferSyntaxUID")).is_encapsulated:
        extents += _codestream_extents(ds, index)
    for height, width in extents:
        if height * width * cell > DECODED_LIMIT:
            raise too_large(f"one frame of {width}x{height} would take more than {DECODED_LIMIT >> 20} MiB")


def _codestream_extents(ds: Dataset, index: int) -> Iterator[tuple[int, int]]:
    """(height, width) that a compressed frame declares for itself."""
    try:
        frame = get_frame(ds.PixelData, index, number_of_frames=integer(ds, "NumberOfFrames") or 1)
    except (ValueError, IndexError, struct.error, TypeError):
        return  # the decoder will say so
    if codestream.endless(frame):
        raise _undecodable(text(ds.file_meta, "TransferSyntaxUID"))
    yield from codestream.extents(frame)
