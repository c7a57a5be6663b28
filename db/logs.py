"""Structured logs: a constant event and its fields, identifiers and never people.

Exceptions are logged by their kind and place. Their messages and locals may hold a patient's words
(a parser quotes what it met), so neither is ever written.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

import structlog

ROOT = Path(__file__).resolve().parent.parent


def configure(service: str, level: str = "INFO") -> None:
    """JSON lines on standard error, for wetread's events and for libraries' warnings alike."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(_Lenient(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    handler = _Quiet(service)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("pydicom", "presidio-analyzer"):  # their messages quote values
        logging.getLogger(name).disabled = True
    warnings.simplefilter("ignore")  # a library's warning may quote a value as well
    sys.excepthook = _last_words
    threading.excepthook = lambda died: _last_words(
        died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback
    )


def get(service: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose events carry the service's name."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(service=service)
    return logger


def place(error: BaseException) -> str:
    """An exception's kind and where it arose, without its message: `ValueError at ingest/watch.py:81`."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(str(ROOT)) and "site-packages" not in f.filename]
    if not frames:
        return type(error).__name__
    chosen = (ours or frames)[-1]
    path = Path(chosen.filename)
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return f"{type(error).__name__} at {name}:{chosen.lineno}"


def trace(error: BaseException) -> str:
    """The way to an exception, innermost place first, without its message: `a.py:3 < b.py:12`."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(ROOT))]
    places = [
        f"{Path(f.filename).relative_to(ROOT)}:{f.lineno}"
        for f in reversed(ours)
        if "site-packages" not in f.filename
    ]
    return " < ".join(places[:8])


class _Lenient:
    """Standard error, which may be a file on a full disk: a line that is lost must not end its service."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what it can."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Sends it on, or tries again at the next line."""
        with suppress(OSError):
            self._stream.flush()


class _Quiet(logging.Handler):
    """Passes libraries' records on as events: the logger, the level and the template, no arguments."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._log = get(service)

    def emit(self, record: logging.LogRecord) -> None:
        """One record. The template is the library's constant text; its arguments are left out."""
        template = record.msg if isinstance(record.msg, str) and record.args else "message withheld"
        fields: dict[str, object] = {"logger": record.name, "template": template[:200]}
        if record.exc_info and isinstance(record.exc_info[1], BaseException):
            fields["error"] = place(record.exc_info[1])
        self._log.log(record.levelno, "library_message", **fields)


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    error.__traceback__ = trace
    get("wetread").critical("died", error=place(error))
