"""Trains inpatient-death by its recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.inpatient_death import HERE
from models.tabular import fitting, recipe


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes weights and figures under out; see `models.tabular.fitting.train`."""
    fitting.train(recipe.read(HERE), data, out, seed=seed, minutes=minutes, progress=progress)
