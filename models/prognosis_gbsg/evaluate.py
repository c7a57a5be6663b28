"""C-index and integrated Brier score of prognosis-gbsg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import registry
from models.prognosis_gbsg import HERE
from models.survival import family


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "prognosis-gbsg"
) -> dict[str, Any]:
    """See `models.survival.training.evaluate`."""
    return family.evaluate(registry.card(name).folder, data, folds=folds)


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """See `models.survival.training.curves`."""
    return family.curves(HERE, data, folds)
