"""Figures of the networks' answers, and the operating points chosen on validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from models.calibration import (
    expected_calibration_error,
    fit_temperature,
    threshold_at_specificity,
    threshold_balanced,
)
from models.evaluation import Interval, bootstrap

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

PNEUMONIA_SPECIFICITY = 0.97  #: films: share of the healthy validation films that stay negative
THUMBNAIL_SPECIFICITY = 0.99  #: thumbnails: their test part is known to lie shifted, so stricter
DOUBT = 0.15  #: share of the sick validation films left without a bacterial or viral answer


def pneumonia(logits: Floats) -> NDArray[np.float64]:
    """Probability of pneumonia of any kind: (n, 2 or 3 classes) to (n,)."""
    shares: NDArray[np.float64] = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return 1 - shares[:, 0]


def bacterial(logits: Floats) -> NDArray[np.float64]:
    """Probability that a pneumonia is bacterial rather than viral: (n, 3) to (n,)."""
    shares: NDArray[np.float64] = softmax(np.asarray(logits, dtype=np.float64)[:, 1:3], axis=1)
    return shares[:, 0]


def auc(scores: Floats, truth: Integers) -> float:
    """Area under the ROC curve; raises ValueError where only one class is there."""
    if len(np.unique(truth)) < 2:
        raise ValueError("the area under the curve needs both classes")
    return float(roc_auc_score(truth, scores))


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    if not whole.any():
        raise ValueError("a share of nothing")
    return float(part[whole].mean())


def recall(called: NDArray[np.bool_], truth: Integers) -> float:
    """Share of the pneumonias that were called so (sensitivity)."""
    return _share(called, truth == 1)


def precision(called: NDArray[np.bool_], truth: Integers) -> float:
    """Share of the calls that were pneumonias (positive predictive value)."""
    return _share(truth == 1, called)


def f1(called: NDArray[np.bool_], truth: Integers) -> float:
    """Harmonic mean of recall and precision."""
    both = int((called & (truth == 1)).sum())
    return 2 * both / max(1, int(called.sum()) + int((truth == 1).sum()))


def binary(
    scores: Floats, truth: Integers, threshold: float, groups: NDArray[Any] | None = None
) -> dict[str, Interval]:
    """auc, accuracy, recall, precision and f1 at a threshold, each with its 95 % interval."""
    called = np.asarray(scores) >= threshold
    intervals = {"auc": bootstrap(auc, scores, truth, groups=groups)} if len(np.unique(truth)) > 1 else {}
    intervals["accuracy"] = bootstrap(
        lambda c, t: float((c == (t == 1)).mean()), called, truth, groups=groups
    )
    for name, metric in (("recall", recall), ("precision", precision), ("f1", f1)):
        try:
            intervals[name] = bootstrap(metric, called, truth, groups=groups)
        except ValueError:  # one class alone: the figure does not exist
            intervals[name] = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    return intervals


def line(logits: Floats, labels: Integers) -> str:
    """A short line of progress: the areas under the curve."""
    sick = labels > 0
    text = f"auc {auc(pneumonia(logits), sick.astype(int)):.4f}" if len(set(sick)) > 1 else "auc -"
    if logits.shape[1] == 3 and len(set(labels[sick].tolist())) > 1:
        text += f" bacterial-viral {auc(bacterial(logits)[sick], (labels[sick] == 1).astype(int)):.4f}"
    return text


def doubt_limits(scores: Floats, truth: Integers, share: float) -> tuple[float, float]:
    """The interval of probabilities in which this share of films, those nearest the best cut, lies."""
    cut = threshold_balanced(scores, truth)
    reach = float(np.quantile(np.abs(np.asarray(scores) - cut), share))
    return max(0.0, cut - reach), min(1.0, cut + reach)


def film_figures(logits: Floats, labels: Integers, persons: NDArray[Any]) -> dict[str, Any]:
    """Temperature, operating points and figures of films by networks that never saw their persons."""
    temperature = fit_temperature(logits, labels)
    calibrated = np.asarray(logits) / temperature
    truth, score, sick = (labels > 0).astype(int), pneumonia(calibrated), labels > 0
    kind, kind_truth = bacterial(calibrated)[sick], (labels[sick] == 1).astype(int)
    threshold = threshold_at_specificity(score, truth, PNEUMONIA_SPECIFICITY)
    figures: dict[str, Any] = {"temperature": temperature, "pneumonia_threshold": threshold, "n": len(labels)}
    figures |= binary(score, truth, threshold, persons)
    if len(np.unique(kind_truth)) > 1:
        low, high = doubt_limits(kind, kind_truth, DOUBT)
        sure = (kind < low) | (kind >= high)
        figures |= {
            "auc_bacterial_viral": bootstrap(auc, kind, kind_truth, groups=persons[sick]),
            "bacterial_threshold": high,
            "viral_threshold": 1 - low,
            "bacterial_viral_accuracy_when_answered": bootstrap(
                lambda k, t: float(((k >= high) == (t == 1)).mean()),
                kind[sure], kind_truth[sure], groups=persons[sick][sure],
            ),
            "bacterial_viral_answered": float(sure.mean()),
        }  # fmt: skip
    figures["calibration_error"] = expected_calibration_error(score, truth)
    figures["calibration_error_before"] = expected_calibration_error(pneumonia(logits), truth)
    return figures


def thumbnail_figures(logits: Floats, labels: Integers) -> dict[str, Any]:
    """Temperature, threshold and figures on the val part, which the networks did not learn from."""
    temperature = fit_temperature(logits, labels)
    score = pneumonia(np.asarray(logits) / temperature)
    threshold = threshold_at_specificity(score, labels, THUMBNAIL_SPECIFICITY)
    figures: dict[str, Any] = {"temperature": temperature, "pneumonia_threshold": threshold, "n": len(labels)}
    figures |= binary(score, labels, threshold)
    figures["calibration_error"] = expected_calibration_error(score, labels)
    return figures
