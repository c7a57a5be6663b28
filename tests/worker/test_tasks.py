"""Celery's door: one opaque id, everything else refused, and nothing ever raised into Celery."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import text

from db import jobs, queue, services
from db.archive import Archive
from db.errors import Unavailable
from db.inputs import accept
from db.jobs import Owed
from db.ledger import Sighting, see
from db.records import Evidence, Kind
from db.settings import Settings
from db.store import Store, migrate, open_store
from models import registry
from worker.diagnose import Diagnoser
from worker.runtime import Runtime
from worker.tasks import Heartbeat, register

JOB = "0123456789abcdef0123"


class Asked(Diagnoser):
    """A diagnoser that notes what it was asked."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.asked: list[str] = []
        self.error: Exception | None = None

    def diagnose(self, job_id: str) -> int:
        """Notes the job."""
        self.asked.append(job_id)
        if self.error:
            raise self.error
        return 1


@pytest.fixture
def diagnoser(sqlite_store: Store, archive: Archive, settings: Settings) -> Asked:
    """Behind the door."""
    return Asked(settings, sqlite_store, archive, Runtime("cpu"), "worker-1")


@pytest.fixture
def door(diagnoser: Asked) -> Callable[..., object]:
    """The registered task."""
    app = queue.celery_app("redis://127.0.0.1:1/0")
    register(app, diagnoser)
    task: Callable[..., object] = app.tasks[queue.TASK]
    return task


def test_a_job_id_is_passed_on(door: Callable[..., object], diagnoser: Asked) -> None:
    door(JOB)
    assert diagnoser.asked == [JOB]


def test_what_a_later_version_may_add_is_passed_over(door: Callable[..., object], diagnoser: Asked) -> None:
    door(JOB, "later", also="later")
    assert diagnoser.asked == [JOB]


@pytest.mark.parametrize(
    "args",
    [(), (None,), (7,), ([JOB],), ({"id": JOB},), ("",), (JOB.upper(),), (JOB + "0",), (JOB[:-1],),
     (JOB + "\n",), ("'; DROP TABLE jobs; --",)],
)  # fmt: skip
def test_a_malformed_message_is_refused(
    door: Callable[..., object], diagnoser: Asked, args: tuple[object, ...]
) -> None:
    door(*args)
    assert diagnoser.asked == []


@pytest.mark.parametrize("error", [Unavailable("database: away"), ValueError("Canary^Clara")])
def test_no_error_leaves_the_door(door: Callable[..., object], diagnoser: Asked, error: Exception) -> None:
    diagnoser.error = error
    assert door(JOB) is None


def test_a_heartbeat_renews_the_leases_in_hand_and_names_its_models(
    diagnoser: Asked, sqlite_store: Store, settings: Settings
) -> None:
    diagnoser.runtime.refused["film"] = "film: a file is missing"
    heart = Heartbeat(settings, diagnoser, "worker-1")
    heart.ready()
    with sqlite_store.read() as connection:
        found = services.alive(sqlite_store, connection, 20)["worker-1"]
    assert (found["state"], found["refused"]) == ("ready", {"film": "film: a file is missing"})


def test_a_heartbeat_outlives_a_database_that_is_away(
    diagnoser: Asked, settings: Settings, key: object
) -> None:
    diagnoser.store = Store("postgresql+psycopg://nobody@127.0.0.1:1/none", key)  # type: ignore[arg-type]
    Heartbeat(settings, diagnoser, "worker-1").beat()


@pytest.fixture
def home(tmp_path: Path, valkey_url: str, redis: Redis) -> Iterator[dict[str, str]]:
    """A migrated home with a real worker process on a real Valkey; its environment."""
    env = {
        **os.environ, "WETREAD_HOME": str(tmp_path / "home"), "WETREAD_REDIS_URL": valkey_url,
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    log = (tmp_path / "worker.log").open("wb")
    command = [sys.executable, "-m", "console.cli", "worker", "--device", "cpu", "--name", "worker-1"]
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    yield env
    process.send_signal(signal.SIGTERM)
    assert process.wait(170) == 0
    log.close()


def until(holds: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)


@pytest.mark.acceptance
def test_pickled_malformed_and_unknown_messages_are_refused_and_the_worker_reads_on(
    home: dict[str, str], redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    settings = Settings(home=Path(home["WETREAD_HOME"]))
    until(settings.master_key.exists)
    store, archive = open_store(settings)
    migrate(store)
    with store.write() as writer:
        digest = archive.put_bytes(b"Known asthma.")
        file_id = see(writer, [Sighting(name="n", suffix="", bytes=1)])["n"]
        card = registry.card("note-assertion")
        owed = Owed(model=card.name, version=card.version, weights_sha256=card.weights_sha256)
        accept(writer, file_id, Evidence(kind=Kind.NOTE), digest=digest, size=13, owed=[owed])
    ((job_id, lane),) = jobs.take_owed(store)
    app = queue.celery_app(valkey_url)
    bad = queue.celery_app(valkey_url)
    bad.conf.update(task_serializer="pickle", accept_content=["pickle"])
    trap = tmp_path / "trap"
    bad.send_task(queue.TASK, args=[Trap(str(trap))], queue="wetread.routine", serializer="pickle")
    app.send_task(queue.TASK, args=["Canary^Clara"], queue="wetread.routine")
    app.send_task("wetread.unknown", args=["Canary^Clara"], queue="wetread.routine")
    redis.lpush("wetread.routine", json.dumps({"body": "Canary^Clara", "headers": {}, "properties": {}}))
    queue.sender(app)(job_id, lane)
    until(lambda: _state(store, job_id) == "done")
    assert not trap.exists()
    assert "Canary" not in (tmp_path / "worker.log").read_text()
    store.close()


class Trap:
    """Pickled, it writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (self.path,))


def test_the_trap_would_spring_if_it_were_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(str(tmp_path / "trap"))))  # noqa: S301 - our own
    assert (tmp_path / "trap").exists()


def _state(store: Store, job_id: str) -> str:
    with store.read() as connection:
        return str(connection.scalar(text("SELECT state FROM jobs WHERE id = :i"), {"i": job_id}))
