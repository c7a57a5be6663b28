"""What every unpacked estimator offers, and the arithmetic that turns raw scores into probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Facts = Mapping[str, Any]  #: what the arrays cannot say: the kind, the link, the classes


class Predictor:
    """An estimator that scikit-learn fitted, answering as it would to 1e-6.

    classes: (classes,) the labels in the order of the probabilities' columns; None of a regressor.
    """

    missing = False  #: whether NaN means "not known" rather than a mistake

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.features: int = facts["features"]  #: columns that x must have
        self.classes: NDArray[Any] | None = np.array(facts["classes"]) if facts.get("classes") else None

    def _table(self, x: ArrayLike) -> Floats:
        """x as (n, features) float64. Raises ValueError on another shape, on infinity and, mostly, on NaN."""
        table = np.asarray(x, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != self.features:
            raise ValueError(f"expected (n, {self.features}) values, got {table.shape}")
        if np.isinf(table).any() or (not self.missing and np.isnan(table).any()):
            raise ValueError("values must be finite" + (" or NaN where not known" if self.missing else ""))
        return table

    def raw(self, x: ArrayLike) -> Floats:
        """(n, outputs) scores before any link. Raises TypeError where the estimator has none."""
        raise TypeError(f"{self.facts['kind']} gives no scores")

    def transform(self, x: ArrayLike) -> Floats:
        """(n, columns) transformed values. Raises TypeError where the estimator transforms nothing."""
        raise TypeError(f"{self.facts['kind']} transforms nothing")

    def decision_function(self, x: ArrayLike) -> Floats:
        """(n,) of a binary classifier, else (n, classes). Raises TypeError where scikit-learn has none."""
        if self.classes is None or not self.facts.get("decides"):
            raise TypeError("this estimator has no decision function")
        raw = self.raw(x)
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def predict_proba(self, x: ArrayLike) -> Floats:
        """(n, classes) probabilities. Raises TypeError of a regressor or a classifier without them."""
        if self.classes is None or self.facts["link"] == "none":
            raise TypeError("this estimator gives no probabilities")
        return probabilities(self.raw(x), self.facts["link"])

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """(n,) labels of a classifier; (n,) or (n, outputs) values of a regressor."""
        raw = self.raw(x)
        if self.classes is None:
            values = np.exp(raw) if self.facts["link"] == "exp" else raw
            return values[:, 0] if self.facts.get("flat", True) else values
        if raw.shape[1] > 1:
            return np.asarray(self.classes[raw.argmax(1)])
        ahead = raw[:, 0] >= 0 if self.facts.get("tie") else raw[:, 0] > 0
        return np.asarray(self.classes[ahead.astype(np.intp)])


def probabilities(raw: Floats, link: str) -> Floats:
    """(n, classes) from (n, outputs) raw scores.

    link: "logistic" and "logistic2" (of twice the score) of one column; "softmax"; "share": votes to
    be divided by their sum; "each": one logistic regression a class, normalised.
    """
    if link.startswith("logistic"):
        positive = expit(raw[:, 0] * (2 if link == "logistic2" else 1))
        return np.stack([1 - positive, positive], axis=1)
    if link == "softmax":
        return np.asarray(softmax(raw, axis=1))
    parts = expit(raw) if link == "each" else raw
    return np.asarray(parts / parts.sum(1, keepdims=True))
