"""Backpressure: with the disk or the queue too full nothing is claimed; files wait in the inbox."""

from __future__ import annotations

import math

from sqlalchemy import Connection

from db import jobs
from db.settings import Settings

REASONS = ("disk", "queue", "fault")  #: the last is no want of room (ingest/service.py)
QUEUE_RESUMES = 0.9  #: of the limit


class Pressure:
    """Two marks each, so that intake does not start and stop at every file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._disk = False
        self._queue = False
        self.room = math.inf  #: jobs that the queue took beyond those waiting, when last looked

    def look(self, free_bytes: int, connection: Connection) -> str | None:
        """Why nothing may be claimed now, `disk` or `queue`; None when there is room."""
        floor = self._settings.disk_resume_bytes if self._disk else self._settings.disk_low_bytes
        self._disk = free_bytes < floor
        limit = self._settings.queue_limit
        if limit:
            full = max(1, round(limit * QUEUE_RESUMES)) if self._queue else limit
            self.room = full - jobs.waiting(connection, full)
            self._queue = self.room <= 0
        return "disk" if self._disk else "queue" if self._queue else None
