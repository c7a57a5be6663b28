"""The jobs in a worker's hands: whose leases the heartbeat renews, and what goes back when it is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable

from db.jobs import Claimed


class Hand:
    """Claimed jobs that are not concluded yet. Threads may look at it while another takes or lets go."""

    def __init__(self) -> None:
        #: on the monotonic clock, since the first was taken or one let go; None: empty
        self.busy_since: float | None = None
        self.taken: list[Claimed] = []  #: in hand or let go since it began
        self.returned: set[str] = set()  #: ids of those let go that will be hinted again
        self._jobs: dict[str, Claimed] = {}

    @property
    def tokens(self) -> set[str]:
        """The leases in hand."""
        return set(self._jobs)

    @property
    def jobs(self) -> list[Claimed]:
        """Those in hand, in the order they were taken."""
        return list(self._jobs.values())

    def take(self, claimed: Iterable[Claimed]) -> None:
        """These are in hand from now on."""
        for job in claimed:
            self._jobs[job.token] = job
            self.taken.append(job)
        if self.busy_since is None:
            self.busy_since = time.monotonic()

    def let_go(self, job: Claimed, *, again: bool) -> None:
        """This one is concluded, or else to be hinted again: it was given back, or its lease was lost."""
        self._jobs.pop(job.token, None)
        if self.busy_since is not None:
            self.busy_since = time.monotonic()
        if again:
            self.returned.add(job.id)

    def end(self) -> list[Claimed]:
        """All are let go. Returns what was taken since it began."""
        taken, self.taken = self.taken, []
        self.busy_since = None
        self._jobs.clear()
        return taken
