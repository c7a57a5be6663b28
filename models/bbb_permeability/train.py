"""Trains bbb-permeability by its recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.bbb_permeability import HERE


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes weights, card, example and figures under out; see `models.chemistry.fitting.train`."""
    from models.chemistry import fitting

    fitting.train(HERE, data, out, seed=seed, minutes=minutes, progress=progress)
