"""Trains a family on tables: the comparison, the calibration and threshold out of fold, and the weights."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import expected_calibration_error, threshold_at_specificity
from models.tabular import carding, ensemble, measure, rows
from models.tabular.ensemble import Arrays, Ensemble
from models.tabular.measure import Labels, OutOfFold
from models.tabular.recipe import Recipe
from models.tabular.rows import Floats
from models.training import figures

BLIND_FOLDS = 5  #: at most, of the second ensemble, on which two numbers are calibrated
ANSWERED = 0.95  #: part of the patients that the threshold of several classes must leave answered
Say = Callable[[str], None]


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Say | None = None,
) -> None:
    """Writes weights, card, example, figures.json and plots under out, which serves in the models folder.

    data: the data set as `rows.load` reads it. Once the minutes are up the members that do not serve are
    left out of the comparison. Raises ValueError on another layout.
    """
    from safetensors.numpy import save_file

    say = progress or (lambda _: None)
    begun = time.monotonic()
    loaded = rows.load(data, recipe)
    out.mkdir(parents=True, exist_ok=True)
    fitted = ensemble.fit(loaded, recipe, seed=seed)
    spent = time.monotonic() - begun
    # the comparison costs some three times the serving members, in each fold
    compared = minutes is None or 3 * recipe.folds * recipe.divisions * spent < 60 * minutes
    found = measure.divided(loaded, recipe, recipe.folds, seed=seed, compared=compared, progress=say)
    arrays = _part(fitted, found, loaded.labels, "main.")
    told = _told(loaded, found, recipe)
    if recipe.informative:
        hidden = replace(loaded, rows=blinded(loaded.rows, recipe))
        cut = min(recipe.folds, BLIND_FOLDS)
        again = measure.divided(hidden, recipe, cut, seed=seed, progress=say)
        blind = ensemble.fit(hidden, recipe, seed=seed)
        arrays |= _part(blind, again, loaded.labels, "blind.")
        name = f"served without {', '.join(recipe.informative)}, {carding.spelled(cut)} folds"
        told["comparison"].insert(1, _row(name, again, loaded.labels, recipe))
    shutil.copyfile(recipe.folder / "recipe.toml", out / "recipe.toml")
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, out / "model.safetensors")
    (out / "figures.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    _plotted(out, found[0], loaded.labels, recipe, told["threshold"])
    if (recipe.folder / "card.toml").is_file():  # not the first training of all
        carding.carded(out, told, recipe, data)
    say(f"{recipe.name}: {told['comparison'][0]}")


def _plotted(out: Path, found: OutOfFold, labels: Labels, recipe: Recipe, threshold: float) -> None:
    table = measure.cross_calibrated(found.scores, found, labels, recipe)
    names = [one.value or "no" for one in recipe.classes]
    chances = table[:, 1] if len(names) == 2 else table
    figures.report(out, labels, chances, classes=names, threshold=threshold)


def operating_point(table: Floats, labels: Labels, recipe: Recipe) -> float:
    """Of two classes the recipe's specificity, else one half; of more the highest that leaves ANSWERED."""
    if recipe.specificity is not None:
        return round(threshold_at_specificity(table[:, 1], labels, recipe.specificity), 3)
    grid = (0.6, 0.7, 0.8, 0.9) if table.shape[1] > 2 else ()
    return max([t for t in grid if (table.max(1) >= t).mean() >= ANSWERED], default=0.5)


def blinded(table: Floats, recipe: Recipe) -> Floats:
    """The rows with the informative features taken away."""
    hidden = table.copy()
    hidden[:, [recipe.features.index(name) for name in recipe.informative]] = np.nan
    return hidden


def _part(fitted: Ensemble, found: Sequence[OutOfFold], labels: Labels, prefix: str) -> Arrays:
    scores = np.concatenate([one.scores for one in found])
    told = measure.calibration(scores, np.tile(labels, len(found)), fitted.design.recipe)
    return ensemble.packed(ensemble.with_calibration(fitted, *told), prefix)


def _row(
    name: str, found: Sequence[OutOfFold], labels: Labels, recipe: Recipe, member: str = ""
) -> dict[str, Any]:
    """One line of the comparison, calibrated across folds."""
    tables = measure.tables(found, labels, recipe, member)
    whole, every = np.concatenate(list(tables.swapaxes(0, 1))), np.tile(labels, len(found))
    own = np.clip(whole[np.arange(len(whole)), every], 1e-9, 1)
    sure = whole if whole.shape[1] > 2 else whole[:, 1]
    return {
        "model": name,
        **measure.figures(labels, tables, recipe),
        "log_loss": round(float(-np.log(own).mean()), 4),
        "calibration_error": round(expected_calibration_error(sure, every), 4),
    }


def _where(sure: NDArray[np.bool_], table: Floats, labels: Labels) -> float:
    return round(measure.accuracy(labels[sure], table[sure]), 4)


def _told(loaded: rows.Data, found: Sequence[OutOfFold], recipe: Recipe) -> dict[str, Any]:
    labels = loaded.labels
    lines = [_row("served: the weighted mean", found, labels, recipe)]
    if len(found[0].members) > 1:
        lines += [_row(name, found, labels, recipe, name) for name in sorted(found[0].members)]
    tables = measure.tables(found, labels, recipe)
    whole, every = np.concatenate(list(tables.swapaxes(0, 1))), np.tile(labels, len(found))
    threshold = operating_point(whole, every, recipe)
    return {
        "folds": recipe.folds,
        "divisions": recipe.divisions,
        "comparison": lines,
        "subgroups": measure.by_group(loaded, tables[:, 0], recipe),
        "threshold": threshold,
        "answered": round(float((whole.max(1) >= threshold).mean()), 4),
        "accuracy_where_answered": _where(whole.max(1) >= threshold, whole, every),
    }
