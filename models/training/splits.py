"""Rows into folds: classes spread evenly, one patient's rows together, equal rows together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.intp]


def folds(
    labels: ArrayLike, groups: Sequence[Any] | NDArray[Any] | None = None, k: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """(n,) the fold (0..k-1) of each row.

    labels: (n,) classes, spread evenly; measured values (floats that are no whole numbers) are spread by
    tenths of their order. groups: whose row it is; no group is in two folds. Raises ValueError with
    fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    strata = _strata(np.asarray(labels))
    owners = (
        np.arange(len(strata)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    if len(np.unique(owners)) < k:
        raise ValueError(f"{k} folds need as many patients or groups; there are {len(np.unique(owners))}")
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    fold = np.zeros(len(strata), dtype=np.int64)
    with warnings.catch_warnings():  # a class rarer than the folds is spread as far as it goes
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        if np.bincount(strata).max() < k:  # no class is common enough to be spread
            strata = np.zeros_like(strata)
        cut = splitter(k, shuffle=True, random_state=seed).split(
            np.zeros(len(strata)), strata, None if groups is None else owners
        )
        for index, (_, held) in enumerate(cut):
            fold[held] = index
    return fold


def _strata(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        labels = np.searchsorted(np.quantile(labels, np.linspace(0.1, 0.9, 9)), labels)
    return np.asarray(np.unique(labels, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def pairs(fold: NDArray[np.int64]) -> list[tuple[Rows, Rows]]:
    """(training rows, held-out rows) of each fold."""
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(int(fold.max()) + 1)]


def held_out(
    labels: ArrayLike, groups: Sequence[Any] | NDArray[Any] | None = None, share: float = 0.2, seed: int = 0
) -> tuple[Rows, Rows]:
    """(training rows, held-out rows): about the share of the rows, split as `folds` does."""
    return pairs(folds(labels, groups, max(2, round(1 / share)), seed))[0]


def equal_rows(rows: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    """(n,) a group number that equal rows (sequences, molecules, or lines of a 2-D array) share."""
    table = rows if isinstance(rows, np.ndarray) else np.asarray(rows)
    return np.asarray(np.unique(table, axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)
