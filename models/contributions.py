"""What each feature of one row adds to an answer: sampled Shapley values, for any model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]  #: (n, features) -> (n,)


def shapley(
    predict: Predict, row: ArrayLike, background: ArrayLike, *, draws: int = 64, seed: int = 0
) -> Floats:
    """(features,) what each value of the row adds to predict(row) over the mean of the background.

    The features are put in, one after another in a drawn order, over each background row; what the
    answer moves by is that feature's (Štrumbelj and Kononenko 2014). Each order is also walked backwards,
    which halves the noise. Missing values (NaN) are values like others.

    row: (features,). background: (rows, features): patients to compare with, some dozens are enough.
    draws: orders, in pairs; each background row is met equally often. The values sum to
    predict(row) - mean(predict(background)) exactly: what the drawing leaves over is shared by size.
    Raises ValueError on shapes that do not fit.
    """
    shown = np.asarray(row, dtype=np.float64)
    others = np.asarray(background, dtype=np.float64)
    if shown.ndim != 1 or others.ndim != 2 or others.shape[1:] != shown.shape or not len(others):
        raise ValueError(f"expected (features,) and (rows, features), got {shown.shape} and {others.shape}")
    orders, bases = _drawn(len(shown), len(others), draws, np.random.default_rng(seed))
    walks = _walks(shown, others[bases], orders)  # (draws, features + 1, features)
    answers = np.asarray(predict(walks.reshape(-1, len(shown))), dtype=np.float64).reshape(walks.shape[:2])
    steps = np.zeros(orders.shape)
    np.put_along_axis(steps, orders, np.diff(answers, axis=1), axis=1)
    ends = np.asarray(predict(np.concatenate([shown[None], others])), dtype=np.float64).reshape(-1)
    return _settled(steps.mean(0), float(ends[0] - ends[1:].mean()), (steps != 0).any(0))


def _drawn(
    features: int, rows: int, draws: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(draws, features) orders, each beside its reverse, and the background row that each starts from."""
    half = max(1, (draws + 1) // 2)
    forth = rng.permuted(np.tile(np.arange(features), (half, 1)), axis=1)
    picked = np.concatenate([rng.permutation(rows) for _ in range(-(-half // rows))])[:half]
    return np.concatenate([forth, forth[:, ::-1]]), np.concatenate([picked, picked])


def _walks(row: Floats, bases: Floats, orders: NDArray[np.intp]) -> Floats:
    """(draws, features + 1, features): from each base to the row, one feature of the order at a time."""
    place = np.argsort(orders, axis=1)  # when each feature is put in
    put_in = np.arange(len(row) + 1)[None, :, None] > place[:, None, :]
    return np.where(put_in, row, bases[:, None, :])


def _settled(values: Floats, total: float, moved: NDArray[np.bool_]) -> Floats:
    """The values with what is missing to the total shared by size among the features that moved anything."""
    left = total - values.sum()
    size = np.abs(values)
    if size.sum() > 0:
        return np.asarray(values + left * size / size.sum())
    share = moved if moved.any() else np.ones(len(values), dtype=bool)
    return np.asarray(values + left * share / share.sum())
