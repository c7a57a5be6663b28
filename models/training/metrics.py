"""The figures of answers against truth, each with its 95 % interval, under the names `evaluate` promises."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from models.calibration import expected_calibration_error
from models.evaluation import Interval, bootstrap

Floats = NDArray[np.float64]
Metric = Callable[[Floats, Floats], float]
EDGE = 1e-6  #: probabilities are kept this far from 0 and 1 where their logarithm is needed


def auc(truth: Floats, score: Floats) -> float:
    """Area under the ROC curve. Raises ValueError with one class alone, as a bootstrap draw may have."""
    from scipy.stats import rankdata

    positives = int((truth == 1).sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        raise ValueError("an AUC needs both classes")
    ranks = rankdata(score)[truth == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(truth: Floats, score: Floats) -> float:
    """Area under the precision-recall curve, by steps."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(_both(truth)[order])
    last = np.append(np.diff(score[order]) != 0, True)  # equal scores are called together
    recall = hits[last] / hits[-1]
    precision = hits[last] / (np.flatnonzero(last) + 1)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def brier(truth: Floats, probability: Floats) -> float:
    """Mean squared distance between probability and outcome; 0 is perfect."""
    return float(((probability - truth) ** 2).mean())


def calibration_slope(truth: Floats, probability: Floats) -> float:
    """Slope of the outcome's logistic regression on the probability's logit; below 1 is too sure."""
    return _recalibrated(_both(truth), probability)[0]


def calibration_intercept(truth: Floats, probability: Floats) -> float:
    """Intercept of that regression; 0 is perfect."""
    return _recalibrated(_both(truth), probability)[1]


def _recalibrated(truth: Floats, probability: Floats) -> tuple[float, float]:
    """(slope, intercept) by Newton's method, unpenalised."""
    z = logit(np.clip(probability, EDGE, 1 - EDGE))
    x = np.stack([z, np.ones_like(z)], axis=1)
    beta = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -35, 35)))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, x.T @ (truth - p))
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[0]), float(beta[1])


def _both(truth: Floats) -> Floats:
    if truth.min() == truth.max():
        raise ValueError("this figure needs both classes")
    return truth


