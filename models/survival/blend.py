"""The hazard models of a study together: fitted, kept as arrays, and answering as one score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.estimators import unpack
from models.survival import network, trees
from models.survival.hazards import Floats, ridge
from models.survival.study import Cohort, Study
from models.training.splits import folds, pairs

MEMBERS = ("linear", "network", "boosting", "forest")
Arrays = dict[str, NDArray[Any]]


def fit(study: Study, rows: Cohort, seed: int = 0, members: tuple[str, ...] = MEMBERS) -> Arrays:
    """The models fitted to the rows, as arrays."""
    terms, blend = study.shaped(rows.x), study.blend
    mean, scale = terms.mean(0), terms.std(0) + 1e-9
    z = (terms - mean) / scale
    arrays: Arrays = {"terms.mean": mean, "terms.scale": scale}
    if "linear" in members:
        arrays["linear"] = ridge(z, rows.t, rows.e, blend.ridge)
    if "network" in members:
        for number in range(blend.networks):
            weights = network.fit(z, rows.t, rows.e, blend, seed * 100 + number)
            arrays |= network.stored(weights, number)
    if "boosting" in members:
        arrays |= trees.boosting(rows.x, rows.t, rows.e, blend, seed)
    if "forest" in members:
        arrays |= trees.forest(rows.x, rows.t, rows.e, blend, seed)
    return arrays


def opened(study: Study, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Callable[[Floats], Floats]]:
    """member -> its answer to (n, used columns): grows with the hazard."""
    mean, scale = arrays["terms.mean"], arrays["terms.scale"]

    def terms(x: Floats) -> Floats:
        return np.asarray((study.shaped(x) - mean) / scale)

    found: dict[str, Callable[[Floats], Floats]] = {}
    if "linear" in arrays:
        beta = arrays["linear"]
        found["linear"] = lambda x: np.asarray(terms(x) @ beta)
    networks = network.restored(arrays)
    if networks:
        found["network"] = lambda x: np.asarray(
            np.mean([network.answer(w, terms(x)) for w in networks], axis=0)
        )
    for name in ("boosting", "forest"):
        if f"{name}.facts" in arrays:
            found[name] = unpack(arrays, prefix=f"{name}.").predict
    return found


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """What models said of rows whose person they did not see.

    answers: member -> (n,), in each fold brought to mean 0 and spread 1 (the folds' models have scales of
    their own). centre, spread: member -> the mean and spread that was taken out, averaged over folds.
    """

    answers: Mapping[str, Floats]
    centre: Mapping[str, float]
    spread: Mapping[str, float]
    fold: NDArray[np.int64]


def out_of_fold(study: Study, rows: Cohort, k: int, seed: int, say: Callable[[str], None]) -> OutOfFold:
    """Every member fitted k times, each time without one fold of the persons."""
    fold = folds(rows.e, rows.person if study.persons else None, k, seed)
    return _held_out(study, rows, fold, seed, say)


def _held_out(
    study: Study, rows: Cohort, fold: NDArray[np.int64], seed: int, say: Callable[[str], None]
) -> OutOfFold:
    found = {name: np.zeros(len(rows.t)) for name in MEMBERS}
    shape: dict[str, list[tuple[float, float]]] = {name: [] for name in MEMBERS}
    for number, (learn, held) in enumerate(pairs(fold)):
        members = opened(study, fit(study, rows.take(learn), seed * 10 + number))
        for name, answer in members.items():
            value = answer(rows.x[held])
            shape[name].append((float(value.mean()), float(value.std()) + 1e-9))
            found[name][held] = (value - shape[name][-1][0]) / shape[name][-1][1]
        say(f"fold {number + 1} of {int(fold.max()) + 1}")
    means = {name: np.mean(pairs_, axis=0) for name, pairs_ in shape.items()}
    return OutOfFold(
        answers=found,
        centre={name: float(m[0]) for name, m in means.items()},
        spread={name: float(m[1]) for name, m in means.items()},
        fold=fold,
    )


def across_rows(study: Study, rows: Cohort, k: int, seed: int, say: Callable[[str], None]) -> OutOfFold:
    """As `out_of_fold`, but with rows of one person in several folds, as the published split has them."""
    return _held_out(study, rows, folds(rows.e, None, k, seed), seed, say)


def weights(study: Study) -> dict[str, float]:
    """member -> its share in the score."""
    shares = {name: float(getattr(study.blend, name)) for name in MEMBERS}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items() if share}


def mixed(study: Study, answers: Mapping[str, Floats]) -> Floats:
    """(n,) the score: the weighted sum of members that are on one scale."""
    return np.asarray(sum(share * answers[name] for name, share in weights(study).items()))


class Score:
    """The served models as one function of rows, on the scale of the out-of-fold answers."""

    def __init__(self, study: Study, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.study = study
        self.members = opened(study, arrays)
        self.shape = {name: arrays[f"shape.{name}"] for name in weights(study)}

    def __call__(self, x: Floats) -> Floats:
        """(n,) scores of (n, used columns)."""
        return mixed(
            self.study,
            {name: (self.members[name](x) - s[0]) / s[1] for name, s in self.shape.items()},
        )


def serving(study: Study, rows: Cohort, told: OutOfFold, seed: int) -> Arrays:
    """The served members fitted to all rows, with the scale of their answers."""
    shares = weights(study)
    arrays = fit(study, rows, seed, tuple(shares))
    for name in shares:
        arrays[f"shape.{name}"] = np.array([told.centre[name], told.spread[name]])
    return arrays
