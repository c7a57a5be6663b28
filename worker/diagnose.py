"""From a hinted job to committed results: plain functions, safe to run twice, without Celery."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import islice

from db import claims, jobs, metrics
from db.archive import Archive
from db.errors import Misconfigured, Unavailable
from db.jobs import Claimed
from db.logs import get
from db.queue import Enqueue
from db.settings import Settings
from db.store import Store
from worker.hand import Hand
from worker.overlap import abreast, ahead, behind
from worker.runtime import Runtime, lanes_of, set_threads
from worker.stages import Reading, Stages
from worker.watchdog import HandedBack, limited

log = get("worker")
AHEAD_PARTS = 2  #: of a batch that is decoded while it is computed
CLAIM_BATCHES = 8  #: in hand together, so that decoding and committing overlap with computing ...
CLAIM_SECONDS = 1.0  #: ... of a model that is fast enough: more urgent work waits no longer than that
MORE_SECONDS = 10.0  #: for which more of such a model are taken in hand before those in hand are done
COMMIT_BATCHES = 2  #: of those, in one transaction
HINT_SECONDS = 60.0  #: for which the hint of a job that was read as a neighbour is known to be late


class Diagnoser:
    """What a worker needs to answer hints."""

    def __init__(
        self, settings: Settings, store: Store, archive: Archive, runtime: Runtime, name: str,
        *, lanes: Sequence[str] | None = None, enqueue: Enqueue | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.store = store
        self.runtime = runtime
        self.name = name
        self.lanes = lanes  #: those served, most urgent first; None: whatever is hinted
        self.hand = Hand()
        self.stages = Stages(settings, store, archive, runtime, self.hand)
        self.last_job_at: datetime | None = None  #: when the last batch ended
        self.canary_at: datetime | None = None  #: when the consumer last took a canary
        self._enqueue = enqueue
        self._batches = 0
        self._pace: dict[str, float] = {}  #: seconds that a model's job took of late
        self._late: dict[str, float] = {}  #: jobs read as neighbours, whose hints are to come -> when
        self._stopping = False

    @property
    def held(self) -> set[str]:
        """Tokens of the leases in hand; the heartbeat renews them."""
        return self.hand.tokens

    @property
    def busy_since(self) -> float | None:
        """Since when it reads without getting on, on the monotonic clock; None while idle."""
        return self.hand.busy_since

    def stop(self) -> None:
        """Nothing more is taken in hand beside what is."""
        self._stopping = True

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
        if job_id not in {job.id for job in claimed}:
            self._hint_again(job_id)
        with self._in_hand(), limited(self._hard_limit()) as gets_on:
            self._take(claimed, time.perf_counter() - start)
            self._read(claimed, gets_on)
            taken = self.hand.end()
        self._note(taken, job_id, time.perf_counter() - start)
        return len(taken)

    def _take(self, claimed: Sequence[Claimed], seconds: float) -> None:
        """Takes in hand what was claimed in so many seconds."""
        self._batches += 1
        self.hand.take(claimed)
        for job in claimed:
            metrics.stage_seconds.labels("lease", job.model).observe(seconds / len(claimed))
            metrics.stage_seconds.labels("wait", job.model).observe(max(job.queued_seconds, 0.0))

    def _more(self, like: Claimed, limit: int) -> Sequence[Claimed]:
        """Further neighbours of a job in hand, so that nothing idles between two claims."""
        if self._stopping:
            return []
        start = time.perf_counter()
        try:
            claimed = claims.more(
                self.store, like, worker=self.name, lease_seconds=self.settings.lease_seconds,
                limit=limit, lanes=self.lanes, yield_turn=self._is_turn_of_others(), held=self.runtime.held,
            )  # fmt: skip
        except Unavailable as error:  # what is in hand is read all the same
            log.warning("claim_failed", reason=str(error))
            return []
        if claimed:
            self._take(claimed, time.perf_counter() - start)
        return claimed

    def _limit(self, model: str) -> int:
        """Jobs of a model to claim: a batch, or several of one that is known to be fast."""
        size, pace = self.settings.batch_size, self._pace.get(model)
        batches = 1 if pace is None else int(CLAIM_SECONDS / (pace * size))
        return size * min(max(batches, 1), CLAIM_BATCHES)

    def _note(self, taken: Sequence[Claimed], hinted: str, seconds: float) -> None:
        """What these tell of the next ones: the model's pace, and which hints will come late."""
        model, pace = taken[0].model, seconds / len(taken)
        self._pace[model] = (self._pace.get(model, pace) + pace) / 2
        now = time.monotonic()
        while self._late and now - next(iter(self._late.values())) > HINT_SECONDS:
            del self._late[next(iter(self._late))]
        self._late.update({job.id: now for job in taken if job.id not in {hinted, *self.hand.returned}})
        self.hand.returned.clear()

    def _is_late(self, job_id: str) -> bool:
        """Was the job of this hint read as a neighbour just now? So it is told once, and never of a retry."""
        read_at = self._late.pop(job_id, None)
        return read_at is not None and time.monotonic() - read_at <= HINT_SECONDS

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        """While jobs are read the heartbeat renews their leases, and the watchdog looks at the time."""
        try:
            yield
        except HandedBack:
            self.hand.busy_since = None
            for job in self.hand.jobs:
                jobs.give_back(
                    self.store, job, "handed back: the worker was stopped", final=False, counted=False,
                    max_attempts=self.settings.max_attempts,
                )  # fmt: skip
            raise
        finally:
            self.hand.end()
            self.last_job_at = self.store.now()

    def _hard_limit(self) -> float:
        """Seconds after which even a call that holds the interpreter is ended: later than the watchdog's."""
        return self.settings.job_seconds_max + 3 * self.settings.heartbeat_seconds

    def is_stuck(self) -> bool:
        """Has none in hand been concluded for longer than a batch may run?"""
        since = self.hand.busy_since
        return since is not None and time.monotonic() - since > self.settings.job_seconds_max

    def give_up(self) -> None:
        """Records a stuck batch, before the process is ended: each of its jobs counts a try."""
        metrics.errors.labels("watchdog", "TimeLimit").inc()
        for job in self.hand.jobs:
            log.error("job_stuck", job=job.id, model=job.model, seconds=self.settings.job_seconds_max)
            self.stages.give_back(job, f"watchdog: ran longer than {self.settings.job_seconds_max:g} s")

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

    def _read(self, claimed: Sequence[Claimed], gets_on: Callable[[], None]) -> None:
        first = claimed[0]
        try:
            model = self.runtime.model(first.model, first.version, first.weights_sha256)
        except Misconfigured as error:
            for job in claimed:
                self.stages.give_back(job, f"Misconfigured: {error}", final=True)
            return
        lanes, threads = lanes_of(model)
        parts = self._parts(claimed, lanes)
        lanes, lone = min(lanes, len(parts)), len(parts) == 1

        def compute(readings: list[Reading]) -> list[Reading]:
            self.stages.forward(model, [r for r in readings if r.payload is not None])
            return [r for r in readings if r.diagnosis is not None]

        decode = partial(self.stages.decode, model)
        following = self._following(claimed, parts, lanes)
        decoded = map(decode, following) if self.settings.decode_ahead == "off" else ahead(decode, following)
        computed = abreast(compute, decoded, lanes, lambda: set_threads(threads))
        with behind(self.stages.commit, alone=lone) as commit:
            while batches := list(islice(computed, max(COMMIT_BATCHES, lanes))):
                commit([reading for batch in batches for reading in batch])
                gets_on()

    def _following(
        self, claimed: Sequence[Claimed], parts: Sequence[Sequence[Claimed]], lanes: int
    ) -> Iterator[Sequence[Claimed]]:
        """These parts; then, of a fast model, parts of further claims while claims come full.

        When more is claimed half of a claim is still on its way: together they are a claim.
        """
        full, size = self._limit(claimed[0].model), self.settings.batch_size
        until = time.monotonic() + min(MORE_SECONDS, self.settings.job_seconds_max / 2)
        yield from parts
        while size < full <= len(claimed) and time.monotonic() < until:
            full = max(self._limit(claimed[0].model) // 2, size + 1)
            claimed = self._more(claimed[0], full)
            yield from self._parts(claimed, lanes) if claimed else ()

    def _parts(self, claimed: Sequence[Claimed], lanes: int) -> list[Sequence[Claimed]]:
        """What one forward takes: a batch; half of a lone one where a core is idle while it is computed.

        Lanes are given as much each.
        """
        size = self.settings.batch_size
        if lanes > 1:
            size = math.ceil(len(claimed) / (lanes * math.ceil(len(claimed) / (lanes * size))))
        elif len(claimed) <= size and self._halves():
            size = max(len(claimed) // AHEAD_PARTS, 1)
        return [claimed[n : n + size] for n in range(0, len(claimed), size)]

    def _halves(self) -> bool:
        """A half must still fill the device: it pays where that is not the CPU, or leaves a core idle."""
        if self.settings.decode_ahead != "auto":
            return self.settings.decode_ahead == "on"
        return self.stages.has_idle_core()
