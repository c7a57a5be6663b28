"""Logs: events and identifiers; no exception's message, no library's arguments, no thread's last words."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from db.logs import place

SETUP = """
import logging, threading, warnings
from db import logs
logs.configure('worker')
log = logs.get('x')
"""
CANARY = "Canary"
SAID = {
    "an uncaught exception": "raise ValueError('Canary^Clara')",
    "a thread's exception": (
        "def f(): raise ValueError('Canary^Clara')\nt = threading.Thread(target=f); t.start(); t.join()"
    ),
    "a library's argument": "logging.getLogger('lib').error('patient %s', 'Canary^Clara')",
    "a library's ready text": "logging.getLogger('lib').error('patient Canary^Clara')",
    "a library's exception": (
        "try: raise ValueError('Canary^Clara')\n"
        "except ValueError: logging.getLogger('lib').exception('x %s', 1)"
    ),
    "pydicom's words": "logging.getLogger('pydicom').warning('bad value Canary^Clara')",
    "a warning": "warnings.warn('bad value Canary^Clara')",
}


def run(code: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code], capture_output=True, text=True, timeout=170, check=False
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("code", SAID.values(), ids=SAID)
def test_a_patient_s_words_do_not_reach_the_log(code: str) -> None:
    out, err = run(code)
    assert CANARY not in out + err


def test_every_line_is_json_on_standard_error_with_a_time_and_a_level() -> None:
    out, err = run(
        "log.info('job_done', job='7'); logging.getLogger('lib').error('no %s', 'x'); raise KeyError"
    )
    lines = [json.loads(line) for line in err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("job_done", "info"), ("library_message", "error"), ("died", "critical"),
    ]  # fmt: skip
    assert (out, all("timestamp" in line for line in lines)) == ("", True)


def test_an_event_s_line_break_cannot_forge_a_line() -> None:
    _, err = run("log.info('x', name='a\\n{\"event\": \"forged\"}')")
    assert len(err.splitlines()) == 1


def test_an_exception_is_told_by_kind_and_place() -> None:
    try:
        raise ValueError("Canary^Clara")
    except ValueError as error:
        told = place(error)
    assert told.startswith("ValueError at tests/db/test_logs.py:")


def test_an_exception_that_was_never_raised_is_told_by_kind() -> None:
    assert place(ValueError("Canary^Clara")) == "ValueError"


def test_a_full_disk_under_the_log_ends_no_service() -> None:
    code = f"{SETUP}\nlog.info('lost')\nlogging.getLogger('x').error('lost')\nprint('alive')"
    words = [sys.executable, "-uc", code]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=full, text=True, timeout=170, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")
