"""What stays flat or linear: memory over many studies, and a folder of a hundred thousand files."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks import data
from benchmarks.figures import OURS, Figure
from benchmarks.homes import home
from benchmarks.options import Options
from db.records import FileState

MODEL = "note-assertion"


def run(options: Options) -> list[Figure]:
    """Notes, the shortest studies; each is one."""
    return [*_memory(options), *_folder(options)]


def _memory(options: Options) -> list[Figure]:
    parts, each = (3, 10) if options.short else (10, options.count(1000, 10))
    place = options.folder / "memory"
    place.mkdir()
    resident, rates = [], []
    with home(place, models=MODEL) as ours:
        ingest, diagnoser = ours.ingest(), ours.diagnoser()
        for part in range(parts):
            for number in range(part * each, (part + 1) * each):
                (ours.inbox / f"{number}.txt").write_bytes(data.note(number))
            start = time.perf_counter()
            ours.take(ingest, (part + 1) * each)
            while ours.dispatched(ingest) < (part + 1) * each:
                time.sleep(0.05)
            for job_id in ours.hinted[part * each :]:
                diagnoser.diagnose(job_id)
            rates.append((time.perf_counter() - start) / each * 1000)
            resident.append(_resident())
        if ours.jobs() != {"done": parts * each}:
            raise AssertionError(f"not every note was read: {ours.jobs()}")
    half = parts // 2
    return [
        Figure(
            bar=7, what=f"memory after {parts * each} studies, against after {half * each}", unit="MiB",
            runs={OURS: [resident[-1]], "halfway": [resident[half - 1]]}, wanted={"halfway": 1.05}, most=True,
            note="intake and worker in one process; MiB after each tenth: "
            + ", ".join(f"{mib:.0f}" for mib in resident),
        ),
        Figure(
            bar=7, what="a study taken in and read, the last tenth against the first", unit="ms",
            runs={OURS: [rates[-1]], "first": [rates[0]]}, wanted={"first": 1.2}, most=True,
        ),
    ]  # fmt: skip


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _folder(options: Options) -> list[Figure]:
    """Files found and entered in the ledger, none lost; the time a file at three sizes of the folder."""
    sizes = (50, 100) if options.short else tuple(options.count(n, 50) for n in (10_000, 30_000, 100_000))
    found, again = {}, {}
    for size in sizes:
        place = options.folder / f"folder-{size}"
        place.mkdir()
        with home(place, models=MODEL, settle_seconds=86_400.0, scan_seconds=0.001) as ours:
            for number in range(size):
                (ours.inbox / f"{number}.txt").write_bytes(b"%d" % number)
            ingest = ours.ingest()
            start = time.perf_counter()
            ingest.tick()
            found[size] = 1e6 * (time.perf_counter() - start) / size
            if ours.counted()[FileState.PENDING] != size:
                raise AssertionError(f"of {size} files not all are accounted for: {ours.counted()}")
            ingest._next_scan = 0.0
            start = time.perf_counter()
            ingest.tick()
            again[size] = 1e6 * (time.perf_counter() - start) / size
    least, most = sizes[0], sizes[-1]
    return [
        Figure(
            bar=7, what=f"a file found and entered, in a folder of {most:,} against {least:,}", unit="µs",
            runs={OURS: [found[most]], f"of {least:,}": [found[least]]},
            wanted={f"of {least:,}": 1.2}, most=True,
            note="microseconds a file: " + ", ".join(f"{n:,}: {t:.0f}, looked at again {again[n]:.1f}"
                                                     for n, t in found.items()),
        )
    ]  # fmt: skip
