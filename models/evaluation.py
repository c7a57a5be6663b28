"""Measured figures with 95 % confidence intervals, in the form every `evaluate` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class Interval(TypedDict):
    """A figure and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    metric: Callable[..., float],
    *arrays: NDArray[Any],
    groups: NDArray[Any] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """The metric over the arrays, with the percentile bootstrap's 95 % interval.

    groups: one label a row; whole groups (patients, reports, records) are drawn together, since
    rows of one person are not independent. Draws in which the metric is undefined are left out.
    """
    rng = np.random.default_rng(seed)
    rows = len(arrays[0])
    labels = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    members = (
        [np.flatnonzero(labels == g) for g in range(int(labels.max()) + 1)] if groups is not None else None
    )
    values = []
    for _ in range(draws):
        if members is None:
            pick = rng.integers(0, rows, rows)
        else:
            pick = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        try:
            drawn = float(metric(*(a[pick] for a in arrays)))
        except ValueError:
            continue
        if np.isfinite(drawn):
            values.append(drawn)
    value = float(metric(*arrays))
    low, high = np.percentile(values, [2.5, 97.5]) if values else (float("nan"), float("nan"))
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}
