"""From a folder to durable rows: ours, against what receives over the wire and what merely copies."""

from __future__ import annotations

import gc
import os
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import data
from benchmarks.figures import OURS, Figure
from benchmarks.homes import home, link
from benchmarks.options import Options
from benchmarks.peers import RECEIVERS, Absent
from db import metrics
from ingest import reading

WANTED = {"Orthanc C-STORE": 3.0, "storescp, TCP_NODELAY": 1.0, "cp": 0.25}
STAGES = ("claim", "read", "archive", "record")
REST = 10.0  #: seconds before each begins


def run(options: Options) -> list[Figure]:
    """CT-like slices of 526 KB: found, read, archived under encryption, recorded."""
    studies, each = options.count(20, 2), 5 if options.short else 100
    source = options.folder / "slices"
    files = data.slices(source, studies, each, 64 if options.short else 512)
    runs: defaultdict[str, list[float]] = defaultdict(list)
    stages: list[dict[str, float]] = []
    for number in range(options.runs):
        place = options.folder / f"run-{number}"
        place.mkdir()
        _rest(options)
        with home(place, remove=False) as ours:
            link(files, ours.inbox)
            ingest = ours.ingest()
            reading.missing(files[0], ".dcm")  # a service's reader is warm
            gc.freeze()  # as a service does
            before = _spent()
            seconds = ours.take(ingest, len(files))
            stages.append({name: spent - before[name] for name, spent in _spent().items()})
            runs[OURS].append(len(files) / seconds)
            if (counts := ours.counted())["quarantined"] or counts["pending"]:
                raise AssertionError(f"not every file was accepted: {counts}")
        _empty(place)
        for name, receive in RECEIVERS.items():
            _rest(options)
            try:
                runs[name].append(len(files) / receive(source, place / f"peer-{len(runs)}-{name[:3]}"))
            except Absent as why:
                options.skip(f"{name}: {why}")
            _empty(place)
    told = ", ".join(f"{name} {1000 * stages[-1][name] / len(files):.2f}" for name in STAGES)
    kilobytes = files[0].stat().st_size / 1000
    return [
        Figure(
            bar=2, what=f"{len(files)} slices of {kilobytes:.0f} KB, folder to durable row",
            unit="files/s", runs=dict(runs), wanted={k: v for k, v in WANTED.items() if k in runs},
            note=f"ours counts the {0.2:g} s that a file must rest; milliseconds a file by stage: {told}; "
            "archive is of threads that seal and sync while other files are read and recorded. "
            "Orthanc syncs each file, storescp and cp sync nothing",
        )
    ]  # fmt: skip


def _rest(options: Options) -> None:
    """Lets everyone begin alike: nothing left to write, none right after another has freed its memory."""
    os.sync()
    time.sleep(0 if options.short else REST)


def _empty(folder: Path) -> None:
    """Gives back the space of what was received, and removes no file before the end of all runs.

    ext4 without a journal looks at every inode that was freed within minutes to make a file beside them:
    whoever came later would pay for those who came before.
    """
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_nlink == 1:  # the slices themselves are linked to
            os.truncate(path, 0)


def _spent() -> dict[str, float]:
    """Seconds that this process spent in each stage so far."""
    return {name: metrics.stage_seconds.labels(name, "")._sum.get() for name in STAGES}
