"""One frame in each transfer syntax by every decoder there is, in milliseconds of processor."""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian

from benchmarks import data
from benchmarks.figures import OURS, Figure
from benchmarks.options import Options
from builders import dicom_bytes
from ingest import display, frames, shelter
from ingest.quiet import quiet
from ingest.readers import dicom

ROUNDS = 9  #: frames timed of each in a run, in turn
ENCODERS = {  # pydicom's own
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pylibjpeg",
}
BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS = "1.2.840.10008.1.2.4.70"
BARE = {  # imagecodecs' functions for what it is not asked for
    BASELINE: "jpeg8_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.90": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.201": "htj2k_decode",
}


def run(options: Options) -> list[Figure]:
    """Each syntax's frame by all, then a file's header."""
    for name, option in (("MALLOC_MMAP_THRESHOLD_", -3), ("MALLOC_TRIM_THRESHOLD_", -1)):
        ctypes.CDLL(None).mallopt(option, int(shelter.ALLOCATOR[name]))  # as where frames are decoded
    slice_ = pydicom.dcmread(data.slices(options.folder, 1, 1)[0]).pixel_array
    found = [_uncompressed(options, slice_)]
    for syntax, stored, frame in _frames(options, slice_):
        found.append(_figure(options, syntax, stored, _file(stored, syntax, frame)))
    shelter.decoder.stop()
    return [*found, _header(options, slice_)]


def _frames(options: Options, stored: NDArray[Any]) -> list[tuple[str, NDArray[Any], bytes]]:
    """The same slice in each syntax; where 8 bits or colours are asked for, made of it."""
    grey = (stored >> 4).astype(np.uint8)
    colour = np.stack([grey, np.roll(grey, 9, 0), np.roll(grey, 9, 1)], axis=-1)
    film = np.tile(stored, (1 if options.short else 4,) * 2)
    made = [(BASELINE, image, _jpeg(image)) for image in (grey, (film >> 4).astype(np.uint8), colour)]
    if find_spec("imagecodecs") is None:
        options.skip("lossless JPEG, JPEG of 12 bits and HTJ2K: imagecodecs writes them (`make decoders`)")
    else:
        from imagecodecs import htj2k_encode, jpeg8_encode

        made += [
            (EXTENDED, stored, jpeg8_encode(stored, level=90, bitspersample=12)),
            *(
                (LOSSLESS, image, jpeg8_encode(image, lossless=True, bitspersample=12))
                for image in (stored, film)
            ),
            ("1.2.840.10008.1.2.4.201", stored, htj2k_encode(stored, reversible=True)),
        ]
    for syntax, plugin in ENCODERS.items():
        ds = pydicom.dcmread(BytesIO(dicom_bytes(pixels=stored, bits=12)))
        ds.compress(UID(syntax), encoding_plugin=plugin)
        made.append((syntax, stored, get_frame(ds.PixelData, 0, number_of_frames=1)))
    return made


def _jpeg(image: NDArray[Any]) -> bytes:
    out = BytesIO()
    Picture.fromarray(image).save(out, "JPEG", quality=90)
    return out.getvalue()


def _file(stored: NDArray[Any], syntax: str, frame: bytes) -> bytes:
    colour = stored.ndim == 3
    bits, photometric = 12 if stored.itemsize == 2 else 8, "RGB" if colour else "MONOCHROME2"
    ds = pydicom.dcmread(BytesIO(dicom_bytes(pixels=stored, bits=bits, photometric=photometric)))
    if colour:
        ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _figure(options: Options, syntax: str, stored: NDArray[Any], file: bytes) -> Figure:
    """Every decoder of pydicom's, and dicomsdl; ours is whichever of them gives the frame first."""
    ds = dicom.described(file)[1]
    decoder = get_decoder(UID(syntax))
    ways: dict[str, Callable[[], Any]] = {OURS: lambda: frames.decode(ds, 0)}
    for plugin in decoder.available_plugins:
        ways[plugin] = lambda plugin=plugin: decoder.as_array(ds, index=0, decoding_plugin=plugin)
    if "gdcm" in decoder.available_plugins:
        ways["gdcm, in its shelter"] = lambda: frames.sheltered(ds, UID(syntax), 0)
    frame = get_frame(ds.PixelData, 0, number_of_frames=1)
    ways |= _bare(syntax, stored, frame) | _dicomsdl(file)
    runs = _timed(options, ways)
    order = frames.order(syntax)
    note = f"asked in turn: {', '.join(order) or 'as pydicom has them'}"
    kind = "12 bits" if stored.itemsize == 2 else "8 bits, in colour" if stored.ndim == 3 else "8 bits"
    name = re.split(r",| \(| Image", UID(syntax).name)[0]
    what = f"{stored.shape[0]}x{stored.shape[1]}, {name}, {kind}"
    return Figure(bar=1, what=what, unit="ms", runs=runs, note=note)


