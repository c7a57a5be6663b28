"""The services' processes: how they ended is said in words, and their logs do not grow without end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from console.children import Child, how_ended, open_log, set_aside


@pytest.mark.parametrize(
    ("code", "said"),
    [(1, "exit 1"), (-signal.SIGSEGV, "SIGSEGV"), (-99, "signal 99"),
     (-signal.SIGKILL, "SIGKILL, by hand or for want of memory")],
)  # fmt: skip
def test_how_a_process_ended_is_said_in_words(code: int, said: str) -> None:
    assert how_ended(code) == said


def test_a_log_is_set_aside_while_it_is_written_to(tmp_path: Path) -> None:
    with open_log(tmp_path, "worker-1") as log:
        log.write(b"first\n")
        log.flush()
        set_aside(tmp_path / "worker-1.log", limit=3)
        log.write(b"second\n")
    assert (tmp_path / "worker-1.log.1").read_bytes() == b"first\n"
    assert (tmp_path / "worker-1.log").read_bytes() == b"second\n"


def test_a_service_that_cannot_be_started_does_not_end_the_others(tmp_path: Path) -> None:
    child = Child("web", ["true"], os.environ, tmp_path)
    child.start()
    assert child.wait(170)
    (tmp_path / "web.log").unlink()
    (tmp_path / "web.log").mkdir()  # a log that cannot be opened
    assert child.keep_alive() is None  # it waits a while first
    child._started, child._not_before = -1.0, 0.0  # the while is over
    assert "cannot be started" in str(child.keep_alive())
