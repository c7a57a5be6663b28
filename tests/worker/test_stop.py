"""A real Celery worker on a real Valkey: it hands back what it cannot finish, and takes stat work first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select, text

from db import jobs, queue
from db.archive import Archive
from db.inputs import accept
from db.jobs import Owed
from db.ledger import Sighting, see
from db.records import Evidence, Kind
from db.settings import load
from db.store import Store, migrate, open_store
from db.tables import Job

WORKER = """
import sys, time
from pathlib import Path
from db import queue
from db.records import Diagnosis
from db.settings import load
from db.store import open_store
from tests.bench import card
from worker.diagnose import Diagnoser
from worker.runtime import Runtime
from worker.tasks import consume, register

class Slow:
    card, device = card("words", "note"), "cpu"

    def examine(self, payloads):
        until = time.monotonic() + float(sys.argv[2])
        while time.monotonic() < until and not Path(sys.argv[3]).exists():
            time.sleep(0.05)
        return [Diagnosis.abstain("slow", "it was") for _ in payloads]

settings = load(Path(sys.argv[1]))
store, archive = open_store(settings)
runtime = Runtime("cpu")
runtime.models["words"] = Slow()
app = queue.celery_app(settings.redis)
diagnoser = Diagnoser(
    settings, store, archive, runtime, "worker-1", lanes=queue.LANES, enqueue=queue.sender(app)
)
register(app, diagnoser)
consume(app, "worker-1", queue.LANES, diagnoser)
"""
pytestmark = pytest.mark.acceptance


class Site:
    """A home, its jobs and a worker process."""

    def __init__(self, home: Path, url: str) -> None:
        self.env = {**os.environ, "WETREAD_REDIS_URL": url}
        self.settings = load(home)
        self.store: Store
        self.archive: Archive
        self.store, self.archive = open_store(self.settings, create_key=True)
        migrate(self.store)
        self.send = queue.sender(queue.celery_app(url))
        self.worker: subprocess.Popen[bytes] | None = None
        self.enough = home.parent / "enough"  #: the file that ends every reading
        self._log = (home.parent / "worker.log").open("wb")
        self._count = 0

    def start(self, seconds: float, stop_seconds: float = 1) -> None:
        """A worker that reads each batch for so long, and has so long to finish once it is stopped."""
        command = [sys.executable, "-c", WORKER, str(self.settings.home), str(seconds), str(self.enough)]
        env = {**self.env, "WETREAD_STOP_SECONDS": str(stop_seconds)}
        self.worker = subprocess.Popen(command, env=env, stdout=self._log, stderr=self._log)

    def owe(self, lane: str, count: int = 1) -> None:
        with self.store.write() as writer:
            for _ in range(count):
                self._count += 1
                digest = self.archive.put_bytes(f"note {self._count}".encode())
                name = str(self._count)
                file_id = see(writer, [Sighting(name=name, suffix="", bytes=1)])[name]
                owed = Owed(model="words", version="1", weights_sha256="w" * 64, lane=lane)
                accept(writer, file_id, Evidence(kind=Kind.NOTE), digest=digest, size=1, owed=[owed])
        for hint in jobs.take_owed(self.store):
            self.send(*hint)

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with self.store.read() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def until(self, holds: Callable[[], bool], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.05)

    def close(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()
        self.store.close()
        self._log.close()


@pytest.fixture
def site(tmp_path: Path, valkey_url: str, redis: Redis) -> Iterator[Site]:
    """Ended whatever happens."""
    found = Site(tmp_path / "home", valkey_url)
    yield found
    found.close()


def test_a_stopped_worker_hands_back_what_it_cannot_finish(site: Site, redis: Redis) -> None:
    site.owe("routine")
    site.start(600)
    site.until(lambda: site.ask("SELECT state FROM jobs") == [("running",)])
    assert redis.hlen("unacked") == 1
    assert site.worker is not None
    site.worker.send_signal(signal.SIGTERM)
    assert site.worker.wait(300) == 0
    assert site.ask("SELECT state, attempts, token FROM jobs") == [("owed", 0, None)]
    assert redis.hlen("unacked") == 0  # the hint went back to its lane
    assert site.store.verify_audit().ok


def test_a_stopped_worker_finishes_what_it_can(site: Site, redis: Redis) -> None:
    site.owe("routine")
    site.start(600, stop_seconds=600)
    site.until(lambda: site.ask("SELECT state FROM jobs") == [("running",)])
    assert site.worker is not None
    site.worker.send_signal(signal.SIGTERM)
    site.enough.touch()
    assert site.worker.wait(300) == 0
    assert site.ask("SELECT state FROM jobs") == [("abstained",)]
    assert redis.hlen("unacked") == 0


def test_a_stat_job_behind_300_routine_ones_starts_after_the_running_batch(site: Site) -> None:
    site.owe("routine", 300)
    site.start(0.2)
    site.until(lambda: bool(site.ask("SELECT id FROM jobs WHERE state = 'abstained'")))
    site.owe("stat")
    hinted = site.store.now()
    site.until(lambda: not site.ask("SELECT id FROM jobs WHERE state IN ('owed', 'queued', 'running')"))
    with site.store.read() as connection:
        rows = connection.execute(select(Job.lane, Job.started_at)).all()
    (stat,) = [at for lane, at in rows if lane == "stat"]
    between = {at for _, at in rows if hinted < at < stat}
    assert len(between) <= 2  # a batch that was being claimed, and one turn yielded
    assert site.ask("SELECT max(attempts) FROM jobs") == [(1,)]  # the 301 were each read once
