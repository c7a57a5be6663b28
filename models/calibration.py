"""Calibration: the temperature that makes probabilities mean what they say, and operating points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

Floats = NDArray[np.floating]


def fit_temperature(logits: Floats, labels: NDArray[np.integer]) -> float:
    """The T > 0 for which softmax(logits / T) has the least negative log-likelihood (Guo 2017).

    logits: (n, classes); or (n,) for one binary logit. labels: (n,) class indices. Searched between
    1/20 and 20. Raises ValueError on no rows, non-finite logits or labels out of range.
    """
    table = np.asarray(logits, dtype=np.float64)
    if table.ndim == 1:
        table = np.stack([np.zeros_like(table), table], axis=1)
    truth = np.asarray(labels).reshape(-1).astype(np.int64)
    if table.ndim != 2 or len(table) != len(truth) or not len(table):
        raise ValueError(f"expected (n, classes) logits and n labels, got {table.shape} and {truth.shape}")
    if not np.isfinite(table).all() or truth.min() < 0 or truth.max() >= table.shape[1]:
        raise ValueError("logits must be finite and labels be class indices")
    rows = np.arange(len(table))

    def cost(log_temperature: float) -> float:
        return float(-log_softmax(table / np.exp(log_temperature), axis=1)[rows, truth].mean())

    limit = float(np.log(20))
    found = minimize_scalar(cost, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))


def fit_shifted_temperature(logits: Floats, labels: NDArray[np.integer]) -> tuple[float, float]:
    """(T, shift) of the likeliest sigmoid((logit + shift) / T): Platt scaling (1999) of one binary logit.

    logits: (n,), labels: (n,) of 0 and 1. Raises ValueError as `fit_temperature` does.
    """
    temperature = fit_temperature(np.asarray(logits).reshape(-1), labels)  # checks its arguments
    sign = 1.0 - 2.0 * np.asarray(labels).reshape(-1)

    def cost(guess: NDArray[np.float64]) -> float:
        scale, shift = np.exp(guess[0]), guess[1]
        return float(np.logaddexp(0, sign * (np.asarray(logits, dtype=np.float64) + shift) / scale).mean())

    limit = float(np.log(20))
    bounds = [(-limit, limit), (-20.0, 20.0)]
    found = minimize(cost, np.array([np.log(temperature), 0.0]), method="L-BFGS-B", bounds=bounds)
    return float(np.exp(found.x[0])), float(found.x[1])


def expected_calibration_error(probabilities: Floats, labels: NDArray[np.integer], bins: int = 10) -> float:
    """Mean distance between probability and frequency over equal-width bins, weighed by their counts.

    probabilities: (n,) of the positive class; or (n, classes), of which the largest is taken as the
    confidence and its class as the guess (Guo 2017). 0 is perfect.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(labels).reshape(-1)
    right = (table.argmax(1) == truth if table.ndim == 2 else truth == 1).astype(np.float64)
    confidence = table.max(1) if table.ndim == 2 else table
    place = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    error = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(error)


def threshold_at_specificity(scores: Floats, labels: NDArray[np.integer], specificity: float) -> float:
    """The lowest score that keeps at least this share of the negatives (label 0) below it.

    The midpoint between the last negative kept and the next score of any row, so that neither sits on
    the edge. Raises ValueError without negatives.
    """
    table, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels).reshape(-1)
    negatives = np.sort(table[truth == 0])
    if not len(negatives):
        raise ValueError("a specificity needs negatives; there are none")
    kept = negatives[min(len(negatives), int(np.ceil(specificity * len(negatives)))) - 1]
    above = table[table > kept]
    return float((kept + above.min()) / 2) if len(above) else float(np.nextafter(kept, np.inf))
