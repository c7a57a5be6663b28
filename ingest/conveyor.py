"""Claimed files on their way to the record: one batch is archived while the one before is recorded."""

from __future__ import annotations

from collections import deque

from ingest.claimed import Claimed
from ingest.intake import Intake
from ingest.underway import Underway


class Conveyor:
    """Holds what is claimed until it is recorded, whatever the world does meanwhile."""

    def __init__(self, intake: Intake, size: int) -> None:
        self.held: list[Claimed] = []  #: claimed and not recorded, in the order of their turns
        self._intake = intake
        self._size = size
        self._begun: deque[tuple[Underway, int]] = deque()  #: with how many of those held, the first ones

    def add(self, *files: Claimed) -> None:
        """Files that were claimed."""
        self.held += files

    def push(self) -> int:
        """Begins the next batch, then records the one before it; returns how many files it recorded.

        Raises Unavailable; all that is not recorded stays held, for another try.
        """
        start = sum(count for _, count in self._begun)
        batch = self.held[start : start + self._size]
        try:
            if batch:
                self._begun.append((self._intake.begin(batch), len(batch)))
            ahead = 1 if batch else 0
            return self._record() if len(self._begun) > ahead else 0
        except BaseException:
            self._abandon()
            raise

    def drain(self) -> int:
        """Records all that is held, and what the archives among it held. Raises as `push`."""
        count = 0
        while self.held:
            count += self.push()
        return count

    def _record(self) -> int:
        underway, count = self._begun.popleft()
        states = self._intake.finish(underway)
        self.held = [*self.held[count:], *self._intake.take_unpacked()]
        return len(states)

    def _abandon(self) -> None:
        while self._begun:
            self._begun.pop()[0].abandon()
