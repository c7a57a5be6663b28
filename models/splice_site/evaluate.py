"""Accuracy of the three classes on the splice-junction set, served or retrained in folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.evaluation import bootstrap
from models.splice_site import data, machine
from models.splice_site.kernel import encode, similarity


def accuracy(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> float:
    """The part of the windows whose likeliest class is the label."""
    return float((truth == guess).mean())


def probabilities(windows: list[str], labels: NDArray[np.int64], folds: int) -> NDArray[np.float64]:
    """(n, 3) by machines that did not see the window, nor an equal one, calibrated by inner folds."""
    codes = encode(windows)
    gram = similarity(codes, codes)
    table = np.zeros((len(labels), 3))
    for rows, other in data.splits(windows, labels, folds):
        own, part = gram[np.ix_(rows, rows)], labels[rows]
        inner = data.splits([windows[i] for i in rows], part, 3)
        slope, offset = machine.calibrate(machine.out_of_fold(own, part, inner), part)
        coefficients, intercepts = machine.solve(own, part)
        decisions = gram[np.ix_(other, rows)] @ coefficients + intercepts
        table[other] = decisions @ slope + offset
    return np.asarray(softmax(table, axis=1))


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "splice-site"
) -> dict[str, Any]:
    """Accuracy with its 95 % interval over groups of equal windows, and n.

    Every window counts by its likeliest class, those on which the model would abstain too. Without
    folds the served machines answer, which trained on the published set: such a figure is no
    measure of new windows. With folds the recipe is trained anew in each, calibration included.
    """
    from models import registry
    from models.splice_site.data import groups, read
    from models.splice_site.model import SpliceSite

    windows, labels = read(data)
    served = registry.load(name, device)
    assert isinstance(served, SpliceSite)  # noqa: S101 - the registry opens the family it was asked for
    table = probabilities(windows, labels, folds) if folds else served.machine.probabilities(windows)
    return {
        "accuracy": bootstrap(accuracy, labels, table.argmax(1), groups=groups(windows)),
        "n": len(labels),
        "abstained": round(float((table.max(1) < served.confident).mean()), 4),
        "note": "abstained windows are counted by their likeliest class",
    }


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth, probabilities and which windows are answered, for plots (see `models.training.curves`)."""
    from models import registry
    from models.splice_site.data import CLASSES, read
    from models.splice_site.model import SpliceSite

    windows, labels = read(data)
    served = registry.load("splice-site", "cpu")
    assert isinstance(served, SpliceSite)  # noqa: S101 - the registry opens the family it was asked for
    table = probabilities(windows, labels, folds) if folds else served.machine.probabilities(windows)
    sure = table.max(1) >= served.confident
    return {"y": labels, "p": table, "classes": CLASSES, "answered": sure, "unseen": bool(folds)}
