"""A whole installation on real processes: `wetread up` in a home of its own, and its commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

WETREAD = [sys.executable, "-m", "console.cli"]
QUICK = {"WETREAD_SETTLE_SECONDS": "0.5", "WETREAD_TRUNCATED_AFTER_SECONDS": "3", "WETREAD_SCAN_SECONDS": "1",
         "WETREAD_LEASE_SECONDS": "4", "WETREAD_HEARTBEAT_SECONDS": "1", "WETREAD_RESEND_AFTER_SECONDS": "3",
         "WETREAD_HTTP_PORT": "0", "WETREAD_DISK_LOW_BYTES": "1"}  # fmt: skip
PATIENCE = 4  #: times as long as a quiet machine may take: a deadline is for what never comes


class Running:
    """One installation under `wetread up`, and its command line."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.env = {**os.environ, **QUICK, **settings, "WETREAD_HOME": str(home)}
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.output = home.parent / f"{home.name}.log"

    def start(self) -> Running:
        with self.output.open("a") as log:
            self.process = subprocess.Popen([*WETREAD, "up"], env=self.env, stdout=log, stderr=log, text=True)
        offset = self.output.stat().st_size
        self.until(lambda: "Ctrl-C" in self.output.read_text()[offset:], 90, "ready")
        self.url = re.findall(r"http://[\d.]+:\d+", self.output.read_text())[-1]
        return self

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60 * PATIENCE)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*WETREAD, *arguments], env=self.env, capture_output=True, text=True, check=False,
            timeout=60 * PATIENCE,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        done = self.call(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def drop(self, name: str, content: bytes) -> None:
        """As a careful sender does: written under a temporary name, then renamed."""
        target = self.home / "inbox" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".part")
        temporary.write_bytes(content)
        temporary.rename(target)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=10 * PATIENCE) as answer:
            return str(answer.read().decode())

    def concluded(self, files: int) -> bool:
        """That many files were seen, and nothing is left to do."""
        status = self.json("status")
        open_jobs = sum(status["jobs"][s] for s in ("owed", "queued", "running"))
        return _counted(status) >= files and status["files"]["pending"] == 0 and open_jobs == 0

    def seen(self) -> int:
        """Files that were ever seen and are no droppings."""
        return _counted(self.json("status"))

    @staticmethod
    def until(true: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds * PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"not {what} after {seconds * PATIENCE} s"
            time.sleep(0.2)


def _counted(status: Any) -> int:
    return sum(n for state, n in status["files"].items() if state != "ignored")
