"""Two workers on PostgreSQL against one, and what their claims cost each other."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import func, select, text

from benchmarks import data
from benchmarks.figures import OURS, Figure
from benchmarks.homes import Home, end, home, link, postgresql, spawn
from benchmarks.options import Options
from db import claims, conclusions, queue, services
from db.jobs import Conclusion
from db.records import Diagnosis
from db.settings import Settings
from db.store import open_store
from db.tables import Job

MODEL, NOTES = "chest-xray", "note-assertion"


def run(options: Options) -> list[Figure]:
    """Films by the reference back-end, a core a worker; then claims alone, without any model."""
    with postgresql(options) as server:
        if server is None:
            return []
        return [*_films(options, server), *_claims(options, server)]


def _films(options: Options, server: Callable[[], str]) -> list[Figure]:
    files = data.films(options.folder / "films", options.count(300, 4))
    rates: dict[int, list[float]] = {1: [], 2: []}
    waits: list[float] = []
    for number, workers in itertools.product(range(options.runs), rates):
        place = options.folder / f"films-{workers}-{number}"
        place.mkdir()
        with home(place, models=MODEL, database_url=SecretStr(server())) as ours:
            link(files, ours.inbox)
            ingest = ours.ingest()
            ours.take(ingest, len(files))
            ours.dispatched(ingest)
            with _lock_waits(ours) as found:
                rates[workers].append(len(files) / _worked(ours, workers))
            if workers == 2:
                waits.append(100 * sum(found) / max(len(found) * workers, 1))
    cores = len(os.sched_getaffinity(0))
    return [
        Figure(
            bar=8, what=f"two workers, each held to a core of its own, {cores} cores", unit="films/s",
            runs={OURS: rates[2], "one worker": rates[1]}, wanted={"one worker": 1.8},
            note="from the first claim to the last commit; PostgreSQL, Valkey and all else share the cores, "
            "of which one is idle beside one worker, none beside two",
        ),
        Figure(
            bar=8, what="two workers: waiting for each other's locks", unit="% of their time",
            runs={OURS: waits, "at most": [2.0]}, wanted={"at most": 1.0}, most=True,
            note="of looks at pg_stat_activity, fifty a second, sessions that wait for a lock",
        ),
    ]  # fmt: skip


@contextmanager
def _lock_waits(ours: Home) -> Iterator[list[int]]:
    """How many sessions wait for a lock, one number a look, filled while the block runs."""
    found: list[int] = []
    over = threading.Event()
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def look() -> None:
        with ours.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not over.wait(0.02):
                found.append(connection.execute(query).scalar_one())

    thread = threading.Thread(target=look, name="locks", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _worked(ours: Home, workers: int) -> float:
    """Seconds from the first claim to the last commit, the models warm before."""
    env = {"WETREAD_DATABASE_URL": ours.settings.database, "WETREAD_THREADS": "1", "WETREAD_MODELS": MODEL,
           "WETREAD_BACKEND": "reference"}  # fmt: skip
    running = [spawn("worker", ours.settings, f"worker-{n}", **env) for n in range(workers)]
    for process, core in zip(running, sorted(os.sched_getaffinity(0)), strict=False):
        os.sched_setaffinity(process.pid, {core})  # before it has threads and children: they inherit it
    try:
        _until(lambda: _ready(ours) == workers, 120, "ready")
        send = queue.sender(queue.celery_app(ours.settings.redis))
        for job_id in ours.hinted:
            send(job_id, "routine")
        _until(lambda: ours.jobs() == {"done": len(ours.hinted)}, 300, "done")
    finally:
        for process in running:
            end(process)
    with ours.store.read() as connection:
        begun, ended = connection.execute(select(func.min(Job.started_at), func.max(Job.finished_at))).one()
    return float((ended - begun).total_seconds())


def _ready(ours: Home) -> int:
    with ours.store.read() as connection:
        alive = services.alive(ours.store, connection, 60)
    return sum(service["state"] == "ready" for service in alive.values())


def _until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the workers are not {what} after {seconds} s")
        time.sleep(0.1)


# ── claims alone ──────────────────────────────────────────────────────────────────────────────────


def _claims(options: Options, server: Callable[[], str]) -> list[Figure]:
    """Milliseconds a job for claim and conclusion together, by one process and by each of two at once."""
    count = options.count(600, 16)
    spent: dict[int, list[float]] = {}
    for workers in (1, 2):
        place = options.folder / f"claims-{workers}"
        place.mkdir()
        with home(place, models=NOTES, database_url=SecretStr(server())) as ours:
            for number in range(count):
                (ours.inbox / f"{number}.txt").write_bytes(data.note(number))
            ingest = ours.ingest()
            ours.take(ingest, count)
            ours.dispatched(ingest)
            halves = [ours.hinted[n::workers] for n in range(workers)]
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                wanted = [(str(ours.settings.home), ours.settings.database, half) for half in halves]
                spent[workers] = pool.starmap(_claim_all, wanted)
            if ours.jobs() != {"done": count}:
                raise AssertionError(f"not every job was concluded: {ours.jobs()}")
    return [
        Figure(
            bar=8, what="claim and conclusion of a job in batches of 8, two processes at once", unit="ms",
            runs={OURS: spent[2], "one process": spent[1]},
            note="the share of a film's time by which this exceeds one process's is what contention costs",
        )
    ]  # fmt: skip


def _claim_all(place: str, url: str, hints: list[str]) -> float:
    """Claims and concludes, as a worker that has no model to run; milliseconds a job."""
    values: Any = Settings(home=Path(place), database_url=SecretStr(url))
    store, _ = open_store(values)
    done, seconds = 0, 0.0
    for number, job_id in enumerate(hints):
        start = time.perf_counter()
        jobs = claims.claim(store, job_id, worker=f"bench-{os.getpid()}", lease_seconds=60, limit=8)
        if jobs:
            conclusions.conclude(
                store, [Conclusion(job=job, diagnosis=Diagnosis(), device="cpu") for job in jobs]
            )
        if number:  # the first connects
            seconds += time.perf_counter() - start
            done += len(jobs)
    store.close()
    return 1000 * seconds / max(done, 1)
