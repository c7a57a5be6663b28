"""Every file of the public test suites ends read or refused, and shows as the reference shows it."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGExtended12Bit

from db.errors import Rejected
from db.records import Kind
from ingest import fastcodecs, header
from ingest.elements import value
from ingest.quiet import quiet
from ingest.readers import dicom
from models.payloads import Image

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dicom"
PYDICOM = Path(pydicom.__file__).parent / "data"
CODES = {
    *("not-dicom", "truncated", "no-sop-instance-uid", "bad-uid", "no-pixels", "dicomdir", "malformed"),
    *("too-large", "unsupported-transfer-syntax", "undecodable"),
}


def ending(path: Path) -> tuple[str, Image | None]:
    """How a file ends: its kind or the code of its refusal, and its image."""
    try:
        kind = dicom.read(path).kind
        return kind.value, dicom.payload(path.read_bytes()) if kind is Kind.IMAGE else None
    except Rejected as error:
        return error.code if error.sentence and error.advice else "without sentence or advice", None


@cache
def endings(folder: Path) -> dict[Path, tuple[str, Image | None]]:
    if not folder.is_dir():
        pytest.skip(f"{folder.name}: the folder with public DICOM files is not here; set WETREAD_DATA")
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        start = time.process_time()
        found[path] = ending(path)
        assert time.process_time() - start < 10, path.name
    return found


@pytest.mark.parametrize("folder", [DATA, PYDICOM], ids=["public", "pydicom"])
def test_every_file_ends_read_or_refused(folder: Path) -> None:
    counts = Counter(end for end, _ in endings(folder).values())
    assert counts.total() == len(endings(folder))
    assert set(counts) <= {"image", "document", "recording", *CODES}
    assert counts["image"] >= 90
    assert counts["malformed"] == 0  # nothing here is so broken that no better reason is known


def test_the_public_files_end_as_counted() -> None:
    counts = Counter(end for end, _ in endings(DATA).values())
    assert counts.total() == 147
    extended = 7  # of 12 bits, which the optional decoder alone reads
    assert counts == {
        "image": 113 + extended * fastcodecs.is_available(JPEGExtended12Bit),
        "document": 10,
        "no-pixels": 7,
        "truncated": 4,
        "no-sop-instance-uid": 3,
        "not-dicom": 2,
        "dicomdir": 1,
        **({} if fastcodecs.is_available(JPEGExtended12Bit) else {"undecodable": extended}),
    }


@pytest.mark.parametrize("folder", [DATA, PYDICOM], ids=["public", "pydicom"])
def test_every_image_is_shown_between_black_and_white(folder: Path) -> None:
    for path, (_, image) in endings(folder).items():
        if image is not None:
            assert image.pixels.dtype == np.float32, path.name
            assert image.pixels.ndim == 2, path.name
            assert image.pixels.min() >= 0, path.name
            assert image.pixels.max() <= 1, path.name


@pytest.mark.parametrize("folder", [DATA, PYDICOM], ids=["public", "pydicom"])
def test_windowed_images_are_straight_lines_of_the_reference(folder: Path) -> None:
    compared = 0
    for path, (_, image) in endings(folder).items():
        reference = None if image is None else _reference(path)
        if image is not None and reference is not None and np.ptp(reference) > 0:
            compared += 1
            agreement = np.corrcoef(image.pixels.ravel(), reference.ravel())[0, 1]
            assert agreement > 0.9999, path.name
    assert compared >= 15


def _reference(path: Path) -> np.ndarray | None:
    """pydicom's windowed middle frame of a plain grey object; None where the two are not alike in purpose."""
    with quiet():
        ds = pydicom.dcmread(BytesIO(path.read_bytes()), force=True)
        windowed = "WindowCenter" in ds or "VOILUTSequence" in ds
        if not windowed or "PixelPaddingValue" in ds or ds.get("SamplesPerPixel") != 1:
            return None
        if ds.get("NumberOfFrames", 1) != 1 or "TransferSyntaxUID" not in ds.file_meta:
            return None
        shown = np.asarray(apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds, index=0), dtype=float)
        inverse = ds.PhotometricInterpretation == "MONOCHROME1" or ds.get("PresentationLUTShape") == "INVERSE"
        return -shown if inverse else shown


def test_threads_read_as_one_does_and_leave_the_warnings_as_they_were() -> None:
    expected = endings(PYDICOM)
    paths = [path for path, (end, _) in expected.items() if end in ("image", "undecodable")]
    before = list(warnings.filters)
    with ThreadPoolExecutor(6) as pool:
        found = dict(zip(paths, pool.map(ending, paths), strict=True))
    assert warnings.filters == before
    assert {path: end for path, (end, _) in found.items()} == {path: expected[path][0] for path in paths}
    for path in paths:
        image, alone = found[path][1], expected[path][1]
        if image is not None and alone is not None:
            np.testing.assert_array_equal(image.pixels, alone.pixels)


def converted(ds: pydicom.Dataset, tag: int) -> str:
    """What pydicom makes of an element, in the form in which it is asked for."""
    try:
        found = ds[tag].value if tag in ds else None
    except Exception:  # noqa: BLE001 - as pydicom raises anything on a malformed value
        return "None"
    return repr(None if isinstance(found, str | bytes | list) and not found else found)


def test_a_value_that_was_met_before_is_what_pydicom_makes_of_it() -> None:
    """Twice over the same files: the second time every short value is remembered from another one."""
    met = 0
    with quiet():
        for path in sorted(PYDICOM.rglob("*.dcm")) * 2:
            try:
                ours, theirs = (pydicom.dcmread(path, force=True, stop_before_pixels=True) for _ in range(2))
            except Exception:  # noqa: BLE001, S112 - not all of them are DICOM
                continue
            for tag in header.TAGS | dicom.IMAGE_TAGS:
                word = pydicom.datadict.keyword_for_tag(tag)
                assert repr(value(ours, word)) == converted(theirs, tag), (path.name, word)
                met += tag in theirs
    assert met > 3000
