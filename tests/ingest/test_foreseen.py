"""Evidence that comes with the answer that a file is whole: as if asked for alone, and never another's."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builders import dicom_bytes, note_bytes
from db.errors import Rejected
from ingest import reading


def test_what_is_foreseen_is_what_would_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(patient_id="7"))
    alone = reading.read(path)
    assert reading.missing(path, ".dcm") is None
    moved = path.rename(tmp_path / "0123")  # as intake does when it claims the file
    assert reading.read(moved) == alone
    assert reading.read(moved) == alone  # and again, when nothing is kept any more


def test_a_file_changed_since_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(patient_id="7"))
    assert reading.missing(path, ".dcm") is None
    path.write_bytes(dicom_bytes(patient_id="another"))
    identity = reading.read(path).identity
    assert identity is not None
    assert identity.number == "another"


def test_another_file_of_the_same_size_and_time_is_read_itself(tmp_path: Path) -> None:
    one, two = tmp_path / "1.dcm", tmp_path / "2.dcm"
    for path, number in ((one, "7"), (two, "8")):
        path.write_bytes(dicom_bytes(patient_id=number, sop_uid="1.2.3.4"))
        os.utime(path, (1e9, 1e9))
    assert reading.missing(one, ".dcm") is None
    identity = reading.read(two).identity
    assert identity is not None
    assert identity.number == "8"


def test_a_cut_file_lacks_what_it_lacked_and_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes()[:-10])
    assert reading.missing(path, ".dcm")
    with pytest.raises(Rejected, match="declares"):
        reading.read(path)


def test_a_note_is_whole_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(note_bytes("Cough."))
    before = dict(reading._foreseen)
    assert reading.missing(path, ".txt") is None
    assert reading._foreseen == before


def test_many_files_are_looked_at_ahead_and_each_keeps_its_own_evidence(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.dcm" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(dicom_bytes(patient_id=str(number)))
    gone = tmp_path / "gone.dcm"
    ahead = reading.foresee([gone, *paths])
    assert ahead is not None
    ahead.join()
    for number, path in enumerate(paths):
        assert reading.missing(path, ".dcm") is None
        identity = reading.read(path).identity
        assert identity is not None
        assert identity.number == str(number)


def test_one_of_many_that_cannot_be_looked_at_costs_the_others_nothing(tmp_path: Path) -> None:
    reading._foreseen.clear()
    whole, cut, folder = (tmp_path / f"{name}.dcm" for name in ("whole", "cut", "folder"))
    whole.write_bytes(dicom_bytes())
    cut.write_bytes(dicom_bytes()[:-10])
    folder.mkdir()
    ahead = reading.foresee([folder, cut, whole])
    assert ahead is not None
    ahead.join()
    assert len(reading._foreseen) == 1
    assert reading.missing(whole, ".dcm") is None
    assert reading.missing(cut, ".dcm")


def test_what_is_foreseen_is_told_while_others_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes())
    assert reading.missing(path, ".dcm") is None
    with reading._looking, ThreadPoolExecutor(1) as asker:
        assert asker.submit(reading.missing, path, ".dcm").result(60) is None
