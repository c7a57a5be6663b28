"""Child processes that die with their parent, log to a file, and come back when they fall over."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

LOG_BYTES = 20 * 1024 * 1024  #: a log larger than this is set aside as .1, in place of the one before
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Runs in the child before exec: a supervisor that is killed leaves nobody behind."""
    os.setsid()  # Ctrl-C reaches the supervisor alone, which then stops the others in order
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def open_log(folder: Path, name: str) -> BinaryIO:
    """A service's log, appended to."""
    path = folder / f"{name}.log"
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def set_aside(path: Path, limit: int = LOG_BYTES) -> None:
    """Copies a log that has grown too large, and empties it: its service goes on writing into it.

    What it writes in between is lost, and what the disk has no room for.
    """
    with suppress(OSError):
        if path.stat().st_size <= limit:
            return
        with suppress(OSError):
            shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)


def how_ended(code: int) -> str:
    """How a process ended, in words: a signal by its name."""
    if code >= 0:
        return f"exit {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"{name}, by hand or for want of memory" if name == "SIGKILL" else name


class Child:
    """One service's process, restarted with growing pauses when it ends by itself."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.restarts = 0
        self._command = list(command)
        self._env = dict(env)
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Starts the process."""
        with open_log(self._logs, self.name) as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the supervisor has one thread
            )  # fmt: skip
        self._started = time.monotonic()

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Takes over a process that was started elsewhere by the same command."""
        self._process, self._started = process, time.monotonic()

    def keep_alive(self) -> str | None:
        """Restarts a process that ended, after a pause; returns a line about it when it does.

        Keeps its log from growing without end, too.
        """
        set_aside(self._logs / f"{self.name}.log")
        if self._process is None or self._process.poll() is None:
            return None
        now = time.monotonic()
        if self._not_before <= self._started:  # newly found dead
            quick = now - self._started < 30
            pause = min(30.0, 2.0 ** min(self.restarts, 5)) if quick else 0.5
            self._not_before = now + pause
        if now < self._not_before:
            return None
        how = how_ended(self._process.returncode)
        self.restarts += 1
        try:
            self.start()
        except OSError as error:  # no process or file to be had: the others must be tended all the same
            self._not_before = now + 5.0
            return f"{self.name} ended ({how}) and cannot be started ({error.strerror}); tried again in 5 s"
        return f"{self.name} ended ({how}); started again, see logs/{self.name}.log"

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Waits for the process to end; whether it did."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
