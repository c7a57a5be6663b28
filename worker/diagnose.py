"""From a hinted job to committed results: plain functions, safe to run twice, without Celery."""

from __future__ import annotations

import os
import random
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from db import claims, conclusions, jobs, metrics
from db.archive import Archive, Batch
from db.errors import Misconfigured, Rejected, Unavailable
from db.jobs import Claimed, Conclusion
from db.logs import get, place, trace
from db.queue import Enqueue
from db.records import Diagnosis, JobState
from db.settings import Settings
from db.store import Store
from ingest import reading as shielded
from models.registry import Model, Preparing
from worker.blame import free_memory, is_memory, is_world
from worker.overlap import ahead, behind
from worker.runtime import Runtime, backend_of
from worker.watchdog import HandedBack, limited

log = get("worker")
AHEAD_PARTS = 2  #: of a batch that is decoded while it is computed
CLAIM_BATCHES = 8  #: taken in hand together, so that decoding and committing overlap with computing ...
CLAIM_SECONDS = 1.0  #: ... of a model that is fast enough: more urgent work waits no longer than that
COMMIT_BATCHES = 2  #: of those, in one transaction
HINT_SECONDS = 60.0  #: for which the hint of a job that was read as a neighbour is known to be late


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


class Diagnoser:
    """What a worker needs to answer hints."""

    def __init__(
        self, settings: Settings, store: Store, archive: Archive, runtime: Runtime, name: str,
        *, lanes: Sequence[str] | None = None, enqueue: Enqueue | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.store = store
        self.archive = archive
        self.runtime = runtime
        self.name = name
        self.lanes = lanes  #: those served, most urgent first; None: whatever is hinted
        self.held: set[str] = set()  #: tokens of the leases in hand; the heartbeat renews them
        self.busy_since: float | None = None  #: monotonic; None while idle
        self.last_job_at: datetime | None = None  #: when the last batch ended
        self.canary_at: datetime | None = None  #: when the consumer last took a canary
        self._claimed: Sequence[Claimed] = ()
        self._enqueue = enqueue
        self._batches = 0
        self._pace: dict[str, float] = {}  #: seconds that a model's job took of late
        self._late: dict[str, float] = {}  #: jobs read as neighbours, whose hints are to come -> when
        self._returned: set[str] = set()  #: those of the claim in hand that will be hinted again

    def diagnose(self, job_id: str) -> int:
        """Answers a hint: claims what is best to do now, reads it, commits. Returns how many jobs.

        A hint whose job was passed over for more urgent work goes back to the end of its lane, so that
        every waiting job keeps a hint. A late hint finds nothing to claim, and costs one look at most.
        Raises Unavailable when the database cannot be reached; the lease then brings the jobs back.
        """
        start = time.perf_counter()
        if self._is_late(job_id):
            return 0
        claimed = claims.claim(
            self.store, job_id, worker=self.name, lease_seconds=self.settings.lease_seconds,
            limit=self._limit, lanes=self.lanes, yield_turn=self._is_turn_of_others(),
            held=self.runtime.held,
        )  # fmt: skip
        if not claimed:
            return 0
        self._batches += 1
        each = (time.perf_counter() - start) / len(claimed)
        metrics.stage_seconds.labels("lease", claimed[0].model).observe(each)
        if job_id not in {job.id for job in claimed}:
            self._hint_again(job_id)
        with self._in_hand(claimed), limited(self._hard_limit()):
            self._read(claimed)
        self._note(claimed, job_id, time.perf_counter() - start)
        return len(claimed)

    def _limit(self, model: str) -> int:
        """Jobs of a model to claim: a batch, or several of one that is known to be fast."""
        size, pace = self.settings.batch_size, self._pace.get(model)
        batches = 1 if pace is None else int(CLAIM_SECONDS / (pace * size))
        return size * min(max(batches, 1), CLAIM_BATCHES)

    def _note(self, claimed: Sequence[Claimed], hinted: str, seconds: float) -> None:
        """What this claim tells of the next ones: the model's pace, and which hints will come late."""
        model, pace = claimed[0].model, seconds / len(claimed)
        self._pace[model] = (self._pace.get(model, pace) + pace) / 2
        now = time.monotonic()
        while self._late and now - next(iter(self._late.values())) > HINT_SECONDS:
            del self._late[next(iter(self._late))]
        self._late.update({job.id: now for job in claimed if job.id not in {hinted, *self._returned}})
        self._returned.clear()

    def _is_late(self, job_id: str) -> bool:
        """Was the job of this hint read as a neighbour just now? So it is told once, and never of a retry."""
        read_at = self._late.pop(job_id, None)
        return read_at is not None and time.monotonic() - read_at <= HINT_SECONDS

    @contextmanager
    def _in_hand(self, claimed: Sequence[Claimed]) -> Iterator[None]:
        """While these are read the heartbeat renews their leases, and the watchdog looks at the time."""
        self.held.update(job.token for job in claimed)
        self._claimed, self.busy_since = claimed, time.monotonic()
        try:
            yield
        except HandedBack:
            self.busy_since = None
            for job in claimed:
                jobs.give_back(
                    self.store, job, "handed back: the worker was stopped", final=False, counted=False,
                    max_attempts=self.settings.max_attempts,
                )  # fmt: skip
            raise
        finally:
            self.busy_since = None
            self.held.difference_update(job.token for job in claimed)
            self.last_job_at = self.store.now()

    def _hard_limit(self) -> float:
        """Seconds after which even a call that holds the interpreter is ended: later than the watchdog's."""
        return self.settings.job_seconds_max + 3 * self.settings.heartbeat_seconds

    def is_stuck(self) -> bool:
        """Has the batch in hand run for longer than it may?"""
        since = self.busy_since
        return since is not None and time.monotonic() - since > self.settings.job_seconds_max

    def give_up(self) -> None:
        """Records a stuck batch, before the process is ended: each of its jobs counts a try."""
        metrics.errors.labels("watchdog", "TimeLimit").inc()
        for job in self._claimed:
            log.error("job_stuck", job=job.id, model=job.model, seconds=self.settings.job_seconds_max)
            self._give_back(job, f"watchdog: ran longer than {self.settings.job_seconds_max:g} s")

    def _is_turn_of_others(self) -> bool:
        """Every `lane_turn`th batch is for the lanes that urgent work keeps waiting."""
        return self._batches % self.settings.lane_turn == self.settings.lane_turn - 1

    def _hint_again(self, job_id: str) -> None:
        """Best effort: where it fails, the reconciler sends the hint once the lane is empty."""
        lane = claims.is_waiting(self.store, job_id)
        if lane is None or self._enqueue is None:
            return
        try:
            self._enqueue(job_id, lane)
        except Unavailable as error:
            log.warning("redis_unavailable", reason=str(error))

    def _read(self, claimed: Sequence[Claimed]) -> None:
        first = claimed[0]
        for job in claimed:
            metrics.stage_seconds.labels("wait", job.model).observe(max(job.queued_seconds, 0.0))
        try:
            model = self.runtime.model(first.model, first.version, first.weights_sha256)
        except Misconfigured as error:
            for job in claimed:
                self._give_back(job, f"Misconfigured: {error}", final=True)
            return
        parts = self._parts(claimed)

        def decode(part: Sequence[Claimed]) -> list[Reading]:
            return self._decode_all(model, part)

        decoded = map(decode, parts) if self.settings.decode_ahead == "off" else ahead(decode, parts)
        with behind(self._commit, alone=len(parts) == 1) as commit:
            read: list[Reading] = []
            for left, readings in zip(range(len(parts) - 1, -1, -1), decoded, strict=True):
                self._forward(model, [r for r in readings if r.payload is not None])
                read += [r for r in readings if r.diagnosis is not None]
                if left < COMMIT_BATCHES or len(read) >= COMMIT_BATCHES * self.settings.batch_size:
                    commit(read)  # the last ones alone: nothing is left to compute meanwhile
                    read = []

    def _parts(self, claimed: Sequence[Claimed]) -> list[Sequence[Claimed]]:
        """What one forward takes: a batch; half of a lone one where a core is idle while it is computed."""
        size = self.settings.batch_size
        if len(claimed) <= size and self._halves():
            size = max(len(claimed) // AHEAD_PARTS, 1)
        return [claimed[n : n + size] for n in range(0, len(claimed), size)]

    def _halves(self) -> bool:
        """A half must still fill the device: it pays where that is not the CPU, or leaves a core idle."""
        if self.settings.decode_ahead != "auto":
            return self.settings.decode_ahead == "on"
        return self._has_idle_core()

    def _has_idle_core(self) -> bool:
        cores = len(os.sched_getaffinity(0))
        return self.runtime.device != "cpu" or 0 < self.settings.threads < cores

    def _decode_all(self, model: Model, claimed: Sequence[Claimed]) -> list[Reading]:
        return [r for job in claimed if (r := self._decode(model, job)) is not None]

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
            if isinstance(model, Preparing) and self._has_idle_core():
                stage = "prepare"
                self._prepare(model, reading)
        except Rejected as why:
            reading.diagnosis = Diagnosis.abstain(why.code, why.sentence)
        except Unavailable as error:
            self._give_back(job, f"Unavailable: {error}")
            return None
        except Exception as error:  # noqa: BLE001 - one bad input fails alone
            self._failed(job, stage, error)
            return None
        return reading

    def _forward(self, model: Model, readings: Sequence[Reading]) -> None:
        """One forward for all; if that fails, each alone, so that only the bad one fails.

        A batch that was too large for the memory is thereby read once more in the smallest pieces.
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
            for reading in readings:
                self._forward(model, [reading])

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

    def _commit(self, readings: Sequence[Reading]) -> None:
        if not readings:
            return
        start = time.perf_counter()
        try:
            with self.archive.batch() as batch:
                done = [self._conclusion(r, batch) for r in readings]
            kept = conclusions.conclude(self.store, done)
        except Unavailable as error:
            self._returned.update(r.job.id for r in readings)
            log.warning("commit_waits_for_lease", reason=str(error), jobs=len(readings))
            return
        except Exception as error:  # noqa: BLE001 - an answer that no row can hold fails alone
            if len(readings) == 1:
                self._failed(readings[0].job, "commit", error)
                return
            for reading in readings:
                self._commit([reading])
            return
        seconds = (time.perf_counter() - start) / len(readings)
        for reading, won in zip(readings, kept, strict=True):
            model = reading.job.model
            metrics.stage_seconds.labels("commit", model).observe(seconds)
            if not won:
                self._returned.add(reading.job.id)
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
        self._give_back(job, f"{stage}: {place(error)} ({trace(error)})", final=not is_world(error))

    def _give_back(self, job: Claimed, error: str, *, final: bool = False) -> None:
        self._returned.add(job.id)
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
