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
from models.card import read as read_card
from models.tabular import ensemble, measure, rows
from models.tabular.ensemble import Arrays, Ensemble
from models.tabular.measure import Labels, OutOfFold
from models.tabular.recipe import Recipe
from models.tabular.rows import Floats
from models.training import figures, package

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
    compared = minutes is None or 3 * recipe.folds * spent < 60 * minutes
    found = measure.out_of_fold(loaded, recipe, recipe.folds, seed=seed, compared=compared, progress=say)
    arrays = _part(fitted, found, loaded.labels, "main.")
    told = _told(loaded, found, recipe)
    if recipe.informative:
        hidden = replace(loaded, rows=blinded(loaded.rows, recipe))
        again = measure.out_of_fold(hidden, recipe, recipe.folds, seed=seed, progress=say)
        blind = ensemble.fit(hidden, recipe, seed=seed)
        arrays |= _part(blind, again, loaded.labels, "blind.")
        told["blind"] = _row("without " + ", ".join(recipe.informative), again.scores, again, loaded, recipe)
    shutil.copyfile(recipe.folder / "recipe.toml", out / "recipe.toml")
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, out / "model.safetensors")
    (out / "figures.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    _plotted(out, found, loaded.labels, recipe, told["threshold"])
    if (recipe.folder / "card.toml").is_file():  # not the first training of all
        _carded(out, told, recipe, data.name)
    say(f"{recipe.name}: {told['comparison'][0]}")


def _plotted(out: Path, found: OutOfFold, labels: Labels, recipe: Recipe, threshold: float) -> None:
    table = measure.cross_calibrated(found.scores, found, labels, recipe)
    names = [one.value or "no" for one in recipe.classes]
    chances = table[:, 1] if len(names) == 2 else table
    figures.report(out, labels, chances, classes=names, threshold=threshold)


def _carded(out: Path, told: dict[str, Any], recipe: Recipe, source: str) -> None:
    """The served card with the figures, threshold and comparison of this training."""
    served = read_card(recipe.folder)
    first = told["comparison"][0]
    rule = "chosen anew on the out-of-fold predictions, by the rule of the served card"
    package.again(
        out,
        served,
        version=f"{served.version}+{package.sha256(out / 'model.safetensors')[:8]}",
        figures=[
            {
                "dataset": f"{source}, {recipe.folds}-fold cross-validation",
                "metric": name,
                "n": first["n"],
                **value,
            }
            for name, value in first.items()
            if isinstance(value, dict)
        ],
        operating_points=[{"finding": recipe.sought, "threshold": told["threshold"], "chosen": rule}],
        notes="Trained anew on a user's data. Compared out of fold:\n\n" + comparison(told["comparison"]),
    )


def comparison(lines: Sequence[dict[str, Any]]) -> str:
    """The members' figures as a table of plain text."""
    width = max(len(line["model"]) for line in lines)
    columns = [name for name in lines[0] if name not in ("model", "n")]
    told = [" " * width + "".join(f"  {name:<19}" for name in columns).rstrip()]
    for line in lines:
        cells = [_figure(line[name]) for name in columns]
        told.append(f"{line['model']:<{width}}" + "".join(f"  {cell:<19}" for cell in cells).rstrip())
    return "\n".join(told)


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"
    return f"{value:.3f}"


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


def _part(fitted: Ensemble, found: OutOfFold, labels: Labels, prefix: str) -> Arrays:
    temperature, shift = measure.calibration(found.scores, labels, fitted.design.recipe)
    return ensemble.packed(ensemble.with_calibration(fitted, temperature, shift), prefix)


def _row(name: str, scores: Floats, found: OutOfFold, loaded: rows.Data, recipe: Recipe) -> dict[str, Any]:
    """One line of the comparison, calibrated across folds."""
    table = measure.cross_calibrated(scores, found, loaded.labels, recipe)
    own = np.clip(table[np.arange(len(table)), loaded.labels], 1e-9, 1)
    sure = table if table.shape[1] > 2 else table[:, 1]
    return {
        "model": name,
        **measure.figures(loaded.labels, table, recipe),
        "log_loss": round(float(-np.log(own).mean()), 4),
        "calibration_error": round(expected_calibration_error(sure, loaded.labels), 4),
    }


def _where(sure: NDArray[np.bool_], table: Floats, labels: Labels) -> float:
    return round(measure.accuracy(labels[sure], table[sure]), 4)


def _told(loaded: rows.Data, found: OutOfFold, recipe: Recipe) -> dict[str, Any]:
    lines = [_row("served: the weighted mean", found.scores, found, loaded, recipe)]
    lines += [_row(name, scores, found, loaded, recipe) for name, scores in sorted(found.members.items())]
    table = measure.cross_calibrated(found.scores, found, loaded.labels, recipe)
    threshold = operating_point(table, loaded.labels, recipe)
    return {
        "folds": recipe.folds,
        "comparison": lines,
        "subgroups": measure.by_group(loaded, table, recipe),
        "threshold": threshold,
        "answered": round(float((table.max(1) >= threshold).mean()), 4),
        "accuracy_where_answered": _where(table.max(1) >= threshold, table, loaded.labels),
    }
