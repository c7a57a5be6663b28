"""How good a family on molecules is: out-of-fold scores, the blend found on them, figures with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import expected_calibration_error
from models.card import read as read_card
from models.chemistry import dataset, domain, machine, recipe
from models.chemistry.dataset import Rows
from models.chemistry.features import Floats, Seen, descriptor_names, seen
from models.chemistry.machine import Blend, Machine
from models.chemistry.recipe import Recipe
from models.evaluation import bootstrap
from models.training import splits
from models.training.metrics import auc

FOLDS = 5
Splits = list[tuple[NDArray[np.intp], NDArray[np.intp]]]
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Set:
    """A data set's readable molecules as machines see them."""

    seen: Seen
    names: tuple[str, ...]
    answers: Floats
    aims: Floats
    groups: NDArray[np.int64]  #: molecules that stay in one fold
    mols: tuple[Any, ...] = ()  #: the molecules themselves

    def splits(self, folds: int, seed: int = 0) -> Splits:
        """(training rows, other rows) of each fold: answers spread evenly, no group in two folds."""
        return splits.pairs(splits.folds(self.answers, self.groups, folds, seed))


def prepared(rows: Rows, own: Recipe) -> Set:
    """The readable rows' fragments, descriptors and groups."""
    names, kept = descriptor_names(), rows.readable
    return Set(
        seen=seen([s.mol for s in rows.known()], names),
        names=names,
        answers=rows.answers[kept],
        aims=rows.aims[kept],
        groups=dataset.groups(rows.known(), own.folds),
        mols=tuple(s.mol for s in rows.known()),
    )


def out_of_fold(
    data: Set, recipe: Recipe, cuts: Splits, *, seed: int = 0, progress: Progress | None = None
) -> tuple[Floats, Floats]:
    """(n, members) scores by machines that saw no molecule of the same group, and (n,) likeness."""
    scores, likeness = np.zeros((len(data.answers), len(recipe.members))), np.zeros(len(data.answers))
    none = Blend(weights=np.ones(len(recipe.members)), offset=0.0)
    for number, (rows, others) in enumerate(cuts, 1):
        fitted = machine.fit(
            data.seen.take(rows), data.aims[rows], data.answers[rows], recipe, none, data.names, seed
        )
        scores[others], likeness[others] = fitted.scores(data.seen.take(others))
        if progress:
            progress(f"fold {number}/{len(cuts)} of those that serve")
    return scores, likeness


def blended(scores: Floats, answers: Floats, recipe: Recipe) -> Blend:
    """The likeliest blend: of values by least squares, of classes by logistic regression; no weight below 0.

    A handful of numbers from all out-of-fold scores; what they were measured on flatters them little.
    """
    from scipy.optimize import minimize

    middle, spread = scores.mean(0), scores.std(0)
    standard = (scores - middle) / spread

    def cost(guess: Floats) -> float:
        raw = standard @ guess[:-1] + guess[-1]
        if not recipe.classifies:
            return float(((raw - answers) ** 2).mean())
        return float(np.logaddexp(0, (1 - 2 * answers) * raw).mean())

    start = np.append(np.full(scores.shape[1], 0.5), answers.mean())
    bounds = [(0, None)] * scores.shape[1] + [(None, None)]
    found = minimize(cost, start, method="L-BFGS-B", bounds=bounds).x
    weights = found[:-1] / spread
    return Blend(weights=weights, offset=float(found[-1] - middle @ weights))


def retrained(data: Set, recipe: Recipe, folds: int, *, seed: int = 0) -> Floats:
    """(n,) probabilities or values by the recipe trained anew in each fold, its blend by inner folds."""
    said = np.zeros(len(data.answers))
    for rows, others in data.splits(folds, seed):
        part = Set(
            seen=data.seen.take(rows), names=data.names, answers=data.answers[rows],
            aims=data.aims[rows], groups=data.groups[rows],
        )  # fmt: skip
        inner, _ = out_of_fold(part, recipe, part.splits(3, seed), seed=seed)
        blend = blended(inner, part.answers, recipe)
        fitted = machine.fit(part.seen, part.aims, part.answers, recipe, blend, data.names, seed)
        said[others] = fitted.said(fitted.answer(data.seen.take(others)).raw)
    return said


