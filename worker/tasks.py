"""Celery's thin door: one task, one argument, the opaque id of a job."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from db import metrics, services
from db.errors import Unavailable, WetreadError
from db.ids import PATTERN
from db.jobs import renew
from db.logs import get, place
from db.queue import TASK, queue_name
from db.settings import Settings
from worker.diagnose import Diagnoser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery

log = get("worker")


def register(app: Celery, diagnoser: Diagnoser) -> None:
    """Adds the task to the app. It never raises: fates are in SQL, and a traceback may quote a patient."""

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

    app.task(name=TASK, acks_late=True, ignore_result=True)(diagnose)


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
        try:
            renew(store, list(self._diagnoser.held), self._settings.lease_seconds)
            detail = {"device": runtime.device, "models": sorted(runtime.models), "refused": runtime.refused}
            services.beat(store, self._name, self.state, detail)
        except Exception as error:  # noqa: BLE001
            reason = str(error) if isinstance(error, WetreadError) else place(error)
            log.warning("heartbeat_missed", reason=reason)


def consume(app: Celery, name: str, lanes: Sequence[str]) -> None:
    """Runs the Celery worker until SIGTERM: solo pool, one task at a time; finishes what it holds."""
    app.worker_main(
        [
            "worker", "--pool=solo", "--concurrency=1", "--without-gossip", "--without-mingle",
            "--without-heartbeat", "--loglevel=WARNING", f"--hostname={name}@%h",
            f"--queues={','.join(queue_name(lane) for lane in lanes)}",
        ]
    )  # fmt: skip
