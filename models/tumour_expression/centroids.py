"""Nearest shrunken centroids (Tibshirani 2002): the genes, the classes' centres, and a sample's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from models.tumour_expression.data import Floats, Labels, splits

CLASSES = 4
GRID = tuple(np.round(np.arange(0.0, 6.01, 0.25), 2).tolist())  #: shrinkages tried
INNER = 5  #: folds by which the shrinkage is chosen
FILE = "centroids.safetensors"


@dataclass(frozen=True, kw_only=True)
class Centroids:
    """The genes that keep a difference, with the shrunken centre of each class."""

    genes: Labels  #: (g,) places in the table of 2,308
    centres: Floats  #: (g, 4)
    scale: Floats  #: (g,) pooled spread within the classes, plus its median

    def terms(self, table: Floats) -> Floats:
        """(n, g, 4) what each gene adds to a class's score: minus half its squared standardised distance."""
        apart = (table[:, self.genes, None] - self.centres) / self.scale[:, None]
        return np.asarray(-0.5 * apart**2)

    def scores(self, table: Floats) -> Floats:
        """(n, 4) discriminant scores, all classes equally likely beforehand."""
        return np.asarray(self.terms(table).sum(1))

    def distance(self, table: Floats) -> Floats:
        """(n,) mean squared standardised distance to the nearest centre, over the genes kept."""
        return np.asarray(-2 * self.terms(table).mean(1).max(1))


def fit(table: Floats, labels: Labels, shrinkage: float) -> Centroids:
    """The centroids of a training table, differences below the shrinkage taken as none.

    A class's standardised difference from the overall mean is (its mean - mean) / (m_k (s + s0)),
    m_k = sqrt(1/n_k - 1/n), s the gene's pooled spread within the classes and s0 the median of s.
    """
    count, mean = len(labels), table.mean(0)
    sizes = np.bincount(labels, minlength=CLASSES)
    means = np.stack([table[labels == k].mean(0) for k in range(CLASSES)], axis=1)
    spread = np.sqrt(((table - means.T[labels]) ** 2).sum(0) / (count - CLASSES))
    scale = spread + np.median(spread)
    steps = np.sqrt(1 / sizes - 1 / count)
    apart = (means - mean[:, None]) / (steps * scale[:, None])
    kept = np.sign(apart) * np.maximum(np.abs(apart) - shrinkage, 0)
    genes = np.flatnonzero(np.abs(kept).sum(1))
    centres = mean[:, None] + kept * steps * scale[:, None]
    return Centroids(genes=genes, centres=centres[genes], scale=scale[genes])


def choose(table: Floats, labels: Labels, seed: int = 0) -> float:
    """The largest shrinkage of GRID with the fewest errors in folds of the training table alone."""
    errors = np.zeros(len(GRID))
    for rows, other in splits(labels, INNER, seed):
        for place, shrinkage in enumerate(GRID):
            fitted = fit(table[rows], labels[rows], shrinkage)
            errors[place] += (fitted.scores(table[other]).argmax(1) != labels[other]).sum()
    return float(max(s for s, e in zip(GRID, errors, strict=True) if e == errors.min()))


def temperature(scores: Floats, labels: Labels) -> float:
    """The T of softmax(scores / T) by Platt's smoothed targets (1999).

    With every sample right the likeliest T is 0 and every probability 1, which 63 samples cannot
    show: a sample counts (n + 1)/(n + 2) for its class and the rest for the others, n the samples.
    """
    count, classes = scores.shape
    targets = np.full(scores.shape, 1 / (count + 2) / (classes - 1))
    targets[np.arange(count), labels] = (count + 1) / (count + 2)

    def cost(log_temperature: float) -> float:
        return float(-(targets * log_softmax(scores / np.exp(log_temperature), axis=1)).sum(1).mean())

    found = minimize_scalar(cost, bounds=(np.log(0.01), np.log(1e4)), method="bounded")
    return float(np.exp(found.x))


def probabilities(scores: Floats, degree: float) -> Floats:
    """(n, 4) calibrated probabilities."""
    return np.asarray(softmax(scores / degree, axis=1))


def save(model: Centroids, folder: Path, **further: Floats | Sequence[float]) -> None:
    """Writes centroids.safetensors: the centroids and further arrays (temperature, ranges)."""
    from safetensors.numpy import save_file

    tensors = {"genes": model.genes, "centres": model.centres, "scale": model.scale}
    tensors |= {name: np.asarray(value, np.float64).reshape(-1) for name, value in further.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / FILE)


def load(folder: Path) -> tuple[Centroids, dict[str, Floats]]:
    """(the centroids in a folder, the further arrays)."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / FILE)
    own = {name: tensors.pop(name) for name in ("genes", "centres", "scale")}
    return Centroids(**own), tensors
