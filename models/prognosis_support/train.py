"""Trains prognosis-support by its study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.prognosis_support import HERE
from models.survival import family


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes weights, figures, card and example under out; it takes minutes, so `minutes` is not needed."""
    family.train(HERE, data, out, seed=seed, progress=progress)
