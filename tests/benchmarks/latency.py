"""How long one input waits: from hint to task, from file to result, and at a hundred notes a second."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from redis import Redis
from sqlalchemy import func, select

from benchmarks import data, stamped
from benchmarks.figures import OURS, Figure
from benchmarks.homes import ROOT, Home, end, environment, home
from benchmarks.options import Options
from benchmarks.pipeline import _film
from db import queue
from db.settings import Settings, load
from db.store import open_store
from db.tables import Job
from models import registry
from running import Running
from worker.runtime import set_threads

CELERY = "Celery, a task that does nothing"
NOTES = "note-assertion"
SETTLE = 2.0  #: the setting as it comes


def run(options: Options) -> list[Figure]:
    """Idle: a hint's way and a film's way; busy: a steady stream of notes."""
    return [_hints(options), *_film_alone(options), *_stream(options)]


# ── publish to start ──────────────────────────────────────────────────────────────────────────────


def _hints(options: Options) -> Figure:
    count = options.count(100, 3)
    place = options.folder / "hints"
    place.mkdir()
    with home(place, models=NOTES) as ours:
        client = Redis.from_url(ours.settings.redis)
        app = queue.celery_app(ours.settings.redis)
        waits: dict[str, list[float]] = {}
        jobs = _owed(ours, count + 2)
        for who, kind in ((OURS, "ours"), (CELERY, "bare")):
            process = _worker(ours, kind)
            try:
                found = []
                for job_id in jobs:
                    at = time.time()
                    if kind == "ours":
                        app.send_task(
                            queue.TASK, args=[job_id], queue=queue.queue_name("routine"), retry=False
                        )
                    else:
                        app.send_task(stamped.TASK, args=[job_id], queue=stamped.QUEUE, retry=False)
                    told: Any = client.blpop([stamped.STAMPS], timeout=180)
                    if told is None:
                        raise TimeoutError(f"{who} did not start a task")
                    found.append(1000 * (float(told[1]) - at))
                    time.sleep(0.02)
                waits[who] = found[2:]  # the first waits for the process to be ready
            finally:
                end(process)
        if ours.jobs().get("done", 0) != len(jobs):
            raise AssertionError(f"not every job was done: {ours.jobs()}")
        client.close()
    return Figure(
        bar=3, what="publish to task start, idle", unit="ms", runs=waits, wanted={CELERY: 1.5}, most=True,
        note="; ".join(f"{who}: 99th percentile {_high(w):.1f} ms" for who, w in waits.items()),
    )  # fmt: skip


def _owed(ours: Home, count: int) -> list[str]:
    for number in range(count):
        (ours.inbox / f"{number}.txt").write_bytes(data.note(number))
    ingest = ours.ingest()
    ours.take(ingest, count)
    ours.dispatched(ingest)
    return list(ours.hinted)


def _worker(ours: Home, kind: str) -> subprocess.Popen[bytes]:
    env = environment(
        ours.settings, WETREAD_MODELS=NOTES, WETREAD_BATCH_SIZE="1", BENCH_REDIS=ours.settings.redis
    )
    with (ours.settings.folder("logs") / f"{kind}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stamped", kind], stdout=log, stderr=log, env=env, cwd=ROOT
        )


def _high(values: list[float]) -> float:
    return quantiles(values, n=100)[98] if len(values) > 1 else values[0]


# ── one film, idle ────────────────────────────────────────────────────────────────────────────────


def _film_alone(options: Options) -> list[Figure]:
    count = options.count(20, 1)
    files = data.films(options.folder / "alone", count + 1)
    bare = _bare(files)
    settle = 0.3 if options.short else SETTLE
    installation = Running(
        options.folder / "alone-home", WETREAD_MODELS="chest-xray", WETREAD_SETTLE_SECONDS=str(settle),
        WETREAD_SCAN_SECONDS="5",
    )  # fmt: skip
    waits = []
    with installation_up(installation) as settings:
        store, _ = open_store(settings)
        for number, path in enumerate(files):
            at = time.perf_counter()
            installation.drop(f"{number}.dcm", path.read_bytes())
            while _concluded(store) <= number:
                time.sleep(0.002)
                if time.perf_counter() - at > 60:
                    raise TimeoutError("a film was not read in a minute")
            waits.append(time.perf_counter() - at)
        store.close()
    waits = waits[1:]  # the first warms the readers up
    limit = settle + median(bare)
    return [
        Figure(
            bar=4, what=f"one film, file to committed result, 99th percentile of {count}", unit="s",
            runs={OURS: [_high(waits)], "settling and the bare loop": [limit]},
            wanted={"settling and the bare loop": 1.25}, most=True,
            note=f"a file rests {settle} s, bare {1000 * median(bare):.0f} ms; ours {median(waits):.3f} s",
        )
    ]  # fmt: skip


def _bare(files: list[Path]) -> list[float]:
    """Seconds to read one film, once warm."""
    model = registry.load("chest-xray", "cpu")
    set_threads(0)
    found = []
    for path in files:
        start = time.perf_counter()
        model.examine([_film(path)])
        found.append(time.perf_counter() - start)
    return found[1:] or found


def _concluded(store: Any) -> int:
    with store.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(Job).where(Job.state == "done")) or 0)


# ── a hundred notes a second ──────────────────────────────────────────────────────────────────────


def _stream(options: Options) -> list[Figure]:
    rate, seconds = (10, 1) if options.short else (100, max(round(60 * options.share), 5))
    installation = Running(options.folder / "stream-home", WETREAD_MODELS=NOTES)
    sent: list[float] = []
    with installation_up(installation) as settings:
        start = time.monotonic()
        for number in range(rate * seconds):
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            installation.drop(f"{number}.txt", data.note(number))
            sent.append(time.time())
        store, _ = open_store(settings)
        deadline = time.monotonic() + 120
        while (done := _concluded(store)) < len(sent) and time.monotonic() < deadline:
            time.sleep(0.2)
        behind = time.monotonic() - start - seconds
        with store.read() as connection:
            rows = list(
                connection.execute(select(Job.created_at, Job.finished_at).where(Job.state == "done"))
            )
        store.close()
    ends = sorted(row.finished_at.timestamp() for row in rows)
    waits = [at - begun for begun, at in zip(sorted(sent), ends, strict=False)]
    if done < len(sent):
        options.skip(f"of {len(sent)} notes {done} were read two minutes after the last one")
    return [
        Figure(
            bar=4, what=f"{rate} notes a second for {seconds} s: read", unit="notes/s",
            runs={OURS: [len(ends) / max(ends[-1] - sent[0], 1e-9)], "sent": [len(sent) / seconds]},
            note=f"the last was read {behind:.1f} s after it was sent; n-th in to n-th out: median "
            f"{median(waits):.2f} s, 99th percentile {_high(waits):.2f} s",
        )
    ]  # fmt: skip


class installation_up:  # noqa: N801 - reads as a state at its use
    """An installation under `wetread up`, stopped at the end; gives its settings."""

    def __init__(self, installation: Running) -> None:
        self.installation = installation

    def __enter__(self) -> Settings:
        self.installation.start()
        return load(self.installation.home)

    def __exit__(self, *_: object) -> None:
        self.installation.stop()
