"""Celery's thin door: one task, one argument, the opaque id of a job."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from db import metrics, services
from db.claims import renew
from db.errors import Unavailable, WetreadError
from db.ids import PATTERN
from db.logs import get, place
from db.queue import CANARY, TASK, canary_queue, queue_name
from db.settings import Settings
from worker.diagnose import Diagnoser
from worker.watchdog import STUCK, Canary, Send, end, hand_back_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery
    from redis import Redis

log = get("worker")


def register(app: Celery, diagnoser: Diagnoser, canary: Canary | None = None) -> None:
    """Adds the tasks to the app. They never raise: fates are in SQL, and a traceback may quote a patient."""

    def diagnose(job_id: object = None, *_: object, **__: object) -> None:
        if not isinstance(job_id, str) or not re.fullmatch(PATTERN, job_id):
            metrics.errors.labels("task", "malformed").inc()
            log.warning("message_refused", expected="one job id")
            return
        try:
            diagnoser.diagnose(job_id)
        except Unavailable as error:  # the reconciler hints it again
            metrics.errors.labels("task", "Unavailable").inc()
            log.warning("unavailable", job=job_id, reason=str(error))
        except Exception as error:  # noqa: BLE001
            metrics.errors.labels("task", type(error).__name__).inc()
            log.error("task_failed", job=job_id, error=place(error))

    def answer(*_: object, **__: object) -> None:
        diagnoser.canary_at = diagnoser.store.now()
        if canary is not None:
            canary.answered()

    app.task(name=CANARY, ignore_result=True, shared=False)(answer)
    app.task(name=TASK, acks_late=True, ignore_result=True, shared=False)(diagnose)


class Heartbeat:
    """A thread that says the worker lives, and renews the leases in its hands."""

    def __init__(self, settings: Settings, diagnoser: Diagnoser, name: str) -> None:
        self.state = "starting"
        self._settings = settings
        self._diagnoser = diagnoser
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def ready(self) -> None:
        """The models are warm: says so at once."""
        self.state = "ready"
        self.beat()

    def stop(self) -> None:
        """Ends the thread and takes the service's name off the list."""
        self._stop.set()
        self._thread.join(5)
        try:
            services.gone(self._diagnoser.store, self._name)
        except Unavailable as error:
            log.warning("unavailable", reason=str(error))

    def _run(self) -> None:
        self.beat()
        while not self._stop.wait(self._settings.heartbeat_seconds):
            self.beat()

    def beat(self) -> None:
        """One sign of life; whatever befalls it must not end the thread, on which the leases depend."""
        store, runtime = self._diagnoser.store, self._diagnoser.runtime
        if self._diagnoser.is_stuck():
            try:
                self._diagnoser.give_up()
            finally:
                end(STUCK)
        try:
            renew(store, list(self._diagnoser.held), self._settings.lease_seconds)
            detail = {
                "device": runtime.device, "models": sorted(runtime.models), "refused": runtime.refused,
                **self._signs(),
            }  # fmt: skip
            state = runtime.progress if self.state == "starting" else self.state
            services.beat(store, self._name, state, detail)
        except Exception as error:  # noqa: BLE001
            reason = str(error) if isinstance(error, WetreadError) else place(error)
            log.warning("heartbeat_missed", reason=reason)

    def _signs(self) -> dict[str, object]:
        """Proofs that it consumes: the last batch, the last canary, and for how long it has been reading."""
        since = self._diagnoser.busy_since
        times = {"last_job_at": self._diagnoser.last_job_at, "canary_at": self._diagnoser.canary_at}
        shown = {key: at.isoformat(timespec="milliseconds") if at else None for key, at in times.items()}
        return {**shown, "busy_seconds": None if since is None else round(time.monotonic() - since, 1)}


def canary_sender(app: Celery, client: Redis, name: str) -> Send:
    """Sends a worker's canary to its own queue; what an earlier process of its name left there goes first."""
    from kombu.exceptions import OperationalError

    where = canary_queue(name)

    def send() -> None:
        try:
            app.send_task(CANARY, queue=where, retry=False)
        except (OperationalError, RedisError) as error:
            raise Unavailable(f"redis: {type(error).__name__}; is it up?") from None

    with suppress(RedisError):
        client.delete(where)
    return send


def consume(app: Celery, name: str, lanes: Sequence[str], diagnoser: Diagnoser | None = None) -> None:
    """Runs the Celery worker until SIGTERM: solo pool, one task at a time.

    It finishes what it holds, or hands it back when that takes longer than `stop_seconds`.
    """
    if diagnoser is not None:
        hand_back_after(
            diagnoser.settings.stop_seconds, lambda: diagnoser.busy_since is not None, diagnoser.stop
        )
    app.worker_main(
        [
            "--quiet", "worker", "--pool=solo", "--concurrency=1", "--without-gossip", "--without-mingle",
            "--without-heartbeat", "--loglevel=WARNING", f"--hostname={name}@%h",
            f"--queues={','.join([*map(queue_name, lanes), canary_queue(name)])}",
        ]
    )  # fmt: skip
