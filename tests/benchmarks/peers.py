"""Who else takes files in: Orthanc, dcmtk's storescp, cp; each on a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.homes import end
from console.valkey import free_port

NODELAY = {"TCP_NODELAY": "1"}


class Absent(Exception):  # noqa: N818
    """A peer is not installed; the sentence says which."""


def _require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise Absent(f"{program} is not installed (Debian: apt-get install orthanc dcmtk)")


@contextmanager
def _listening(command: Sequence[str], port: int, folder: Path, **env: str) -> Iterator[None]:
    with (folder / "peer.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **env})
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Absent(f"{Path(command[0]).name} did not start")
            time.sleep(0.05)
        yield
    finally:
        end(process)


def _send(source: Path, port: int, title: str) -> float:
    """A whole folder sent by storescu over one association; the seconds."""
    command = ["storescu", "-aec", title, "+sd", "127.0.0.1", str(port), str(source)]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **NODELAY})
    return time.perf_counter() - start


def orthanc(source: Path, folder: Path) -> float:
    """Seconds for Orthanc to store a folder sent to it; files synced, as it comes."""
    _require("Orthanc", "storescu")
    folder.mkdir(parents=True)
    port = free_port()
    wanted = {
        "Name": "bench", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
        "DicomPort": port, "DicomAet": "ORTHANC", "HttpServerEnabled": False, "Plugins": [],
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(wanted))
    with _listening(["Orthanc", str(folder / "orthanc.json")], port, folder, **NODELAY):
        return _send(source, port, "ORTHANC")


def storescp(source: Path, folder: Path) -> float:
    """Seconds for dcmtk's storescp to store a folder sent to it, Nagle's algorithm off; it syncs nothing."""
    _require("storescp", "storescu")
    (folder / "out").mkdir(parents=True)
    port = free_port()
    with _listening(["storescp", "-od", str(folder / "out"), str(port)], port, folder, **NODELAY):
        seconds = _send(source, port, "STORESCP")
    stored = sum(1 for _ in (folder / "out").iterdir())
    if stored != sum(1 for _ in source.iterdir()):
        raise Absent(f"storescp stored {stored} files only")
    return seconds


def cp(source: Path, folder: Path) -> float:
    """Seconds for cp to copy a folder, nothing synced."""
    start = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(folder)], check=True)
    return time.perf_counter() - start


def cp_synced(source: Path, folder: Path) -> float:
    """Seconds for cp to copy a folder, and sync to bring its file system to the disk."""
    start = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(folder)], check=True)
    subprocess.run(["sync", "-f", str(folder)], check=True)
    return time.perf_counter() - start


RECEIVERS: dict[str, Callable[[Path, Path], float]] = {
    "Orthanc C-STORE": orthanc,
    "storescp, TCP_NODELAY": storescp,
    "cp": cp,
    "cp, then one sync": cp_synced,
}
