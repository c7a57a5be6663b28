"""A codec that dies of a damaged picture costs that picture alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from db.errors import Rejected
from ingest import shelter
from ingest.readers import dicom

LOSSLESS = Path(pydicom.__file__).parent / "data" / "test_files" / "SC_rgb_jpeg_gdcm.dcm"


@pytest.fixture
def lossless() -> Iterator[bytes]:
    """A lossless JPEG, which GDCM alone decodes; its process is ended afterwards."""
    if not LOSSLESS.is_file():
        pytest.skip(f"{LOSSLESS.name} is not among pydicom's installed files")
    yield LOSSLESS.read_bytes()
    shelter.decoder.stop()


def test_the_sheltered_decoder_gives_what_the_reference_gives(lossless: bytes) -> None:
    rgb = pydicom.dcmread(LOSSLESS).pixel_array / 255
    np.testing.assert_allclose(
        dicom.payload(lossless).pixels, rgb @ np.array([0.299, 0.587, 0.114]), atol=1e-5
    )


def test_a_decoder_that_was_killed_is_started_again(lossless: bytes) -> None:
    before = dicom.payload(lossless).pixels
    assert shelter.decoder.process is not None
    shelter.decoder.process.kill()
    shelter.decoder.process.wait()
    np.testing.assert_array_equal(dicom.payload(lossless).pixels, before)


def test_one_decoder_serves_many_pictures(lossless: bytes) -> None:
    dicom.payload(lossless)
    first = shelter.decoder.process
    dicom.payload(lossless)
    assert shelter.decoder.process is first


def test_damage_anywhere_in_a_lossless_picture_costs_that_picture_alone(lossless: bytes) -> None:
    start = lossless.index(b"\xff\xd8\xff")
    refused = 0
    for offset in range(2, 122, 4):
        damaged = bytearray(lossless)
        damaged[start + offset : start + offset + 2] = b"\xff\xff"
        try:
            dicom.payload(bytes(damaged))
        except Rejected:
            refused += 1
    assert refused > 0
    assert dicom.payload(lossless).pixels.max() > 0
