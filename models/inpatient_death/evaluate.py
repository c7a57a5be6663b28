"""The figures of inpatient-death on a file in the data set's own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import registry
from models.inpatient_death import HERE
from models.tabular import measure, recipe


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "inpatient-death"
) -> dict[str, Any]:
    """Each figure with its 95 % interval, and n; see `models.tabular.measure.evaluate`."""
    return measure.evaluate(recipe.read(registry.card(name).folder), data, folds)


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth, probabilities and subgroups, for plots; see `models.tabular.measure.curves`."""
    return measure.curves(recipe.read(HERE), data, folds)
