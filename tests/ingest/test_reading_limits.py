"""The child's limits are of what an input costs; what the machine takes is not held against it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from builders import dicom_bytes
from db.errors import Rejected
from db.logs import ROOT
from ingest import answers, reading, shelter
from ingest.shelter import Died, Shelter, Shelters
from tests.ingest import unruly

MODULE = unruly.__name__


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelter]:
    """The one child that reads, half a second of processor time for a question, ten minutes on the clock."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    children = Shelters(MODULE, answers.SECONDS)
    monkeypatch.setattr(reading, "_children", children)
    monkeypatch.setattr(reading, "SECONDS", 0.5)
    monkeypatch.setattr(shelter, "PATIENCE", 60)
    for kept in (reading._foreseen, reading._refused):
        kept.clear()
    yield children.children[0]
    for each in children.children:
        each.stop()


def film(folder: Path, name: str) -> Path:
    path = folder / f"{name}.dcm"
    path.write_bytes(dicom_bytes(patient_id=name))
    return path


def asked(path: Path) -> list[str]:
    """What the child was asked about a file."""
    return path.with_suffix(".asked").read_text().split()


def question(path: Path) -> dict[str, Any]:
    return {"do": "read", "path": str(path), "reader": "dicom", "parts": [], "sidecar": False}


def number(path: Path, child: Shelter) -> str:
    """The patient's number as the child reads it."""
    found: str = child.ask(question(path))[0]["evidence"]["identity"]["number"]
    return found


@pytest.mark.usefixtures("child")
def test_an_input_that_takes_too_much_of_the_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="processor time") as refused:
        reading.read(film(tmp_path, "spins"))
    assert refused.value.code == "too-costly"


@pytest.mark.usefixtures("child")
def test_what_was_too_costly_to_look_at_is_refused_without_another_look(tmp_path: Path) -> None:
    path = film(tmp_path, "spins")
    assert reading.missing(path, ".dcm") is None
    assert reading.missing(path, ".dcm") is None
    with pytest.raises(Rejected, match="too-costly"):
        reading.read(path.rename(tmp_path / "0123"))
    assert asked(path) == ["missing"]


@pytest.mark.usefixtures("child")
def test_a_child_that_dies_of_an_input_costs_that_input(tmp_path: Path) -> None:
    path = film(tmp_path, "crashes")
    with pytest.raises(Rejected, match="too-costly"):
        reading.read(path)
    assert asked(path) == ["read"]
    assert reading.read(film(tmp_path, "another")).uid


@pytest.mark.usefixtures("child")
def test_one_input_is_read_while_another_takes_long(tmp_path: Path) -> None:
    reading.allow(2)
    slow = film(tmp_path, "waits")
    os.mkfifo(slow.with_suffix(".fifo"))
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(reading.missing, slow, ".dcm")
        assert reading.read(film(tmp_path, "another")).uid
        assert not waiting.done()
        slow.with_suffix(".fifo").write_bytes(b"")  # its reader has waited for this


@pytest.mark.usefixtures("child")
def test_time_in_which_the_child_gets_no_processor_is_not_the_inputs(tmp_path: Path) -> None:
    path = film(tmp_path, "waits")
    os.mkfifo(path.with_suffix(".fifo"))
    go_on = threading.Timer(1.5, path.with_suffix(".fifo").write_bytes, [b""])
    go_on.daemon = True
    go_on.start()
    assert reading.read(path).uid


@pytest.mark.usefixtures("child")
def test_a_child_killed_from_outside_costs_no_input(tmp_path: Path) -> None:
    path = film(tmp_path, "killed")
    assert reading.read(path).uid
    assert asked(path) == ["read", "read"]


@pytest.mark.usefixtures("child")
def test_a_file_without_an_answer_lacks_one_and_is_refused_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelter, "PATIENCE", 0.01)
    path = film(tmp_path, "sleeps")
    assert reading.missing(path, ".dcm") is not None
    with pytest.raises(Rejected, match="no answer, twice"):
        reading.read(path)


def test_a_greeting_that_comes_too_late_is_no_answer(
    tmp_path: Path, child: Shelter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(unruly.GATE, str(tmp_path / "gate"))
    with monkeypatch.context() as impatient:
        impatient.setattr(shelter, "START_SECONDS", 0.01)
        with pytest.raises(TimeoutError):
            child.ask(question(film(tmp_path, "first")))
    (tmp_path / "gate").touch()
    assert number(film(tmp_path, "second"), child) == "second"


def test_a_child_that_cannot_start_is_the_worlds_fault(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="before it began"):
        Shelter("ingest.nothing", 1.0).ask(question(tmp_path / "a.dcm"))


def test_an_answer_that_nobody_waited_for_is_not_given_to_the_next_question(
    tmp_path: Path, child: Shelter, monkeypatch: pytest.MonkeyPatch
) -> None:
    number(film(tmp_path, "warm"), child)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(shelter, "_receive", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            number(film(tmp_path, "first"), child)
    assert number(film(tmp_path, "second"), child) == "second"


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_signal_sent_to_all_leaves_the_child_to_its_parent(tmp_path: Path, child: Shelter) -> None:
    path = film(tmp_path, "a")
    number(path, child)
    process = child.process
    assert process is not None
    os.kill(process.pid, signal.SIGTERM)
    assert number(path, child) == "a"
    assert child.process is process


def test_a_child_says_what_it_died_of(tmp_path: Path, child: Shelter) -> None:
    with pytest.raises(Died) as death:
        child.ask(question(film(tmp_path, "spins")), seconds=0.1)
    assert (death.value.spent, death.value.excused) == (True, False)
    with pytest.raises(Died) as death:
        child.ask(question(film(tmp_path, "killed")))
    assert (death.value.spent, death.value.excused) == (False, True)


def test_a_child_that_was_warmed_answers(tmp_path: Path, child: Shelter) -> None:
    reading.warm().join()
    process = child.process
    assert process is not None
    assert number(film(tmp_path, "a"), child) == "a"
    assert child.process is process


def test_files_that_a_look_ahead_has_no_time_for_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [[str(film(tmp_path, name)), ".dcm"] for name in ("a", "b")]
    assert all("evidence" in found for found in answers._several({"files": files}, b"")[0]["answers"])
    monkeypatch.setattr(answers, "SEVERAL_SECONDS", -1.0)
    assert answers._several({"files": files}, b"")[0]["answers"] == [{}, {}]


@pytest.mark.usefixtures("child")
def test_a_large_file_is_looked_at_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TOGETHER_BYTES", len(dicom_bytes(patient_id="small")))
    large, small = tmp_path / "large.dcm", film(tmp_path, "small")
    large.write_bytes(dicom_bytes(rows=512, columns=512))
    reading._look_at([large, small])
    assert reading.is_foreseen(small)
    assert not reading.is_foreseen(large)


def test_the_child_does_without_the_database() -> None:
    program = "import ingest.answers, sys; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
