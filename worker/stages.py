"""A claimed job through its stages: decoded, computed, committed. What fails, fails alone."""

from __future__ import annotations

import math
import os
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from db import conclusions, jobs, metrics
from db.archive import Archive, Batch
from db.errors import Rejected, Unavailable
from db.jobs import Claimed, Conclusion
from db.logs import get, place, trace
from db.records import Diagnosis, JobState
from db.settings import Settings
from db.store import Store
from ingest import reading as shielded
from models.registry import Model, Preparing
from worker.blame import free_memory, is_memory, is_world
from worker.hand import Hand
from worker.overlap import abreast
from worker.runtime import Runtime, backend_of

log = get("worker")
CORES = 4  #: for each of which an input is decoded beside the others ...
DECODERS = 8  #: ... so many at most: a child process each


@dataclass
class Reading:
    """A claimed job on its way: its payload, then its diagnosis, and the seconds each stage took."""

    job: Claimed
    payload: Any = None  #: a Payload, or what the model prepared of it
    prepared: bool = False
    diagnosis: Diagnosis | None = None
    device: str = "none"
    backend: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Stages:
    """What every reading goes through. Several threads may be at it, each with readings of its own."""

    def __init__(
        self, settings: Settings, store: Store, archive: Archive, runtime: Runtime, hand: Hand
    ) -> None:
        self.settings = settings
        self.store = store
        self.archive = archive
        self.runtime = runtime
        self.hand = hand
        self.decoders = settings.decoders or min(max(len(os.sched_getaffinity(0)) // CORES, 1), DECODERS)
        shielded.allow(self.decoders)

    def has_idle_core(self) -> bool:
        """Is a core left idle while a model computes?"""
        cores = len(os.sched_getaffinity(0))
        return self.runtime.device != "cpu" or 0 < self.settings.threads < cores

    def decode(self, model: Model, claimed: Sequence[Claimed]) -> list[Reading]:
        """Their readings, with payloads; those that failed are given back and left out."""
        made = abreast(partial(self._decode, model), claimed, min(self.decoders, len(claimed)))
        return [reading for reading in made if reading is not None]

    def _decode(self, model: Model, job: Claimed) -> Reading | None:
        """The job's payload; an input whose pixels cannot be decoded becomes an abstention.

        Where a core is idle it is prepared as well; else that would hold up the threads that compute.
        """
        reading, stage = Reading(job), "decode"
        try:
            with _timed(reading, "fetch"):
                inputs = [(source, self.archive.get(source.digest)) for source in job.inputs]
            with _timed(reading, "decode"):
                reading.payload = shielded.payload(inputs, model.card.needs)
            if isinstance(model, Preparing) and self.has_idle_core():
                stage = "prepare"
                self._prepare(model, reading)
        except Rejected as why:
            reading.diagnosis = Diagnosis.abstain(why.code, why.sentence)
        except Unavailable as error:
            self.give_back(job, f"Unavailable: {error}")
            return None
        except Exception as error:  # noqa: BLE001 - one bad input fails alone
            self._failed(job, stage, error)
            return None
        return reading

    def forward(self, model: Model, readings: Sequence[Reading]) -> None:
        """One forward for all; if that fails, each alone, so that only the bad one fails.

        A batch that was too large for the memory is halved instead, until it fits.
        """
        if not readings:
            return
        try:
            self._examine(model, readings)
        except Exception as error:  # noqa: BLE001
            if is_memory(error):
                metrics.errors.labels("forward", "memory").inc()
                traceback.clear_frames(error.__traceback__)  # they hold what the forward had allocated
                free_memory()
            if len(readings) == 1:
                self._failed(readings[0].job, "forward", error)
                return
            size = math.ceil(len(readings) / 2) if is_memory(error) else 1
            for start in range(0, len(readings), size):
                self.forward(model, readings[start : start + size])

    @staticmethod
    def _prepare(model: Preparing, reading: Reading) -> None:
        with _timed(reading, "prepare"):
            reading.payload = model.prepare(reading.payload)
        reading.prepared = True

    def _examine(self, model: Model, readings: Sequence[Reading]) -> None:
        if isinstance(model, Preparing):
            for reading in readings:
                if not reading.prepared:
                    self._prepare(model, reading)
        start = time.perf_counter()
        payloads = [r.payload for r in readings if r.payload is not None]
        diagnoses = self.runtime.examine(model, payloads)
        seconds = (time.perf_counter() - start) / len(readings)
        for reading, diagnosis in zip(readings, diagnoses, strict=True):
            reading.diagnosis, reading.device = diagnosis, model.device
            reading.backend = backend_of(model)
            reading.seconds["forward"] = round(seconds, 6)
            metrics.stage_seconds.labels("forward", reading.job.model).observe(seconds)

    def commit(self, readings: Sequence[Reading]) -> None:
        """Their answers and audit entries, in one transaction; what no row can hold fails alone."""
        if not readings:
            return
        start = time.perf_counter()
        try:
            with self.archive.batch() as batch:
                done = [self._conclusion(r, batch) for r in readings]
            kept = conclusions.conclude(self.store, done)
        except Unavailable as error:
            for reading in readings:
                self.hand.let_go(reading.job, again=True)
            log.warning("commit_waits_for_lease", reason=str(error), jobs=len(readings))
            return
        except Exception as error:  # noqa: BLE001 - an answer that no row can hold fails alone
            if len(readings) == 1:
                self._failed(readings[0].job, "commit", error)
                return
            for reading in readings:
                self.commit([reading])
            return
        seconds = (time.perf_counter() - start) / len(readings)
        for reading, won in zip(readings, kept, strict=True):
            self.hand.let_go(reading.job, again=not won)
            model = reading.job.model
            metrics.stage_seconds.labels("commit", model).observe(seconds)
            if not won:
                log.warning("lease_lost", job=reading.job.id)
                continue
            abstained = reading.diagnosis is not None and reading.diagnosis.abstained
            metrics.job_attempts.labels(model, "abstained" if abstained else "done").inc()
            metrics.turnaround_seconds.labels(model).observe(
                max((self.store.now() - reading.job.seen_at).total_seconds(), 0.0)
            )
            log.info(
                "job_concluded", job=reading.job.id, model=model, device=reading.device, abstained=abstained
            )

    @staticmethod
    def _conclusion(reading: Reading, batch: Batch) -> Conclusion:
        diagnosis = reading.diagnosis
        if diagnosis is None:
            raise ValueError("a reading without a diagnosis cannot be concluded")
        stored = {name: batch.put_bytes(data) for name, data in diagnosis.artifacts.items()}
        return Conclusion(
            job=reading.job,
            diagnosis=diagnosis,
            device=reading.device,
            backend=reading.backend,
            artifacts=stored,
            seconds=reading.seconds,
        )

    def _failed(self, job: Claimed, stage: str, error: Exception) -> None:
        """The machine's trouble is tried again; our own bug fails at once, for a person to see."""
        metrics.errors.labels(stage, type(error).__name__).inc()
        log.error("job_failed", job=job.id, model=job.model, stage=stage, error=place(error))
        self.give_back(job, f"{stage}: {place(error)} ({trace(error)})", final=not is_world(error))

    def give_back(self, job: Claimed, error: str, *, final: bool = False) -> None:
        """The job is tried again later, unless that is final or it was tried often enough."""
        self.hand.let_go(job, again=True)
        delay = min(60.0, 10 * 3.0 ** (job.attempts - 1)) * random.uniform(0.5, 1.5)
        state = jobs.give_back(
            self.store, job, error, final=final, max_attempts=self.settings.max_attempts, delay_seconds=delay
        )
        if state is JobState.OWED:
            metrics.requeued.labels("retry").inc()
        if state is not None:
            metrics.job_attempts.labels(job.model, "failed" if state is JobState.FAILED else "retried").inc()


class _timed:  # noqa: N801 - reads as a verb at its use
    """Times a stage of one reading, for its row and for the histogram."""

    def __init__(self, reading: Reading, stage: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self._reading, self._stage, self._clock = reading, stage, clock

    def __enter__(self) -> None:
        self._start = self._clock()

    def __exit__(self, *_: object) -> None:
        seconds = self._clock() - self._start
        self._reading.seconds[self._stage] = round(seconds, 6)
        metrics.stage_seconds.labels(self._stage, self._reading.job.model).observe(seconds)
