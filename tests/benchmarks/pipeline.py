"""From owed job to committed result, against a bare loop over the same films with the same model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from benchmarks import data
from benchmarks.figures import OURS, Figure
from benchmarks.homes import Home, home, link
from benchmarks.options import Options
from db import metrics
from models import backends, registry
from models.backends import REFERENCE
from models.payloads import Image
from worker.diagnose import Diagnoser
from worker.runtime import set_threads
from worker.stages import Reading

MODEL = "chest-xray"
BATCH = 8  #: of the worker's setting, and of the bare loop
BARE = "bare loop"
STAGES = ("fetch", "decode", "prepare", "forward", "commit")


def run(options: Options) -> list[Figure]:
    """Studies of ten films and of one, by the reference and by the fastest back-end admitted here."""
    card = registry.card(MODEL)
    fast = backends.fastest(options.kept, card, "cpu")
    if fast == REFERENCE:
        options.skip("no faster back-end is admitted here: run the part `backends` first")
    model: Any = registry.load(MODEL, "cpu")
    set_threads(0)
    films = options.count(500, 4)
    sources = {
        "ten films a study": data.films(options.folder / "tens", max(films // 10, 1), min(10, films)),
        "one film a study": data.films(options.folder / "ones", films),
    }
    found = []
    for backend in dict.fromkeys((REFERENCE, fast)):
        model.use(backend)
        for what, files in sources.items():
            found += _compared(options, model, backend, what, files)
    return found


def _compared(options: Options, model: Any, backend: str, what: str, files: Sequence[Path]) -> list[Figure]:
    bare, ours, whole, shares, beside = [], [], [], [], []
    spent = dict.fromkeys(STAGES, 0.0)
    _bare(model, files[:BATCH])
    for number in range(options.runs):
        place = options.folder / f"{backend}-{what[:3]}-{number}"
        place.mkdir()
        with home(place, models=MODEL, remove=False) as installation:
            diagnoser = installation.diagnoser(backend)
            intake, worker, stages, share = _ours(installation, diagnoser, files)
        bare.append(len(files) / _bare(model, files))
        ours.append(len(files) / worker)
        whole.append(len(files) / (intake + worker))
        shares.append(100 * share)
        beside.append(100 * stages["commit"] / worker)
        spent = {name: 1000 * seconds / len(files) for name, seconds in stages.items()}
    told = ", ".join(f"{name} {value:.2f}" for name, value in spent.items())
    wanted = 0.95 if what.startswith("ten") else 0.9
    return [
        Figure(
            bar=1, what=f"{what}, {backend}", unit="films/s", runs={OURS: ours, BARE: bare},
            wanted={BARE: wanted},
            note=f"milliseconds a film, of stages that overlap: {told}",
        ),
        Figure(
            bar=1, what=f"{what}, {backend}, taken in and read one after the other", unit="films/s",
            runs={OURS: whole, BARE: bare},
        ),
        Figure(
            bar=5, what=f"results and audit, {what}, {backend}", unit="% of the worker's processor time",
            runs={OURS: shares, "at most": [5.0]}, wanted={"at most": 1.0}, most=True,
        ),
        Figure(
            bar=5, what=f"the same from begin to end, beside the computing, {what}, {backend}",
            unit="% of the worker's time", runs={OURS: beside}, most=True,
        ),
    ]  # fmt: skip


def _ours(
    ours: Home, diagnoser: Diagnoser, files: Sequence[Path]
) -> tuple[float, float, dict[str, float], float]:
    """Seconds for intake and for the worker, the worker's by stage, and committing's share of the processor.

    The process that decodes is left out of that: with it the share would be smaller.
    """
    ingest = ours.ingest()
    link(files, ours.inbox)
    intake = ours.take(ingest, len(files))
    while ours.dispatched(ingest) < len(files):
        time.sleep(0.05)
    before, committing, commit = _spent(), 0.0, diagnoser.stages.commit

    def clocked(readings: Sequence[Reading]) -> None:
        nonlocal committing
        begun = time.thread_time()
        commit(readings)
        committing += time.thread_time() - begun

    diagnoser.stages.commit = clocked  # type: ignore[method-assign]
    start, used = time.perf_counter(), time.process_time()
    read = sum(diagnoser.diagnose(job_id) for job_id in ours.hinted)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    if read != len(files) or ours.jobs() != {"done": read}:
        raise AssertionError(f"{read} of {len(files)} films were read: {ours.jobs()}")
    stages = {name: spent - before[name] for name, spent in _spent().items()}
    return intake, seconds, stages, committing / used


def _spent() -> dict[str, float]:
    return {name: metrics.stage_seconds.labels(name, MODEL)._sum.get() for name in STAGES}


def _bare(model: Any, files: Sequence[Path]) -> float:
    """What anybody would write: read, decode, ask the model, a batch at a time."""
    start = time.perf_counter()
    for batch in _batches(files):
        if len(model.examine([_film(path) for path in batch])) != len(batch):
            raise AssertionError("an answer is missing")
    return time.perf_counter() - start


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (files[n : n + BATCH] for n in range(0, len(files), BATCH))


def _film(path: Path) -> Image:
    ds = pydicom.dcmread(path)
    pixels = ds.pixel_array.astype(np.float32) / np.float32(4095)
    return Image(pixels=pixels, modality=ds.Modality, body_part="CHEST", view_position="AP", bits_stored=12)
