"""Cleaning and normalising before training: slips of the pen, outliers, doubles, scales."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def plausible(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """x, (n, features), with what lies outside low..high made unknown (NaN), neither guessed nor clipped."""
    table = np.asarray(x, dtype=np.float64)
    outside = (table < np.asarray(low, dtype=np.float64)) | (table > np.asarray(high, dtype=np.float64))
    return np.where(outside, np.nan, table)


def winsorised(x: ArrayLike, percent: float = 0.5) -> Floats:
    """x, (n, features), with the outermost per cent of each column pulled in to its percentiles."""
    table = np.asarray(x, dtype=np.float64)
    low, high = np.nanpercentile(table, [percent, 100 - percent], axis=0)
    return np.clip(table, low, high)


def standardised(x: ArrayLike, axes: int | tuple[int, ...] = -1) -> Floats:
    """x less its mean, over its standard deviation, along the axes; what does not vary becomes 0.

    For signals and images each on its own scale. For tables fit a StandardScaler on the training rows.
    """
    values = np.asarray(x, dtype=np.float64)
    centred = values - values.mean(axis=axes, keepdims=True)
    spread = centred.std(axis=axes, keepdims=True)
    return np.asarray(centred / np.where(spread > 1e-12, spread, 1.0))


def first_of_equals(*columns: ArrayLike) -> NDArray[np.intp]:
    """The first row of each set of rows that are equal in every column; in order.

    columns: (n,) or (n, features), of numbers or of text. NaN equals NaN.
    """
    seen: dict[Any, int] = {}
    tables = [np.asarray(c) for c in columns]
    for row in range(len(tables[0])):
        seen.setdefault(repr([np.asarray(t[row]).tolist() for t in tables]), row)
    return np.array(sorted(seen.values()), dtype=np.intp)
