"""How good a family on tables is: out-of-fold predictions, figures with intervals, subgroups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import rankdata

from models.calibration import fit_shifted_temperature, fit_temperature
from models.evaluation import bootstrap
from models.tabular import ensemble, rows
from models.tabular.recipe import Recipe
from models.tabular.rows import Floats

Labels = NDArray[np.int64]
Metric = Callable[[NDArray[np.int64], Floats], float]  #: labels (n,), probabilities (n, classes)
FEWEST_OF_A_GROUP = 50  #: smaller subgroups get no figure
AGES = (0, 50, 65, 80, 200)  #: years; edges of the subgroups by age


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """What the recipe answers on rows that it did not see."""

    scores: Floats  #: (n, classes) log-probabilities of the ensemble, not calibrated
    members: Mapping[str, Floats]  #: the same of each member by its name
    fold: Labels  #: (n,) which fold a row was left out in


def splits(labels: Labels, folds: int, seed: int = 0) -> list[tuple[Labels, Labels]]:
    """(training rows, other rows) of each fold, every class spread evenly."""
    from sklearn.model_selection import StratifiedKFold

    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(cut.split(np.zeros(len(labels)), labels))


def out_of_fold(
    data: rows.Data,
    recipe: Recipe,
    folds: int,
    *,
    seed: int = 0,
    compared: bool = False,
    progress: Callable[[str], None] | None = None,
) -> OutOfFold:
    """The recipe trained anew in each fold, preparation and selection included.

    compared: the members that do not serve as well.
    """
    scores = np.zeros((len(data.labels), len(recipe.classes)))
    members: dict[str, Floats] = {}
    fold = np.zeros(len(data.labels), dtype=np.int64)
    for number, (train, other) in enumerate(splits(data.labels, folds, seed)):
        fitted = ensemble.fit(data.take(train), recipe, seed=seed, compared=compared)
        parts = fitted.parts(data.rows[other])
        scores[other] = ensemble.mean([(m.weight, s) for m, s in parts if m.weight])
        for name in {m.name for m, _ in parts}:
            own = members.setdefault(name, np.zeros_like(scores))
            own[other] = ensemble.mean([(1.0, s) for m, s in parts if m.name == name])
        fold[other] = number
        if progress:
            progress(f"fold {number + 1} of {folds}")
    return OutOfFold(scores=scores, members=members, fold=fold)


def calibration(scores: Floats, labels: Labels, recipe: Recipe) -> tuple[float, float]:
    """(temperature, shift) of log-probabilities.

    Only a risk is shifted: where classes are told apart, the likeliest stays the likeliest.
    """
    if recipe.risk:
        return fit_shifted_temperature(scores[:, 1] - scores[:, 0], labels)
    return fit_temperature(scores, labels), 0.0


def divided(
    data: rows.Data,
    recipe: Recipe,
    folds: int,
    *,
    seed: int = 0,
    compared: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[OutOfFold]:
    """`out_of_fold` by each of the recipe's divisions: of few rows, one division's figures are luck."""
    return [
        out_of_fold(data, recipe, folds, seed=seed + turn, compared=compared, progress=progress)
        for turn in range(recipe.divisions)
    ]


def tables(found: Sequence[OutOfFold], labels: Labels, recipe: Recipe, member: str = "") -> Floats:
    """(n, divisions, classes) calibrated out-of-fold probabilities of the ensemble, or of one member."""
    scores = [one.members[member] if member else one.scores for one in found]
    told = [cross_calibrated(s, one, labels, recipe) for s, one in zip(scores, found, strict=True)]
    return np.stack(told, axis=1)


def cross_calibrated(scores: Floats, found: OutOfFold, labels: Labels, recipe: Recipe) -> Floats:
    """(n, classes) probabilities, each fold calibrated on the others."""
    table = np.zeros_like(scores)
    for number in np.unique(found.fold):
        inside = found.fold == number
        temperature, shift = calibration(scores[~inside], labels[~inside], recipe)
        table[inside] = ensemble.calibrated(scores[inside], temperature, shift)
    return table


def accuracy(labels: Labels, table: Floats) -> float:
    """The share of rows whose likeliest class is the label."""
    return float((table.argmax(1) == labels).mean())


def f1_macro(labels: Labels, table: Floats) -> float:
    """The mean F1 over the classes that occur as label or guess."""
    guess = table.argmax(1)
    found = []
    for one in np.union1d(labels, guess):
        both = float(((labels == one) & (guess == one)).sum())
        found.append(2 * both / float((labels == one).sum() + (guess == one).sum()))
    return float(np.mean(found))


def auc(labels: Labels, table: Floats) -> float:
    """Area under the ROC curve of the second class. Raises ValueError where one class is missing."""
    positive = labels == 1
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        raise ValueError("an area under the curve needs both classes")
    ranks = rankdata(table[:, 1])
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def brier(labels: Labels, table: Floats) -> float:
    """Mean squared distance between probability and outcome."""
    return float(((table[:, 1] - labels) ** 2).mean())


def calibration_slope(labels: Labels, table: Floats) -> float:
    """The slope of the outcome's log-odds on the predicted ones (Cox 1958); 1 is perfect, less is too sure.

    Raises ValueError where one class is missing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("a slope needs both classes")
    x = np.stack([np.ones(len(labels)), logit(np.clip(table[:, 1], 1e-6, 1 - 1e-6))], axis=1)
    beta = np.array([0.0, 1.0])
    for _ in range(25):  # Newton's method on the likelihood, which has one top
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2), x.T @ (labels - p))
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[1])


