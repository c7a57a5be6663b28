"""The optional decoder gives what pydicom's others give, sample for sample, or leaves the frame to them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from builders import dicom_bytes
from db.errors import Rejected
from ingest import fastcodecs, frames, shelter
from ingest.quiet import quiet
from ingest.readers import dicom

pytestmark = pytest.mark.skipif(
    find_spec("imagecodecs") is None, reason="needs imagecodecs: `make decoders` installs it"
)
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("WETREAD_DATA", ROOT / ".." / "shared" / "data")) / "dicom"
PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
EXAMPLES = settings(max_examples=60, deadline=None)


def encoded(stored: NDArray[Any], **how: Any) -> bytes:
    from imagecodecs import jpeg8_encode

    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    return bytes(jpeg8_encode(unsigned, **how))


def lossless(stored: NDArray[Any], precision: int, predictor: int = 1) -> bytes:
    return encoded(stored, lossless=True, predictor=predictor, bitspersample=precision)


def description(stored: NDArray[Any], bits: int) -> dict[str, Any]:
    return {
        "rows": stored.shape[0], "columns": stored.shape[1], "samples_per_pixel": 1,
        "bits_allocated": stored.dtype.itemsize * 8, "bits_stored": bits, "number_of_frames": 1,
        "pixel_representation": int(stored.dtype.kind == "i"), "pixel_keyword": "PixelData",
        "photometric_interpretation": "MONOCHROME2",
    }  # fmt: skip


def decoded(by: str, syntax: str, frame: bytes, stored: NDArray[Any], bits: int) -> NDArray[Any] | None:
    """None where the decoder refuses; GDCM is asked in its shelter, since damage aborts it."""
    told = description(stored, bits)
    try:
        with quiet():
            if by == "gdcm":
                return shelter.decode(frame, {"transfer_syntax_uid": syntax, **told})
            source = encapsulate([frame])
            return get_decoder(syntax).as_array(source, index=0, decoding_plugin=by, **told)[0]
    except (shelter.Undecodable, RuntimeError):
        return None


def picture(seed: int, rows: int, columns: int, bits: int, signed: bool, rough: int) -> NDArray[Any]:
    """A slope with noise, up to the whole range."""
    noise = np.random.default_rng(seed)
    slope = np.linspace(0, 2**bits - 1, rows * columns).reshape(rows, columns)
    values = np.clip(slope + noise.integers(-(2**rough), 2**rough, (rows, columns)), 0, 2**bits - 1)
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    return (values - (2 ** (bits - 1) if signed else 0)).astype(kind)


@EXAMPLES
@given(
    seed=st.integers(0, 2**32), rows=st.integers(1, 40), columns=st.integers(1, 40), bits=st.integers(2, 16),
    signed=st.booleans(), rough=st.integers(0, 16), predictor=st.integers(1, 7), fewer=st.integers(0, 2),
)  # fmt: skip
def test_a_lossless_frame_is_gdcm_s_sample_for_sample(
    seed: int, rows: int, columns: int, bits: int, signed: bool, rough: int, predictor: int, fewer: int
) -> None:
    stored = picture(seed, rows, columns, bits, signed, min(rough, bits))
    mask = 2**bits - 1
    kept = (stored.view(f"u{stored.dtype.itemsize}") & mask).astype(f"u{stored.dtype.itemsize}")
    frame, told = lossless(kept, bits, predictor), max(bits - fewer, 2)
    found = decoded("imagecodecs", JPEGLossless, frame, stored, told)
    if found is not None:
        np.testing.assert_array_equal(found, decoded("gdcm", JPEGLossless, frame, stored, told))
    assert (found is not None) == (bits > 8 and predictor == 1 and (told == bits or not signed))


@EXAMPLES
@given(
    seed=st.integers(0, 2**32), rows=st.integers(1, 70), columns=st.integers(1, 70),
    rough=st.integers(0, 8), quality=st.integers(20, 100), restarts=st.integers(0, 2),
)  # fmt: skip
def test_an_extended_frame_of_8_bits_is_pillow_s_sample_for_sample(
    seed: int, rows: int, columns: int, rough: int, quality: int, restarts: int
) -> None:
    stored, out = picture(seed, rows, columns, 8, False, rough), BytesIO()
    Picture.fromarray(stored).save(out, "JPEG", quality=quality, restart_marker_rows=restarts)
    found = decoded("imagecodecs", JPEGExtended12Bit, out.getvalue(), stored, 8)
    assert found is not None
    np.testing.assert_array_equal(found, decoded("pillow", JPEGExtended12Bit, out.getvalue(), stored, 8))


@EXAMPLES
@given(
    seed=st.integers(0, 2**32), rows=st.integers(1, 40), columns=st.integers(1, 40),
    rough=st.integers(0, 12), quality=st.integers(30, 100),
)  # fmt: skip
def test_a_frame_of_12_bits_is_dicomsdl_s_sample_for_sample(
    seed: int, rows: int, columns: int, rough: int, quality: int
) -> None:
    dicomsdl = pytest.importorskip("dicomsdl")
    stored = picture(seed, rows, columns, 12, False, rough)
    film = compressed(stored, encoded(stored, level=quality, bitspersample=12), JPEGExtended12Bit)
    reference = dicomsdl.open_memory(film).pixelData(storedvalue=True)
    np.testing.assert_array_equal(values(film), reference)


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_a_frame_in_colour_is_left_to_the_others(syntax: str) -> None:
    stored = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
    ds = pydicom.dcmread(BytesIO(compressed(stored[..., 0], lossless(stored, 8), syntax, bits=8)))
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.save_as(out := BytesIO())
    np.testing.assert_array_equal(values(out.getvalue()), stored)


def values(film: bytes) -> NDArray[Any]:
    with quiet():
        return frames.decode(dicom.described(film)[1], 0)


def compressed(stored: NDArray[Any], frame: bytes, syntax: str, bits: int = 12) -> bytes:
    ds = pydicom.dcmread(BytesIO(dicom_bytes(pixels=stored, bits=bits)))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs dcmtk: `apt-get install dcmtk`")
def test_a_frame_of_12_bits_that_dcmtk_wrote_is_as_dcmtk_reads_it(tmp_path: Path) -> None:
    stored = picture(1, 60, 52, 12, False, 6)
    (tmp_path / "raw").write_bytes(dicom_bytes(pixels=stored, bits=12, modality="CT"))
    for program, *names in (("dcmcjpeg", "+ee", "raw", "12"), ("dcmdjpeg", "12", "back")):
        subprocess.run([program, *names], cwd=tmp_path, check=True)
    back = pydicom.dcmread(tmp_path / "back").pixel_array
    film = (tmp_path / "12").read_bytes()
    np.testing.assert_array_equal(values(film), back)
    assert np.abs(back.astype(int) - stored).max() < 200


def test_what_lossy_coding_lifts_above_white_stays_white() -> None:
    stored = np.where(np.indices((32, 32)).sum(0) % 9 < 4, 1023, 0).astype(np.uint16)
    frame = encoded(stored, level=40, bitspersample=12)
    from imagecodecs import jpeg8_decode

    assert jpeg8_decode(frame).max() > 1023
    found = values(compressed(stored, frame, JPEGExtended12Bit, bits=10))
    assert found[stored == 1023].min() > 512
    assert found.max() == 1023


def damaged(data: bytes, seed: int) -> bytes:
    rng, out = random.Random(seed), bytearray(data)
    if rng.random() < 0.15:
        return bytes(out[: rng.randrange(2, len(out))])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(rng.choice((200, len(out))) if len(out) > 200 else len(out))
        change = rng.randrange(4)
        if change == 0:
            out[at] = rng.randrange(256)
        elif change == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif change == 2:
            del out[at : at + rng.randint(1, 8)]
        else:
            out[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(out)


@cache
def sound() -> tuple[NDArray[Any], bytes]:
    stored = picture(7, 48, 56, 12, False, 5)
    return stored, lossless(stored, 12)


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_lossless_frame_that_is_taken_is_what_gdcm_makes_of_it(seed: int) -> None:
    stored, frame = sound()
    found = decoded("imagecodecs", JPEGLosslessSV1, damaged(frame, seed), stored, 12)
    if found is not None:
        reference = decoded("gdcm", JPEGLosslessSV1, damaged(frame, seed), stored, 12)
        np.testing.assert_array_equal(found, reference)


@EXAMPLES
@given(seed=st.integers(0, 2**32))
def test_a_damaged_frame_of_12_bits_is_decoded_or_refused(seed: int) -> None:
    stored, _ = sound()
    frame = damaged(encoded(stored, level=80, bitspersample=12), seed)
    with suppress(Rejected):
        assert dicom.payload(compressed(stored, frame, JPEGExtended12Bit)).pixels.shape == stored.shape


def test_a_frame_of_12_bits_that_is_cut_short_is_refused() -> None:
    stored, _ = sound()
    frame = encoded(stored, level=80, bitspersample=12)
    for length in range(4, len(frame) - 2, 37):
        with pytest.raises(Rejected) as caught:
            dicom.payload(compressed(stored, frame[:length], JPEGExtended12Bit))
        assert caught.value.code == "undecodable"


def _grey_jpegs() -> list[tuple[str, Dataset]]:
    found = []
    for path in sorted(p for folder in (DATA, PYDICOM) for p in folder.rglob("*") if p.is_file()):
        try:
            with quiet():
                ds = pydicom.dcmread(path)
            syntax = ds.file_meta.get("TransferSyntaxUID")
        except (pydicom.errors.InvalidDicomError, AttributeError, NotImplementedError):
            continue
        if "PixelData" in ds and syntax in fastcodecs.SYNTAXES and ds.SamplesPerPixel == 1:
            found.append((path.name, ds))
    return found


def test_the_public_files_frames_are_the_others_sample_for_sample() -> None:
    taken = []
    for name, ds in _grey_jpegs():
        decoder = get_decoder(ds.file_meta.TransferSyntaxUID)
        for index in range(int(ds.get("NumberOfFrames") or 1)):
            try:
                with quiet():
                    found = decoder.as_array(ds, index=index, decoding_plugin="imagecodecs")[0]
                    reference = _reference(ds, index)
            except RuntimeError:
                continue
            taken.append(name)
            if reference is not None:
                np.testing.assert_array_equal(found, reference, err_msg=name)
    assert {"JPEG-lossy.dcm", "JPGExtended.dcm"} <= set(taken)  # pydicom's own, of 12 bits and of 8
    assert len(taken) >= 18 or not DATA.is_dir()


def _reference(ds: Dataset, index: int) -> NDArray[Any] | None:
    """The frame as pillow or GDCM decode it; of 12 bits as dicomsdl does."""
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == JPEGExtended12Bit and ds.BitsStored > 8:
        if index:
            return None  # fragments without a table of offsets are one frame to it
        dicomsdl, out = pytest.importorskip("dicomsdl"), BytesIO()
        ds.save_as(out)
        found: NDArray[Any] = dicomsdl.open_memory(out.getvalue()).pixelData(index, storedvalue=True)
        return np.minimum(found, 2**ds.BitsStored - 1)
    plugin = "pillow" if syntax == JPEGExtended12Bit else "gdcm"
    return get_decoder(syntax).as_array(ds, index=index, decoding_plugin=plugin)[0]


WITHOUT = """
import sys
sys.modules["imagecodecs"] = None
from db.errors import Rejected
from ingest import fastcodecs
from ingest.readers import dicom
assert not any(map(fastcodecs.is_available, fastcodecs.SYNTAXES))
for path in sys.argv[1:]:
    try:
        print(dicom.payload(open(path, "rb").read()).pixels.tobytes().hex())
    except Rejected as why:
        print(why.code)
"""


def test_without_it_all_is_the_same_but_frames_of_12_bits(tmp_path: Path) -> None:
    stored, frame = sound()
    written = {
        "12": compressed(stored, encoded(stored, level=90, bitspersample=12), JPEGExtended12Bit),
        "lossless": compressed(stored, frame, JPEGLosslessSV1),
    }
    for name, data in written.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *(str(tmp_path / name) for name in written)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, *rest = [dicom.payload(data).pixels.tobytes().hex() for data in written.values()]
    assert done.stdout.split() == ["undecodable", *rest]
