"""Accuracy of the tumour class on tables of expressions, served or retrained in folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation import Interval, bootstrap
from models.tumour_expression import centroids
from models.tumour_expression.data import GENES, Floats, Labels


def accuracy(truth: Labels, guess: Labels) -> float:
    """The part of the samples whose likeliest tumour is the label."""
    return float((truth == guess).mean())


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), which the bootstrap cannot give when all are right."""
    part, z = right / count, 1.959964
    middle = (part + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(part * (1 - part) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return float(middle - half), float(min(1.0, middle + half))


def interval(truth: Labels, guess: Labels) -> Interval:
    """Accuracy with its 95 % interval: the bootstrap's, or Wilson's where that has no spread."""
    figure = bootstrap(accuracy, truth, guess)
    if figure["low"] == figure["high"]:
        low, high = wilson(int((truth == guess).sum()), len(truth))
        return {"value": figure["value"], "low": round(low, 4), "high": round(high, 4)}
    return figure


def out_of_fold(table: Floats, labels: Labels, folds: int, seed: int = 0) -> tuple[Floats, Floats]:
    """((n, 4) scores, (n,) distances) by centroids whose genes and shrinkage the sample had no part in."""
    from models.tumour_expression.data import splits

    scores, distances = np.zeros((len(labels), centroids.CLASSES)), np.zeros(len(labels))
    for rows, other in splits(labels, folds, seed):
        shrinkage = centroids.choose(table[rows], labels[rows], seed)
        fitted = centroids.fit(table[rows], labels[rows], shrinkage)
        scores[other] = fitted.scores(table[other])
        distances[other] = fitted.distance(table[other])
    return scores, distances


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "tumour-expression"
) -> dict[str, Any]:
    """Accuracy, n, and the fraction abstained, on a folder of `*_x*.csv` and `*_y*.csv`.

    Every sample counts by its likeliest tumour, those on which the model abstains too. With folds the
    recipe, choice of genes included, is carried out anew in each. Where every sample is right (or
    wrong) the bootstrap has no spread: the interval is then Wilson's.
    """
    from models import registry
    from models.payloads import Expression
    from models.tumour_expression.data import read
    from models.tumour_expression.model import TumourExpression

    table, labels = read(data)
    served = registry.load(name, device)
    assert isinstance(served, TumourExpression)  # noqa: S101 - the registry opens the family it was asked for
    scores = out_of_fold(table, labels, folds)[0] if folds else served.centroids.scores(table)
    samples = [Expression(genes=GENES, values=row.astype(np.float32)) for row in table]
    silent = [diagnosis.abstained for diagnosis in served.examine(samples)]
    return {
        "accuracy": interval(labels, scores.argmax(1)),
        "n": len(labels),
        "abstained": round(float(np.mean(silent)), 4),
        "note": "abstained samples are counted by their likeliest tumour; abstained is the served model's",
    }


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth, probabilities and which samples are answered, for plots (see `models.training.curves`).

    With folds by centroids that did not see the sample, but at the served temperature and limits.
    """
    from models import registry
    from models.tumour_expression.data import TUMOURS, read
    from models.tumour_expression.model import TumourExpression

    table, labels = read(data)
    served = registry.load("tumour-expression", "cpu")
    assert isinstance(served, TumourExpression)  # noqa: S101 - the registry opens the family it was asked for
    if folds:
        scores, distances = out_of_fold(table, labels, folds)
    else:
        scores, distances = served.centroids.scores(table), served.centroids.distance(table)
    chances = centroids.probabilities(scores, served.temperature)
    return {
        "y": labels,
        "p": chances,
        "classes": [tumour.short for tumour in TUMOURS],
        "answered": (chances.max(1) >= served.threshold) & (distances <= served.furthest),
        "unseen": bool(folds),
    }
