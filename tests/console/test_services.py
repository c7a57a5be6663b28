"""How services are put together, seen from outside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from running import WETREAD, Running


def test_what_reads_is_there_before_the_first_file(tmp_path: Path, valkey_url: str) -> None:
    env = {**os.environ, "WETREAD_HOME": str(tmp_path / "home"), "WETREAD_REDIS_URL": valkey_url}
    with (tmp_path / "log").open("wb") as log:
        ingest = subprocess.Popen([*WETREAD, "ingest"], env=env, stdout=log, stderr=log)
    try:
        Running.until(lambda: "ingest.answers" in _children(ingest.pid), 120, "warm")
    finally:
        ingest.kill()
        ingest.wait()


def _children(pid: int) -> str:
    """The command lines of a process's children."""
    done = subprocess.run(
        ["ps", "-ww", "-o", "args=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout
