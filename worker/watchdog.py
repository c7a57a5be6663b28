"""Ends a worker stuck in a native call, or one that lives and consumes nothing; it is then started anew."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from db import metrics
from db.errors import Unavailable
from db.logs import get

log = get("worker")
STUCK, DEAF = 70, 71  #: exit codes: a job that ran too long; hints that nobody takes
Send = Callable[[], None]  #: sends this worker a canary; raises Unavailable when Redis is away


@contextmanager
def limited(seconds: float) -> Iterator[Callable[[], None]]:
    """Ends the process, from a thread that needs no GIL, when what is inside takes longer.

    Gives what begins the time anew, to be called as the work gets on. The threads' places go to standard
    error: files and lines, no values.
    """

    def begin() -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)

    begin()
    try:
        yield begin
    finally:
        faulthandler.cancel_dump_traceback_later()


def end(code: int) -> None:
    """Ends the process at once: a native call cannot be interrupted, only left behind."""
    sys.stderr.flush()
    os._exit(code)


class HandedBack(SystemExit):
    """The worker is being stopped and its batch takes too long: the jobs go back, the hint unacknowledged."""


def hand_back_after(seconds: float, is_busy: Callable[[], bool], stop: Callable[[], None]) -> None:
    """From an orderly stop on, what is in hand has so many seconds; then it is handed back.

    stop: is told at once, so that no more is taken in hand.

    Celery's soft shutdown cannot do this: with the solo pool its wait runs on the thread that reads.
    """
    from celery.signals import worker_shutting_down

    def interrupt(number: int, frame: FrameType | None) -> None:
        if is_busy():
            raise HandedBack(0)

    def begin(**_: object) -> None:
        stop()
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR2))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGUSR2, interrupt)
    worker_shutting_down.connect(begin, weak=False)


class Canary:
    """Hints that an idle worker sends itself: only one that truly consumes answers them."""

    def __init__(
        self, send: Send, is_busy: Callable[[], bool], *, seconds: float, seconds_max: float,
        clock: Callable[[], float] = time.monotonic, end: Callable[[int], None] = end,
    ) -> None:  # fmt: skip
        self._send, self._is_busy, self._clock, self._end = send, is_busy, clock, end
        self._seconds, self._seconds_max = seconds, seconds_max
        self._unanswered_since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def start(self) -> None:
        """Begins to send. A thread of its own: a Redis that hangs must not hold up the leases' renewal."""
        self._thread.start()

    def stop(self) -> None:
        """Sends no more."""
        self._stop.set()

    def answered(self) -> None:
        """The consumer took one."""
        self._unanswered_since = None

    def look(self) -> None:
        """Sends one, and ends the process when none was answered for too long.

        A worker that reads is the watchdog's; a Redis that takes nothing is not the worker's fault.
        """
        if self._is_busy():
            self._unanswered_since = None
            return
        try:
            self._send()
        except Unavailable:
            self._unanswered_since = None
            return
        now = self._clock()
        since = self._unanswered_since
        if since is None:
            self._unanswered_since = now
        elif now - since > self._seconds_max:
            metrics.errors.labels("canary", "unanswered").inc()
            log.critical("consumes_nothing", seconds=round(now - since, 1))
            self._end(DEAF)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the canary must not be what ends
                log.warning("canary_failed", kind=type(error).__name__)
