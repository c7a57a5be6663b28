"""When the loop's next turn comes: at once for a few files, a tick apart while files stream in."""

from __future__ import annotations

from collections.abc import Callable

BURST = 4  #: turns with work that may follow each other at once; further ones come a tick apart


class Pace:
    """Keeps turns apart that go on having work, so that what streams in is taken in groups."""

    def __init__(self, tick_seconds: float, clock: Callable[[], float]) -> None:
        self._tick = tick_seconds
        self._clock = clock
        self._credit = float(BURST)  #: turns with work that may still follow each other at once
        self._last = clock()

    def pause(self, due: float, *, worked: bool) -> tuple[float, float]:
        """Seconds until the next turn: at least, and at most where no event calls for it before.

        due: when the next file will have rested; worked: the last turn had something to do.
        """
        now = self._clock()
        credit = min(BURST, self._credit + (now - self._last) / self._tick)
        self._credit, self._last = max(0.0, credit - worked), now
        least = max(0.0, 1 - self._credit) * self._tick
        return least, max(least, min(self._tick, due - now))
