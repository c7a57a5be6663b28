"""Which leases have ended, told so that a jump of the wall clock misleads nobody.

It neither takes a living worker's job nor keeps a dead one's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime

MISSED_BEATS = 3  #: a living worker renews its lease at every heartbeat, whatever its clock says


class LeaseWatch:
    """Watches leases by a clock that never jumps: a living worker's lease is renewed while one looks.

    A lease has ended when it was not renewed for its whole length while we watched, or when it is over
    by the wall clock and three heartbeats passed without a renewal.
    """

    def __init__(
        self, lease_seconds: float, heartbeat_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease = lease_seconds
        self._beats = min(MISSED_BEATS * heartbeat_seconds, lease_seconds)
        self._clock = clock
        self._since: dict[tuple[str, datetime], float] = {}  #: (token, lease's end) -> first seen so

    def ended(self, leases: Iterable[tuple[str, datetime]], now: datetime) -> set[str]:
        """The tokens, of all running jobs' leases as (token, end), whose holders no longer live."""
        seen = self._clock()
        self._since = {lease: self._since.get(lease, seen) for lease in leases}
        return {
            token for (token, until), since in self._since.items()
            if seen - since >= (self._beats if until < now else self._lease)
        }  # fmt: skip
