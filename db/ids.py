"""Opaque ids of 80 bits, short enough to type: when they were made, and chance."""

import secrets
import threading
import time

PATTERN = "[0-9a-f]{20}"
CHANCE = 36  #: bits below the 44 of the time in ms since 1970
STEP = 20  #: bits of chance between two of the same millisecond

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A fresh id of a file, an input or a job; it says nothing of what it names but when it was seen.

    Ids grow with time: rows that come together lie together in every index, however large it is.
    """
    global _last  # noqa: PLW0603 - that no two of a process are the same is the process's business
    fresh = time.time_ns() // 1_000_000 << CHANCE | secrets.randbits(CHANCE)
    with _lock:
        if fresh >> CHANCE <= _last >> CHANCE:  # the same millisecond, or a clock put back
            fresh = _last + 1 + secrets.randbits(STEP)
        _last = fresh
    return f"{fresh:020x}"