def _share(told: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    if not among.any():
        raise ValueError("no rows to take a share of")
    return float(told[among].mean())


def at(threshold: float) -> dict[str, Metric]:
    """accuracy, recall, precision, specificity and f1 of calling positive what reaches the threshold."""

    def f1(truth: Floats, p: Floats) -> float:
        called, sick = p >= threshold, truth == 1
        hits = int((called & sick).sum())
        return 2 * hits / max(int(called.sum() + sick.sum()), 1)

    return {
        "accuracy": lambda t, p: float(((p >= threshold) == (t == 1)).mean()),
        "recall": lambda t, p: _share(p >= threshold, t == 1),
        "precision": lambda t, p: _share(t == 1, p >= threshold),
        "specificity": lambda t, p: _share(p < threshold, t == 0),
        "f1": f1,
    }


def _safe(metric: Metric, *arrays: NDArray[Any], groups: NDArray[Any] | None, draws: int) -> Interval | None:
    """The interval; None where the figure is undefined on all the rows."""
    try:
        return bootstrap(metric, *arrays, groups=groups, draws=draws)
    except ValueError:
        return None


def binary(
    truth: ArrayLike,
    probability: ArrayLike,
    threshold: float = 0.5,
    groups: NDArray[Any] | None = None,
    *,
    draws: int = 1000,
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """auc, average_precision, brier, calibration_slope, _intercept, _error, those of `at`, and n.

    truth: (n,) 0 or 1. probability: (n,) of 1. groups: patients, drawn together. only: the names that are
    wanted. What is undefined on these rows is left out.
    """
    t, p = np.asarray(truth, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    named: dict[str, Metric] = {
        "auc": auc,
        "average_precision": average_precision,
        "brier": brier,
        "calibration_slope": calibration_slope,
        "calibration_intercept": calibration_intercept,
        "calibration_error": lambda a, b: expected_calibration_error(b, a.astype(np.int64)),
        **at(threshold),
    }
    named = {name: metric for name, metric in named.items() if only is None or name in only}
    found = {name: _safe(metric, t, p, groups=groups, draws=draws) for name, metric in named.items()}
    return {**{name: value for name, value in found.items() if value}, "n": len(t)}


def f1_macro(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> float:
    """The mean F1 over the classes that occur as truth or guess."""
    count = int(max(truth.max(), guess.max())) + 1
    hits = np.bincount(truth[truth == guess], minlength=count)
    met = np.bincount(truth, minlength=count) + np.bincount(guess, minlength=count)
    return float((2 * hits[met > 0] / met[met > 0]).mean())


def multiclass(
    truth: ArrayLike,
    probabilities: ArrayLike,
    groups: NDArray[Any] | None = None,
    *,
    draws: int = 1000,
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """accuracy, f1_macro, auc_macro (each class against the others), log_loss, calibration_error, and n.

    truth: (n,) class numbers. probabilities: (n, classes). only: the names that are wanted.
    """
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)

    def auc_macro(a: NDArray[np.int64], b: Floats) -> float:
        return float(np.mean([auc((a == c).astype(float), b[:, c]) for c in np.unique(t)]))

    def log_loss(a: NDArray[np.int64], b: Floats) -> float:
        return float(-np.log(np.clip(b[np.arange(len(a)), a], EDGE, 1)).mean())

    named: dict[str, Callable[..., float]] = {
        "accuracy": lambda a, b: float((b.argmax(1) == a).mean()),
        "f1_macro": lambda a, b: f1_macro(a, b.argmax(1)),
        "auc_macro": auc_macro,
        "log_loss": log_loss,
        "calibration_error": lambda a, b: expected_calibration_error(b, a),
    }
    named = {name: metric for name, metric in named.items() if only is None or name in only}
    found = {name: _safe(metric, t, p, groups=groups, draws=draws) for name, metric in named.items()}
    return {**{name: value for name, value in found.items() if value}, "n": len(t)}


def values(
    truth: ArrayLike, guess: ArrayLike, groups: NDArray[Any] | None = None, *, draws: int = 1000
) -> dict[str, Any]:
    """rmse, mae, r2 of measured values, and n."""
    t, g = np.asarray(truth, dtype=np.float64), np.asarray(guess, dtype=np.float64)
    named: dict[str, Metric] = {
        "rmse": lambda a, b: float(np.sqrt(((a - b) ** 2).mean())),
        "mae": lambda a, b: float(np.abs(a - b).mean()),
        "r2": lambda a, b: 1 - float(((a - b) ** 2).sum() / max(float(((a - a.mean()) ** 2).sum()), 1e-12)),
    }
    found = {name: _safe(metric, t, g, groups=groups, draws=draws) for name, metric in named.items()}
    return {**{name: value for name, value in found.items() if value}, "n": len(t)}


def by_group(
    truth: ArrayLike,
    probability: ArrayLike,
    groups: ArrayLike,
    threshold: float = 0.5,
    *,
    least: int = 10,
    draws: int = 400,
) -> dict[str, dict[str, Any]]:
    """The figures of `binary` for each group of at least so many rows, by its name."""
    t, p, g = np.asarray(truth), np.asarray(probability), np.asarray(groups)
    return {
        str(name): binary(t[g == name], p[g == name], threshold, draws=draws)
        for name in np.unique(g)
        if (g == name).sum() >= least
    }


def kaplan_meier(time: Floats, event: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(times, survival) from time 0, at each time with an event (Kaplan and Meier 1958)."""
    ends = np.unique(time[event])
    watched = np.array([(time >= end).sum() for end in ends])
    died = np.array([((time == end) & event).sum() for end in ends])
    return np.append(0.0, ends), np.append(1.0, np.cumprod(1 - died / watched) if len(ends) else [])
