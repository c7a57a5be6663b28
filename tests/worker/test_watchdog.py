"""A stuck call ends its worker and counts a try; a worker that consumes nothing is found out."""

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
from sqlalchemy import text

from db import jobs, queue, services
from db.archive import Archive
from db.errors import Unavailable
from db.inputs import accept
from db.jobs import Owed
from db.ledger import Sighting, see
from db.records import Evidence, Kind
from db.settings import Settings, load
from db.store import Store, migrate, open_store
from running import WETREAD, Running
from worker.tasks import canary_sender
from worker.watchdog import DEAF, STUCK, Canary

STUCK_WORKER = """
import ctypes, sys, time
from pathlib import Path
from db.settings import load
from db.store import open_store
from tests.bench import card
from worker.diagnose import Diagnoser
from worker.runtime import Runtime
from worker.tasks import Heartbeat

class Sleeper:
    card, device = card("words", "note"), "cpu"

    def examine(self, payloads):
        if sys.argv[3] == "holding":
            ctypes.PyDLL(None).sleep(120)  # a native call that never lets the interpreter go
        time.sleep(120)

settings = load(Path(sys.argv[1]))
store, archive = open_store(settings)
runtime = Runtime("cpu")
runtime.models["words"] = Sleeper()
diagnoser = Diagnoser(settings, store, archive, runtime, "worker-1")
Heartbeat(settings, diagnoser, "worker-1").start()
diagnoser.diagnose(sys.argv[2])
"""
QUICK = {"WETREAD_LEASE_SECONDS": "1", "WETREAD_HEARTBEAT_SECONDS": "0.3", "WETREAD_JOB_SECONDS_MAX": "2"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Settings, Store, Archive]]:
    """An installation that lets a job run for two seconds."""
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    settings = load(tmp_path / "home")
    store, archive = open_store(settings, create_key=True)
    migrate(store)
    yield settings, store, archive
    store.close()


def owe(store: Store, archive: Archive) -> str:
    digest = archive.put_bytes(b"Cough.")
    with store.write() as writer:
        file_id = see(writer, [Sighting(name="n", suffix="", bytes=1)])["n"]
        owed = Owed(model="words", version="1", weights_sha256="w" * 64)
        accept(writer, file_id, Evidence(kind=Kind.NOTE), digest=digest, size=6, owed=[owed])
    return jobs.take_owed(store)[0][0]


@pytest.mark.acceptance
@pytest.mark.parametrize(("how", "code", "state"), [("letting-go", STUCK, "owed"), ("holding", 1, "running")])
def test_a_stuck_native_call_ends_the_process_and_its_job_counts_a_try(
    home: tuple[Settings, Store, Archive], how: str, code: int, state: str
) -> None:
    settings, store, archive = home
    job = owe(store, archive)
    done = subprocess.run(
        [sys.executable, "-c", STUCK_WORKER, str(settings.home), job, how],
        capture_output=True, timeout=170, check=False,
    )  # fmt: skip
    with store.read() as connection:
        row = connection.execute(text("SELECT state, attempts FROM jobs")).one()
    assert (done.returncode, tuple(row)) == (code, (state, 1)), done.stderr.decode()[-2000:]
    if state == "running":  # nobody could write: its lease brings it back
        time.sleep(settings.lease_seconds)
        assert jobs.reap(store, 3) == 1


