"""The figures of solubility on a file in the data set's own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import registry
from models.solubility import HERE


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "solubility"
) -> dict[str, Any]:
    """Each figure with its 95 % interval, and n; see `models.chemistry.measure.evaluate`."""
    from models.chemistry import measure

    return measure.evaluate(registry.card(name).folder, data, folds)


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth and answers, for plots; with folds by weights that never saw the row."""
    from models.chemistry import measure

    return measure.curves(HERE, data, folds)
