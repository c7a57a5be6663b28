"""Intake's own steps: a claim is a rename, a record is one transaction, repeating is harmless."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from sqlalchemy import text

from db import ledger
from db.errors import Misconfigured, Unavailable
from db.ledger import Sighting
from db.records import FileState
from ingest.intake import Claimed, Intake
from tests.bench import CARDS, Bench
from tests.builders import dicom_bytes, write_tree


@pytest.fixture
def intake(bench: Bench) -> Intake:
    """The bench's intake alone."""
    return Intake(bench.settings, bench.store, bench.archive, CARDS)


def seen(bench: Bench, name: str, data: bytes) -> str:
    write_tree(bench.inbox, {name: data})
    with bench.store.write() as writer:
        return ledger.see(writer, [Sighting(name=name, suffix=".dcm", bytes=len(data))])[name]


def claimed(bench: Bench, intake: Intake, name: str = "a.dcm", data: bytes = b"") -> Claimed:
    found = intake.claim(seen(bench, name, data or dicom_bytes()), name)
    assert found is not None
    return found


def test_a_claimed_file_lies_in_the_work_area_under_its_id(bench: Bench, intake: Intake) -> None:
    file = claimed(bench, intake)
    assert (os.listdir(bench.inbox), os.listdir(bench.settings.folder("work"))) == ([], [file.id])


def test_a_file_is_claimed_by_one_of_two(bench: Bench, intake: Intake) -> None:
    file_id = seen(bench, "a.dcm", b"x")
    assert intake.claim(file_id, "a.dcm") is not None
    assert intake.claim(file_id, "a.dcm") is None


def test_processing_twice_is_processing_once(bench: Bench, intake: Intake) -> None:
    file = claimed(bench, intake)
    data = file.work.read_bytes()
    assert intake.process([file]) == [FileState.READY]
    file.work.write_bytes(data)  # as after a stop before the work file was removed
    intake.process([file])
    with bench.store.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM jobs")) == 1
    assert bench.files() == {"ready": 1}


def test_what_was_claimed_before_a_stop_is_found_again(bench: Bench, intake: Intake) -> None:
    file = claimed(bench, intake)
    assert [f.id for f in intake.unfinished()] == [file.id]
    intake.process([file])
    assert intake.unfinished() == []


def test_a_work_file_whose_row_is_concluded_is_swept(bench: Bench, intake: Intake) -> None:
    file = claimed(bench, intake)
    intake.process([file])
    file.work.write_bytes(b"left by a stop")
    intake.sweep()
    assert bench.left() == []


def test_a_work_file_that_is_still_pending_is_not_swept(bench: Bench, intake: Intake) -> None:
    file = claimed(bench, intake)
    intake.sweep()
    assert file.work.exists()


def test_an_archive_that_cannot_be_written_records_nothing(bench: Bench, intake: Intake) -> None:
    file = claimed(bench, intake)
    bench.settings.folder("archive").rmdir()
    bench.settings.folder("archive").write_text("no folder")
    with pytest.raises(Unavailable):
        intake.process([file])
    assert (bench.files(), file.work.exists()) == ({"pending": 1}, True)


def test_a_file_that_is_too_large_is_refused_unread(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(file_max_bytes=100)
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    bench.settle()
    assert bench.refused() == ["too-large"]


def test_a_note_of_exactly_the_most_bytes_is_read_and_one_more_refused(
    bench_of: Callable[..., Bench],
) -> None:
    bench = bench_of(note_max_bytes=10)
    write_tree(bench.inbox, {"a.txt": b"x" * 10, "b.txt": b"x" * 11})
    bench.settle()
    assert bench.files() == {"ready": 1, "quarantined": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_an_inbox_that_lets_nobody_move_files_is_misconfigured(bench: Bench, intake: Intake) -> None:
    file_id = seen(bench, "a.dcm", b"x")
    bench.inbox.chmod(0o500)
    with pytest.raises(Misconfigured, match="doctor"):
        intake.claim(file_id, "a.dcm")
