"""How much of a benchmark to run, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Options:
    """What every part is given."""

    folder: Path  #: its own, removed afterwards
    kept: Path  #: where what one part finds for another is kept
    runs: int = 3
    short: bool = False  #: small enough for a test; the figures mean nothing
    share: float = 1.0  #: of the full sizes
    skipped: list[str] = field(default_factory=list)  #: what could not be measured, and why

    def count(self, full: int, small: int) -> int:
        """How many of something: the full number's share, or the small one in short."""
        return small if self.short else max(round(full * self.share), small)

    def skip(self, reason: str) -> None:
        """Notes, once, what could not be measured."""
        if reason not in self.skipped:
            self.skipped.append(reason)
