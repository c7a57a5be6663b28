"""The whole of wetread on one machine: Valkey, database, ingest, workers and web under one supervisor."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

from console import valkey
from console.children import Child, open_log
from console.liveness import Liveness
from console.ports import require_free
from db.errors import Misconfigured, Unavailable
from db.settings import Settings
from db.store import migrate, open_store, require_own

MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is made anew, and is the owner's alone
HOME = "home"  #: in the folder of the counters: whose they are
READY_SECONDS = 90  #: without anything new to wait for; models may take longer to open, one by one
STOP_SECONDS = 30
NO_ROOM = "ingest: waiting: disk"  #: what /readyz says when nothing but room is missing
Say = Callable[[str], None]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  #: our own services need no proxy


class Up:
    """The supervisor: starts everything, keeps it running, stops it in order."""

    def __init__(self, settings: Settings, workers: int, say: Say) -> None:
        self.settings = settings
        self.say = say
        self.children: list[Child] = []
        self.port = settings.http_port
        self.stopping = False
        self._workers = workers
        self._valkey: Child | None = None
        self._lock: IO[str] | None = None
        self._liveness: Liveness | None = None
        self._metrics: Path | None = None

    @property
    def url(self) -> str:
        """Where the web service answers on this machine."""
        return f"http://{reached_at(self.settings.http_host)}:{self.port}"

    def start(self) -> None:
        """Makes the home if need be, migrates, starts every process. Raises WetreadError with the cure."""
        os.umask(0o077)  # findings are the owner's alone, wherever a library puts a file
        self.settings.make_folders()
        self.settings.require_access()
        self._lock_home()
        self.port = self._http_port()
        store, _ = open_store(self.settings, create_key=True)
        migrate(store)
        require_own(store)
        self._liveness = Liveness(self.settings, store)
        if self.settings.redis_url is None:
            self._start_valkey()
        self._metrics = shared_metrics(self.settings)
        env = {
            **os.environ, "WETREAD_HOME": str(self.settings.home), "WETREAD_HTTP_PORT": str(self.port),
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        services = ["web", "ingest", *(f"worker-{n + 1}" for n in range(self._workers))]
        for name in services:
            command = [sys.executable, "-m", "console.cli", name.partition("-")[0], "--name", name]
            child = Child(name, command, env, self.settings.folder("logs"))
            child.start()
            self.children.append(child)

    def _lock_home(self) -> None:
        path = self.settings.home / "up.lock"
        try:
            self._lock = path.open("w")
        except OSError as error:
            raise Misconfigured(f"{path}: cannot be written ({error.strerror}); whose home is it?") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured(
                "wetread is already up in this home; stop it first, or name another --home"
            ) from None

    def _http_port(self) -> int:
        if self.settings.http_port == 0:
            return valkey.free_port()
        require_free(self.settings.http_host, self.settings.http_port)
        return self.settings.http_port

    def _start_valkey(self) -> None:
        logs = self.settings.folder("logs")
        with open_log(logs, "valkey") as log:
            process = valkey.start(self.settings, log)
        self._valkey = Child("valkey", valkey.command(self.settings), os.environ, logs)
        self._valkey.adopt(process)

    def wait_ready(self) -> None:
        """Waits until /readyz says yes, or misses nothing but room on the disk.

        Raises Unavailable with what is missing once that stays the same.
        """
        deadline, last, met = time.monotonic() + READY_SECONDS, "no answer", set[str]()
        while time.monotonic() < deadline and not self.stopping:
            ready, last = probe(self.url)
            if ready:
                return
            if last == NO_ROOM:  # ingest alone needs it: what was taken in is read and shown meanwhile
                floor = self.settings.disk_resume_bytes / 1e9
                self.say(f"the disk is nearly full: files wait in the inbox until {floor:.1f} GB are free")
                return
            if news(last) not in met:  # `warming 7/20` is; a service that falls over again is not
                met.add(news(last))
                deadline = time.monotonic() + READY_SECONDS
            self.tend()
            time.sleep(0.1)
        if not self.stopping:
            raise Unavailable(
                f"not ready, and nothing changed for {READY_SECONDS} s: {last}; see "
                f"{shown(self.settings.folder('logs'))}"
            )

    def tend(self) -> None:
        """Starts what has fallen over."""
        for child in [*([self._valkey] if self._valkey else []), *self.children]:
            line = child.keep_alive()
            if line:
                self.say(line)
        self._end_the_deaf()

    def _end_the_deaf(self) -> None:
        """A worker that lives and consumes nothing is ended; the next turn starts it again."""
        workers = {c.name: c for c in self.children if c.name.startswith("worker") and c.pid}
        if self._liveness is None:
            return
        for name in self._liveness.deaf({n: c.pid for n, c in workers.items() if c.pid}):
            self.say(f"{name} lives but has proved nothing for too long; ending it")
            workers[name].signal(signal.SIGKILL)

    def run(self) -> None:
        """Tends the services until told to stop."""
        while not self.stopping:
            self.tend()
            time.sleep(0.25)

    def stop(self) -> None:
        """Stops ingest and workers (each finishes what it holds), then the web, then Valkey."""
        for child in self.children:
            child.signal(signal.SIGTERM)
        patience = max(STOP_SECONDS, self.settings.stop_seconds + 10)
        deadline = time.monotonic() + patience
        for child in self.children:
            if not child.wait(max(0.1, deadline - time.monotonic())):
                self.say(f"{child.name} did not stop within {patience:g} s; its job will be read again")
                child.signal(signal.SIGKILL)
                child.wait(5)
        if self._valkey is not None:
            self._valkey.signal(signal.SIGTERM)
            if not self._valkey.wait(10):
                self._valkey.signal(signal.SIGKILL)
        if self._metrics is not None:
            shutil.rmtree(self._metrics, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def handle_signals(self) -> None:
        """Ctrl-C and SIGTERM ask for an orderly stop; a second one does not make it disorderly."""

        def ask(number: int, frame: FrameType | None) -> None:
            self.stopping = True

        signal.signal(signal.SIGTERM, ask)
        signal.signal(signal.SIGINT, ask)


def shared_metrics(settings: Settings, memory: Path = MEMORY) -> Path:
    """An empty folder in which the services share their counters.

    In memory, where there is such a file system: these files are mapped, and whoever writes to one on a full
    disk is ended by SIGBUS. Named by the home, so that a supervisor that was killed leaves no more than one,
    which goes when its home has gone.
    """
    for left in memory.glob(f"wetread-{os.getuid()}-*"):
        with suppress(OSError):
            if not Path(os.fsdecode((left / HOME).read_bytes())).is_dir():
                shutil.rmtree(left)
    named = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:16]
    for folder in (memory / f"wetread-{os.getuid()}-{named}", settings.folder("metrics")):
        try:
            if folder.is_dir():
                shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            (folder / HOME).write_bytes(os.fsencode(settings.home))
        except OSError:  # no such file system, or somebody else's folder
            continue
        return folder
    raise Misconfigured(f"{folder}: cannot be made anew; give it to the user that runs wetread")


def news(missing: str) -> str:
    """What is missing, without for how long."""
    return re.sub(r" for \d+ s", "", missing)


def reached_at(host: str) -> str:
    """The host part of a URL at which what binds this address answers here."""
    if host in ("", "0.0.0.0"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return "[::1]" if host == "::" else f"[{host}]" if ":" in host else host


def probe(url: str) -> tuple[bool, str]:
    """Is the web service ready, and if not, what is missing?"""
    try:
        with _DIRECT.open(f"{url}/readyz", timeout=2) as answer:
            return answer.status == 200, "ready"
    except urllib.error.HTTPError as error:
        checks = json.loads(error.read()).get("checks", {})
        return False, "; ".join(f"{k}: {v}" for k, v in checks.items() if v != "ok")
    except (OSError, ValueError):
        return False, "the web service does not answer"


def welcome(up: Up, seconds: float) -> str:
    """What a person reads once everything is ready."""
    home = shlex.quote(shown(up.settings.home))
    option = "" if up.settings.home == Path("wetread-home").absolute() else f" --home {home}"
    command = shown(Path(sys.argv[0])) if Path(sys.argv[0]).name == "wetread" else "wetread"
    return f"""\
wetread is ready ({seconds:.1f} s).
  drop files into  {shown(up.settings.folder("inbox"))}
  see it at        {up.url}/   (metrics: {up.url}/metrics)
  see results      {command} results{option}
  see the state    {command} status{option}
  stop             Ctrl-C
Preliminary readings for research and decision support; not a medical device."""


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
