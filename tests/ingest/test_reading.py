"""DICOM is read in a child process, within limits that what comes cannot lift."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from builders import SYNTAXES, dicom_bytes
from db.errors import Rejected
from db.jobs import Input
from ingest import reading
from ingest.readers import dicom
from models.card import Needs
from models.payloads import Image


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    _stop()


def _stop() -> None:
    for child in reading._children.children:
        child.stop()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_child_says_what_the_reader_says(tmp_path: Path, syntax: str) -> None:
    film = dicom_bytes(transfer_syntax=syntax, rows=16, columns=24)
    path = tmp_path / "film.dcm"
    path.write_bytes(film)
    assert reading.read(path) == dicom.read(path)
    assert reading.missing(path, ".dcm") is None
    ours, theirs = image(film), dicom.payload(film)
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    assert {k: v for k, v in vars(ours).items() if k != "pixels"} == {
        k: v for k, v in vars(theirs).items() if k != "pixels"
    }


def image(data: bytes) -> Image:
    """The picture of a DICOM object, as a model that reads pictures is given it."""
    source = Input(evidence_id="", kind="image", format="dicom", digest="")
    found = reading.payload([(source, data)], Needs(kind="image", scope="instance"))
    assert isinstance(found, Image)
    return found


def test_a_half_written_film_is_said_to_lack_its_end(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom_bytes(rows=64, columns=64)[:-100])
    assert "declares 4096 bytes" in str(reading.missing(path, ".dcm"))
    with pytest.raises(Rejected, match="truncated"):
        reading.read(path)


def test_a_file_without_permission_or_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        reading.read(tmp_path / "nothing.dcm")


def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom_bytes())
    reading.read(path)
    assert reading._children.children[0].process is not None
    os.kill(reading._children.children[0].process.pid, signal.SIGKILL)
    reading._children.children[0].process.wait()
    assert reading.read(path).uid


def test_more_memory_than_allowed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.zeros((11_000, 11_000), np.uint16)  # within the frame's own limit; padding takes more copies
    stored[0] = 7
    film = dicom_bytes(bits=16, pixels=stored, PixelPaddingValue=7)
    with pytest.raises(Rejected, match="too-costly"):
        image(film)
    assert image(dicom_bytes()).frames == 1


def test_a_film_of_26_megapixels_is_read() -> None:
    film = dicom_bytes(bits=16, pixels=np.zeros((5120, 5120), np.uint16), WindowCenter=1, WindowWidth=2)
    assert image(film).pixels.shape == (5120, 5120)
