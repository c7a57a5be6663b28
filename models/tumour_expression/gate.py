"""Whether a sample looks like those the centroids learnt from: its genes, its scale, its likeness."""

from __future__ import annotations

import numpy as np

from models.payloads import Expression
from models.tumour_expression.centroids import Centroids
from models.tumour_expression.data import GENES, Floats

SPREAD = (0.5, 1.7)  #: standard deviation over the genes; that of the 63 lies in .69 to 1.30
LEVEL = (-1.1, -0.1)  #: mean over the genes; that of the 63 lies in -.83 to -.35
FURTHEST = 2.0  #: times the largest out-of-fold distance to the nearest centre
LEAST_LIKE = 0.45  #: correlation with the mean of the training samples; the least of the 63 has .59


def values(sample: Expression) -> Floats | None:
    """(2,308) in the order of GENES, whatever the sample's order; None when a gene has no column."""
    place = {name.strip().upper(): index for index, name in enumerate(sample.genes)}
    if len(place) != len(sample.genes) or not set(GENES) <= set(place):
        return None
    return np.asarray(sample.values, np.float64)[[place[name] for name in GENES]]


def refusal(row: Floats, mean: Floats, model: Centroids, furthest: float) -> tuple[str, str] | None:
    """(code, sentence) of why a sample is not answered; None when it is like those of training.

    mean: (2,308) of the training samples. furthest: the largest out-of-fold distance.
    """
    missing = int((~np.isfinite(row)).sum())
    if missing:
        return "values-missing", f"{missing} of {len(GENES)} expressions are missing"
    level, spread = float(row.mean()), float(row.std())
    if not (LEVEL[0] <= level <= LEVEL[1] and SPREAD[0] <= spread <= SPREAD[1]):
        return "out-of-range", (
            f"mean {level:.2f} and spread {spread:.2f} over the genes; logarithms of intensity ratios "
            f"have {LEVEL[0]} to {LEVEL[1]} and {SPREAD[0]} to {SPREAD[1]}"
        )
    likeness = float(np.corrcoef(row, mean)[0, 1])
    apart = float(model.distance(row[None])[0])
    if likeness < LEAST_LIKE or apart > FURTHEST * furthest:
        return "unlike-training", (
            f"correlation {likeness:.2f} with the training mean, distance {apart:.2f} from a centre; "
            f"at least {LEAST_LIKE} and at most {FURTHEST * furthest:.2f} are asked"
        )
    return None
