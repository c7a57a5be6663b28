"""Figures of the networks' answers, and the operating points chosen on validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from models.calibration import (
    expected_calibration_error,
    fit_shifted_temperature,
    fit_temperature,
    threshold_at_specificity,
)
from models.evaluation import Interval, bootstrap

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

PNEUMONIA_SPECIFICITY = 0.97  #: films: share of the healthy validation films that stay negative
THUMBNAIL_SPECIFICITY = 0.99  #: thumbnails: their test part is known to lie shifted, so stricter
DOUBT = 0.15  #: share of the sick validation films left without a bacterial or viral answer


def margin(logits: Floats) -> NDArray[np.float64]:
    """Log-odds of pneumonia of any kind against normal, uncalibrated: (n, 2 or 3 classes) to (n,)."""
    table = np.asarray(logits, dtype=np.float64)
    found: NDArray[np.float64] = logsumexp(table[:, 1:], axis=1) - table[:, 0]
    return found


def shifted(logits: Floats, shift: float) -> NDArray[np.float64]:
    """The logits with this much added to the margin of pneumonia: taken from the normal class."""
    table = np.array(logits, dtype=np.float64)
    table[:, 0] -= shift
    return table


def kind_margin(logits: Floats) -> NDArray[np.float64]:
    """Log-odds of bacterial against viral, uncalibrated: (n, 3) to (n,)."""
    table = np.asarray(logits, dtype=np.float64)
    return table[:, 1] - table[:, 2]


def pneumonia(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probability of pneumonia of any kind: (n, 2 or 3 classes) to (n,)."""
    found: NDArray[np.float64] = expit(margin(logits) / temperature)
    return found


def bacterial(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probability that a pneumonia is bacterial rather than viral: (n, 3) to (n,)."""
    found: NDArray[np.float64] = expit(kind_margin(logits) / temperature)
    return found


def auc(scores: Floats, truth: Integers) -> float:
    """Area under the ROC curve; raises ValueError where only one class is there."""
    from sklearn.metrics import roc_auc_score  # here: a worker's start measures nothing

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
    """Share of the calls that were pneumonias (positive predictive value); 0 where nothing was called."""
    return _share(truth == 1, called) if called.any() else 0.0


def f1(called: NDArray[np.bool_], truth: Integers) -> float:
    """Harmonic mean of recall and precision."""
    both = int((called & (truth == 1)).sum())
    return 2 * both / max(1, int(called.sum()) + int((truth == 1).sum()))


def binary(
    scores: Floats, truth: Integers, threshold: float, groups: NDArray[Any] | None = None
) -> dict[str, Interval]:
    """auc, accuracy, recall, precision and f1 at a threshold, each with its 95 % interval.

    A figure that does not exist, since no film or every film is sick, is left out.
    """
    called = np.asarray(scores) >= threshold
    intervals = {"auc": bootstrap(auc, scores, truth, groups=groups)} if len(np.unique(truth)) > 1 else {}
    intervals["accuracy"] = bootstrap(
        lambda c, t: float((c == (t == 1)).mean()), called, truth, groups=groups
    )
    for name, metric in (("recall", recall), ("precision", precision), ("f1", f1)):
        if (truth == 1).any():
            intervals[name] = bootstrap(metric, called, truth, groups=groups)
    return intervals


def line(logits: Floats, labels: Integers) -> str:
    """A short line of progress: the areas under the curve."""
    sick = labels > 0
    text = f"auc {auc(pneumonia(logits), sick.astype(int)):.4f}" if len(set(sick)) > 1 else "auc -"
    if logits.shape[1] == 3 and len(set(labels[sick].tolist())) > 1:
        text += f" bacterial-viral {auc(bacterial(logits)[sick], (labels[sick] == 1).astype(int)):.4f}"
    return text


def sure_from(scores: Floats, share: float) -> float:
    """The probability from which a kind is told: this share of films, those nearest even odds, has less."""
    return 0.5 + float(np.quantile(np.abs(np.asarray(scores) - 0.5), share))


def film_figures(logits: Floats, labels: Integers, persons: NDArray[Any]) -> dict[str, Any]:
    """Temperatures, operating points and figures of films by networks that never saw their persons."""
    truth, sick = (labels > 0).astype(int), labels > 0
    first, shift = fit_shifted_temperature(margin(logits), truth)
    score = pneumonia(shifted(logits, shift), first)
    threshold = threshold_at_specificity(score, truth, PNEUMONIA_SPECIFICITY)
    figures: dict[str, Any] = {"n": len(labels), "pneumonia_threshold": threshold}
    figures |= binary(score, truth, threshold, persons)
    figures["calibration_error"] = expected_calibration_error(score, truth)
    figures["calibration_error_before"] = expected_calibration_error(pneumonia(logits), truth)
    second, kinds = _kind_figures(np.asarray(logits)[sick], labels[sick], persons[sick])
    return figures | kinds | {"temperatures": [first, second], "shift": shift}


def _kind_figures(logits: Floats, labels: Integers, persons: NDArray[Any]) -> tuple[float, dict[str, Any]]:
    """Temperature, operating points and figures of bacterial against viral, on sick films alone."""
    truth = (labels == 1).astype(int)
    if len(np.unique(truth)) < 2:
        return 1.0, {}
    temperature = fit_temperature(kind_margin(logits), truth)
    score = bacterial(logits, temperature)
    limit = sure_from(score, DOUBT)
    sure = np.maximum(score, 1 - score) >= limit
    right = bootstrap(
        lambda k, t: float(((k >= limit) == (t == 1)).mean()), score[sure], truth[sure], groups=persons[sure]
    )
    return temperature, {
        "auc_bacterial_viral": bootstrap(auc, score, truth, groups=persons),
        "bacterial_threshold": limit,
        "viral_threshold": limit,
        "bacterial_viral_accuracy_when_answered": right,
        "bacterial_viral_answered": float(sure.mean()),
        "bacterial_viral_calibration_error": expected_calibration_error(score, truth),
    }


def thumbnail_figures(logits: Floats, labels: Integers) -> dict[str, Any]:
    """Temperature, threshold and figures on the val part, which the networks did not learn from."""
    temperature, shift = fit_shifted_temperature(margin(logits), labels)
    score = pneumonia(shifted(logits, shift), temperature)
    threshold = threshold_at_specificity(score, labels, THUMBNAIL_SPECIFICITY)
    figures: dict[str, Any] = {"n": len(labels), "pneumonia_threshold": threshold}
    figures |= binary(score, labels, threshold)
    figures["calibration_error"] = expected_calibration_error(score, labels)
    return figures | {"temperatures": [temperature], "shift": shift}