def metrics(recipe: Recipe) -> list[Metric]:
    """What a family is measured by."""
    if len(recipe.classes) > 2:
        return [accuracy, f1_macro]
    return [auc, brier, calibration_slope] if recipe.risk else [accuracy, auc, brier]


def figures(labels: Labels, table: Floats, recipe: Recipe, draws: int = 1000) -> dict[str, Any]:
    """Each metric with its interval, and n. table: (n, classes), or `tables`, whose figures are averaged."""
    found: dict[str, Any] = {
        metric.__name__: bootstrap(_averaged(metric), labels, table, draws=draws)
        for metric in metrics(recipe)
    }
    return {**found, "n": len(labels)}


def _averaged(metric: Metric) -> Metric:
    """The metric, of several divisions its mean."""

    def mean(labels: Labels, table: Floats) -> float:
        if table.ndim == 2:
            return metric(labels, table)
        return float(np.mean([metric(labels, table[:, turn]) for turn in range(table.shape[1])]))

    return mean


def subgroups(data: rows.Data) -> dict[str, NDArray[np.str_]]:
    """What subgroups -> one name a row; ages in bands."""
    found = {}
    for title, names in data.groups.items():
        if title == "age":
            years = np.array([float(name) if name != "unknown" else -1 for name in names])
            place = np.clip(np.searchsorted(AGES, years, side="right") - 1, 0, len(AGES) - 2)
            found[title] = np.array([f"{AGES[i]}-{AGES[i + 1] - 1}" for i in place])
        else:
            found[title] = np.array(names)
    return found


def by_group(data: rows.Data, table: Floats, recipe: Recipe) -> dict[str, Any]:
    """`auc_sex_female` and the like, for every subgroup of some size with both classes."""
    found: dict[str, Any] = {}
    first = metrics(recipe)[0]
    for title, names in subgroups(data).items():
        for name in np.unique(names):
            inside = names == name
            if inside.sum() >= FEWEST_OF_A_GROUP and len(np.unique(data.labels[inside])) > 1:
                key = f"{first.__name__}_{title}_{name}".replace("-", "_to_")
                found[key] = bootstrap(first, data.labels[inside], table[inside], draws=400)
    return found


def evaluate(recipe: Recipe, data: Path, folds: int | None) -> dict[str, Any]:
    """The family's figures on a data set, each with its 95 % interval, n, and the share it abstains on.

    With folds the serving recipe is trained anew in each, for every division of the recipe; without, the
    serving weights are measured. Every row counts, those on which the model would abstain too. Raises
    ValueError on another layout.
    """
    from models.tabular.model import opened

    loaded = rows.load(data, recipe)
    served = opened(recipe)
    if folds:
        told = tables(divided(loaded, recipe, folds), loaded.labels, recipe)
    else:
        told = served.probabilities(loaded.rows)[:, None]
    silent = [served.refusal(row) is not None for row in loaded.rows]
    return {
        **figures(loaded.labels, told, recipe),
        **by_group(loaded, told[:, 0], recipe),
        "divisions": told.shape[1],
        "abstained": round(float(np.mean(silent)), 4),
        "note": "rows on which the model abstains are counted by their likeliest class",
    }


def curves(recipe: Recipe, data: Path, folds: int | None = None) -> dict[str, Any]:
    """Truth, probabilities, subgroups and which rows are answered, for plots (see `models.training.curves`).

    With folds each row is answered by the recipe trained anew without it; else by the serving weights.
    """
    from models.tabular.model import opened

    loaded = rows.load(data, recipe)
    served = opened(recipe)
    if folds:
        found = out_of_fold(loaded, recipe, folds)
        table = cross_calibrated(found.scores, found, loaded.labels, recipe)
    else:
        table = served.probabilities(loaded.rows)
    several = table.shape[1] > 2
    answered = np.array([served.refusal(row) is None for row in loaded.rows])
    return {
        "y": loaded.labels,
        "p": table if several else table[:, 1],
        "classes": [one.meaning for one in recipe.classes] if several else ("no", "yes"),
        "threshold": served.threshold,
        "answered": answered & (table.max(1) >= served.threshold) if several else answered,
        "groups": subgroups(loaded),
        "unseen": bool(folds),
    }
