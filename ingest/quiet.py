"""Keeps the DICOM libraries' warnings and logs, which quote patients' values, from getting anywhere."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "rle", "libjpeg")
_lock = threading.Lock()
_guards: list[warnings.catch_warnings[None]] = []
_inside = 0


def _silence_loggers() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.CRITICAL + 1)


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings are ignored while any thread is inside.

    `warnings.catch_warnings` alone is not safe among threads: the first to leave would restore the
    filters under the others. Here the first in sets them and the last out restores them.
    """
    global _inside  # noqa: PLW0603 - a count of threads belongs to the process
    with _lock:
        if _inside == 0:
            guard = warnings.catch_warnings()
            guard.__enter__()
            warnings.simplefilter("ignore")
            _guards.append(guard)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _guards.pop().__exit__(None, None, None)


_silence_loggers()