def _uncompressed(options: Options, stored: NDArray[Any]) -> Figure:
    file = dicom_bytes(pixels=stored, bits=12)
    ds = dicom.described(file)[1]
    decoder = get_decoder(ExplicitVRLittleEndian)
    ways = {
        OURS: lambda: display.clean(ds, frames.decode(ds, 0)),
        "pydicom": lambda: decoder.as_array(ds, index=0),
        **_dicomsdl(file),
    }
    return Figure(
        bar=1, what="512x512, uncompressed, 12 bits", unit="ms", runs=_timed(options, ways),
        note="ours and pydicom clear the bits that are not stored; dicomsdl opens the file as well",
    )  # fmt: skip


def _bare(syntax: str, stored: NDArray[Any], frame: bytes) -> dict[str, Callable[[], Any]]:
    """imagecodecs without pydicom around it, where it is not asked."""
    name = BARE.get(syntax)
    if find_spec("imagecodecs") is None or name is None or stored.ndim == 3:
        return {}
    import imagecodecs

    decode = getattr(imagecodecs, name)
    return {"imagecodecs, bare": lambda: decode(frame)}


def _dicomsdl(file: bytes) -> dict[str, Callable[[], Any]]:
    if find_spec("dicomsdl") is None:
        return {}
    import dicomsdl

    dicomsdl.set_loglevel(dicomsdl.LogLevel.DISABLE)
    return {"dicomsdl": lambda: dicomsdl.open_memory(file).pixelData(storedvalue=True)}


def _header(options: Options, stored: NDArray[Any]) -> Figure:
    """A file's identifiers and facts against a bare parse of its header."""
    path: Path = options.folder / "header.dcm"
    path.write_bytes(dicom_bytes(pixels=stored, bits=12, modality="CT"))
    ways: dict[str, Callable[[], Any]] = {
        OURS: lambda: dicom.read(path),
        "pydicom": lambda: pydicom.dcmread(path, stop_before_pixels=True),
    }
    if find_spec("dicomsdl") is not None:
        import dicomsdl

        ways["dicomsdl"] = lambda: dicomsdl.open_file(str(path)).PatientID
    return Figure(
        bar=2, what="the header of a file of 525 KB", unit="ms", runs=_timed(options, ways),
        note="ours checks that the file is whole, gives every fact and a digest of its pixels",
    )  # fmt: skip


def _timed(options: Options, ways: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Milliseconds of processor, a value a run, all in turn; those that cannot do it are left out."""
    with quiet():
        able = {name: way for name, way in ways.items() if _answers(way)}
        found: dict[str, list[float]] = {name: [] for name in able}
        for _ in range(options.runs):
            spent = dict.fromkeys(able, 0.0)
            for _ in range(options.count(ROUNDS, 1)):
                for name, way in able.items():
                    way()  # what the one before left in the caches is no business of this one's
                    start = _processor()
                    way()
                    spent[name] += _processor() - start
            for name, seconds in spent.items():
                found[name].append(1e3 * seconds / options.count(ROUNDS, 1))
    return found


def _answers(way: Callable[[], Any]) -> bool:
    try:
        way()
    except Exception:  # noqa: BLE001 - whatever a decoder raises for what it cannot do
        return False
    return True


def _processor() -> float:
    """Seconds of processor that this process, all its threads, and the sheltered decoder have had."""
    child = shelter.decoder.process
    if child is None:
        return time.process_time()
    # Linux's id of another process's clock: clock_getcpuclockid(3)
    return time.process_time() + time.clock_gettime((~child.pid << 3) | 2)