def figures(truth: Floats, said: Floats, recipe: Recipe, threshold: float) -> dict[str, Any]:
    """The family's figures with their 95 % intervals."""
    if not recipe.classifies:
        return {
            "rmse": bootstrap(lambda t, s: float(np.sqrt(((t - s) ** 2).mean())), truth, said),
            "mae": bootstrap(lambda t, s: float(np.abs(t - s).mean()), truth, said),
            "r2": bootstrap(lambda t, s: float(1 - ((t - s) ** 2).mean() / t.var()), truth, said),
        }
    yes = (said >= threshold).astype(np.float64)
    return {
        "auc": bootstrap(auc, truth, said),
        "accuracy": bootstrap(lambda t, y: float((t == y).mean()), truth, yes),
        "f1": bootstrap(lambda t, y: float(2 * (t * y).sum() / max(1.0, (t + y).sum())), truth, yes),
        "brier": bootstrap(lambda t, s: float(((t - s) ** 2).mean()), truth, said),
        "calibration_error": round(expected_calibration_error(said, truth.astype(np.int64)), 4),
    }


def served(rows: Rows, model: Machine) -> Floats:
    """(n,) what the machine says of every row; the training set's mean of what cannot be read."""
    said = np.full(len(rows.smiles), model.base)
    found = seen([s.mol for s in rows.known()], model.names)
    said[rows.readable] = model.said(model.answer(found).raw)
    return said


def evaluate(folder: Path, data: Path, folds: int | None) -> dict[str, Any]:
    """The family's figures on a file in its own layout, over every row, also those it would not answer.

    folds: the recipe is trained anew in so many folds, whole scaffolds (or equal structures) left out; a
    row whose SMILES cannot be read gets the training set's mean.
    """
    own = recipe.read(folder)
    rows = dataset.read(data, own.columns)
    said = answers(folder, own, rows, folds)
    refused = sum(domain.refusal(s, own.gate) is not None for s in rows.structures)
    return {
        **figures(rows.answers, said, own, point(folder, own)),
        "n": len(rows.smiles),
        "unreadable": len(rows.smiles) - len(rows.readable),
        "refused": refused,
        "note": "every row counts, also those about which the served model abstains",
    }


def answers(folder: Path, own: Recipe, rows: Rows, folds: int | None) -> Floats:
    """(n,) the answers to every row: by the serving weights, or by weights trained without its group."""
    if not folds:
        return served(rows, machine.load(folder, own))
    part = prepared(rows, own)
    said = np.full(len(rows.smiles), float(part.answers.mean()))
    said[rows.readable] = retrained(part, own, folds)
    return said


def point(folder: Path, own: Recipe) -> float:
    """The card's operating point of the finding; one half where the family gives values."""
    return read_card(folder).threshold(own.asked.meaning) if own.classifies else 0.5


def curves(folder: Path, data: Path, folds: int | None) -> dict[str, Any]:
    """Truth and answers of the readable rows, for plots (see `models.training.curves`).

    With folds by machines that saw no molecule of the same group; only the blend's handful of weights is
    found on all their scores together, as for the card. Where none is asked for, by the serving machine.
    """
    own, model = recipe.read(folder), machine.load(folder, recipe.read(folder))
    rows = dataset.read(data, own.columns)
    part = prepared(rows, own)
    scores, likeness = out_of_fold(part, own, part.splits(folds)) if folds else model.scores(part.seen)
    blend = blended(scores, part.answers, own) if folds else model.blend
    said = model.said(blend(scores))
    refused = [domain.refusal(s, own.gate) or domain.unlike(float(near), own.gate)
               for s, near in zip(rows.known(), likeness, strict=True)]  # fmt: skip
    found: dict[str, Any] = {"unseen": bool(folds), "answered": [r is None for r in refused]}
    if own.classifies:
        truth = part.answers.astype(np.int64)
        return found | {"y": truth, "p": said, "classes": ("no", "yes"), "threshold": point(folder, own)}
    return found | {"y": part.answers, "value": said, "unit": own.asked.value_name}
