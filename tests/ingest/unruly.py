"""The child that reads, with what may befall it: a file's name says what. Run by the tests of its limits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from ingest import answers
from ingest.shelter import Answer, serve

GATE = "UNRULY_GATE"  #: names a file without which the child does not begin to serve


def answer(question: dict[str, Any], data: bytes) -> Answer:
    """What the child would answer, unless its file has it do otherwise."""
    path = Path(question.get("path") or question["files"][0][0])
    with path.with_suffix(".asked").open("a") as asked:
        asked.write(question["do"] + "\n")
    if path.stem == "spins":
        while True:
            pass
    if path.stem == "sleeps":
        time.sleep(3600)
    if path.stem == "waits":
        path.with_suffix(".fifo").read_bytes()
    if path.stem == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.stem == "killed" and path.with_suffix(".asked").read_text().count("\n") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return answers._answer(question, data)


if __name__ == "__main__":
    while GATE in os.environ and not Path(os.environ[GATE]).exists():
        time.sleep(0.01)
    serve(answer, memory=answers.PIXEL_MEMORY, seconds=answers.SECONDS)
