"""Outbox relay and reconciler: what SQL says is owed, Redis gets; what Redis lost, it gets again."""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis

from db import jobs, metrics, queue
from db.errors import Unavailable
from db.leases import LeaseWatch
from db.logs import get
from db.queue import Enqueue
from db.store import Store

log = get("ingest")


class Dispatch:
    """Hints jobs to the workers. Every step may happen twice: leases decide who works."""

    def __init__(
        self,
        store: Store,
        client: Redis,
        enqueue: Enqueue,
        *,
        resend_after_seconds: float,
        max_attempts: int,
        watch: LeaseWatch | None = None,
    ) -> None:
        self.store = store
        self._client = client
        self._enqueue = enqueue
        self._resend_after = resend_after_seconds
        self._max_attempts = max_attempts
        self._watch = watch

    def relay(self) -> int:
        """Hints every owed job; returns how many. Nothing is marked while Redis is away."""
        if not queue.is_up(self._client):
            return 0
        count = 0
        while rows := jobs.take_owed(self.store):
            count += self._send(rows)
        return count

    def reconcile(self) -> None:
        """Takes dead workers' jobs back, and sends hints again that an empty lane has lost."""
        reaped = jobs.reap(self.store, self._max_attempts, self._watch)
        if reaped:
            metrics.requeued.labels("lease-expired").inc(reaped)
            log.warning("leases_ended", jobs=reaped)
        try:
            empty = [lane for lane, waiting in queue.depth(self._client).items() if waiting == 0]
        except Unavailable:
            return
        lost = jobs.hint_lost(self.store, self._resend_after, empty) if empty else []
        if lost:
            metrics.requeued.labels("lost-hint").inc(self._send(lost))
            log.warning("hints_sent_again", jobs=len(lost))

    def _send(self, rows: Iterable[tuple[str, str]]) -> int:
        sent = 0
        for job_id, lane in rows:
            try:
                self._enqueue(job_id, lane)
            except Unavailable as error:  # it stays queued in SQL: the reconciler hints it again
                metrics.errors.labels("relay", "Unavailable").inc()
                log.warning("redis_unavailable", reason=str(error))
                break
            sent += 1
        return sent