class Clock:
    """A time that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def sent(clock: Clock, looks: int, canary: Canary, answer: bool = False) -> None:
    for _ in range(looks):
        clock.now += 10
        canary.look()
        if answer:
            canary.answered()


@pytest.fixture
def clock() -> Clock:
    """Of a canary."""
    return Clock()


@pytest.fixture
def ended() -> list[int]:
    """The codes a canary ended its process with."""
    return []


def canary_of(
    clock: Clock, ended: list[int], send: Callable[[], None] = lambda: None, busy: bool = False
) -> Canary:
    return Canary(send, lambda: busy, seconds=10, seconds_max=30, clock=clock, end=ended.append)


def test_unanswered_canaries_end_the_worker_after_their_time(clock: Clock, ended: list[int]) -> None:
    canary = canary_of(clock, ended)
    sent(clock, 4, canary)
    assert ended == []
    sent(clock, 1, canary)
    assert ended == [DEAF]


def test_an_answer_lets_it_live(clock: Clock, ended: list[int]) -> None:
    sent(clock, 20, canary_of(clock, ended), answer=True)
    assert ended == []


def test_one_lost_canary_harms_nobody(clock: Clock, ended: list[int]) -> None:
    canary = canary_of(clock, ended)
    for _ in range(5):
        sent(clock, 2, canary)
        sent(clock, 1, canary, answer=True)
    assert ended == []


def test_a_worker_that_reads_owes_no_canary(clock: Clock, ended: list[int]) -> None:
    sent(clock, 20, canary_of(clock, ended, busy=True))
    assert ended == []


def test_a_redis_that_is_away_is_not_the_worker_s_fault(clock: Clock, ended: list[int]) -> None:
    def away() -> None:
        raise Unavailable("redis: away")

    sent(clock, 20, canary_of(clock, ended, away))
    assert ended == []


def test_a_canary_goes_to_its_worker_s_own_list_and_old_ones_go(valkey_url: str, redis: Redis) -> None:
    app = queue.celery_app(valkey_url)
    for _ in range(2):
        canary_sender(app, redis, "worker-1")()
    assert redis.llen("wetread.canary.worker-1") == 1


def until(holds: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.2)


@pytest.mark.acceptance
def test_a_real_worker_whose_consumer_hangs_ends_itself(
    tmp_path: Path, valkey_url: str, redis: Redis
) -> None:
    env = {
        **os.environ, "WETREAD_HOME": str(tmp_path / "home"), "WETREAD_REDIS_URL": valkey_url,
        "WETREAD_MODELS": "note-assertion", "WETREAD_CANARY_SECONDS": "0.5",
        "WETREAD_CANARY_SECONDS_MAX": "6", "WETREAD_HEARTBEAT_SECONDS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    store, archive = open_store(load(tmp_path / "home"), create_key=True)
    migrate(store)
    job = owe(store, archive)
    with (tmp_path / "log").open("wb") as log:
        command = [*WETREAD, "worker", "--device", "cpu", "--name", "worker-1"]
        worker = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        until(lambda: "canary_at" in _detail(store))
        began = _detail(store)["canary_at"]
        until(lambda: _detail(store)["canary_at"] != began)  # it answers, as it should
        with store.write():  # its next claim waits for this lock
            queue.sender(queue.celery_app(valkey_url))(job, "routine")
            assert worker.wait(300) == DEAF
    finally:
        worker.kill()
        worker.wait()
        store.close()


def _detail(store: Store) -> dict[str, object]:
    with store.read() as connection:
        return services.alive(store, connection, 60).get("worker-1", {})


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_a_worker_that_lives_but_does_nothing_is_started_anew(tmp_path: Path) -> None:
    running = Running(
        tmp_path / "home", WETREAD_MODELS="note-assertion", WETREAD_CANARY_SECONDS="1",
        WETREAD_CANARY_SECONDS_MAX="5", OMP_NUM_THREADS="1",
    ).start()  # fmt: skip
    try:
        pid = running.json("status")["services"]["worker-1"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        running.drop("a.txt", b"Fever and cough for two days. He denies chest pain.\n")
        running.until(lambda: running.json("status")["services"]["worker-1"]["pid"] != pid, 120, "anew")
        running.until(lambda: running.concluded(1), 120, "read")
        assert 'wetread_canary_age_seconds{service="worker-1"}' in running.get("/metrics")
        assert "proved nothing" in running.output.read_text()
    finally:
        running.stop()
