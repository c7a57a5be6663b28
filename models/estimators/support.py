"""Support vector machines: kernels, one-against-one votes and pairwise coupling, as libsvm computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from models.estimators.predictor import Arrays, Facts, Floats, Predictor

LEAST = 1e-7  #: libsvm keeps pairwise probabilities this far from 0 and 1


def kernel(x: Floats, vectors: Floats, facts: Facts) -> Floats:
    """(n, vectors) kernel values; rbf, linear, poly or sigmoid."""
    if facts["kernel"] == "rbf":
        square = (x**2).sum(1)[:, None] + (vectors**2).sum(1) - 2 * x @ vectors.T
        return np.asarray(np.exp(-facts["gamma"] * np.maximum(square, 0)))
    product = x @ vectors.T
    if facts["kernel"] == "linear":
        return np.asarray(product)
    inner = facts["gamma"] * product + facts["coef0"]
    return np.asarray(np.tanh(inner) if facts["kernel"] == "sigmoid" else inner ** facts["degree"])


def couple(pairs: Floats) -> Floats:
    """(n, k) probabilities from (n, k, k) pairwise ones, r[i, j] = P(i | i or j).

    The second method of Wu, Lin and Weng (JMLR 2004, algorithm 2), stopped where libsvm stops.
    """
    n, k, _ = pairs.shape
    swapped = np.swapaxes(pairs, 1, 2)
    q = -swapped * pairs
    q[:, range(k), range(k)] = (swapped**2 * (1 - np.eye(k))).sum(2)
    p = np.full((n, k), 1 / k)
    for _ in range(max(100, k)):
        qp = np.einsum("nij,nj->ni", q, p)
        pqp = (p * qp).sum(1)
        moving = np.abs(qp - pqp[:, None]).max(1) >= 0.005 / k
        if not moving.any():
            break
        p = np.where(moving[:, None], _sweep(q, p, qp, pqp), p)
    return p


def _sweep(q: Floats, p: Floats, qp: Floats, pqp: Floats) -> Floats:
    """One pass over the classes."""
    p, qp = p.copy(), qp.copy()
    for t in range(p.shape[1]):
        difference = (pqp - qp[:, t]) / q[:, t, t]
        p[:, t] += difference
        grown = 1 + difference
        pqp = (pqp + difference * (difference * q[:, t, t] + 2 * qp[:, t])) / grown**2
        qp = (qp + difference[:, None] * q[:, t]) / grown[:, None]
        p /= grown[:, None]
    return p


class Support(Predictor):
    """SVC and SVR.

    arrays: `vectors` (vectors, features), `dual` (classes - 1, vectors), `intercept` (pairs,), and `a` and
    `b` (pairs,) of Platt's sigmoid where it was fitted.
    """

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.vectors = arrays["vectors"].astype(np.float64)
        self.intercept = arrays["intercept"].astype(np.float64)
        self.platt = (arrays["a"], arrays["b"]) if "a" in arrays else None
        self.weights = self._weights(arrays["dual"].astype(np.float64))

    def _weights(self, dual: Floats) -> Floats:
        """(vectors, pairs): what each vector adds to each pair of classes i < j, in libsvm's order."""
        if self.classes is None:
            return dual.T
        begins = np.concatenate([[0], np.cumsum(self.facts["support"])])
        rows, k = [], len(self.classes)
        for i in range(k):
            for j in range(i + 1, k):
                row = np.zeros(dual.shape[1])
                first, second = slice(begins[i], begins[i + 1]), slice(begins[j], begins[j + 1])
                row[first], row[second] = dual[j - 1, first], dual[i, second]
                rows.append(row)
        return np.stack(rows, axis=1)

    def raw(self, x: ArrayLike) -> Floats:
        """(n, pairs) one-against-one decisions, above 0 for the first of the pair; (n, 1) of a regression."""
        return np.asarray(kernel(self._table(x), self.vectors, self.facts) @ self.weights + self.intercept)

    def _votes(self, decisions: Floats) -> tuple[Floats, Floats]:
        """(n, classes) votes and sums of confidence."""
        assert self.classes is not None  # noqa: S101 - only classifiers vote
        k, pair = len(self.classes), 0
        votes, sums = np.zeros((len(decisions), k)), np.zeros((len(decisions), k))
        for i in range(k):
            for j in range(i + 1, k):
                for_first = decisions[:, pair] > 0
                votes[:, i] += for_first
                votes[:, j] += ~for_first
                sums[:, i] += decisions[:, pair]
                sums[:, j] -= decisions[:, pair]
                pair += 1
        return votes, sums

    def decision_function(self, x: ArrayLike) -> Floats:
        """(n,) of two classes, above 0 for the second; else (n, classes), or (n, pairs) of shape "ovo"."""
        if self.classes is None:
            raise TypeError("a regressor has no decision function")
        raw = self.raw(x)
        if len(self.classes) == 2:
            return -raw[:, 0]
        if self.facts["shape"] == "ovo":
            return raw
        votes, sums = self._votes(raw)
        return np.asarray(votes + sums / (3 * (np.abs(sums) + 1)))

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """(n,) the class with most votes, the first of equals; or the values of a regression."""
        if self.classes is None:
            return np.asarray(self.raw(x)[:, 0])
        return np.asarray(self.classes[self._votes(self.raw(x))[0].argmax(1)])

    def predict_proba(self, x: ArrayLike) -> Floats:
        """(n, classes) by Platt's sigmoid and pairwise coupling. Raises TypeError where none was fitted."""
        if self.classes is None or self.platt is None:
            raise TypeError("this estimator gives no probabilities")
        a, b = self.platt
        first = np.clip(expit(-(self.raw(x) * a + b)), LEAST, 1 - LEAST)
        k, pair = len(self.classes), 0
        pairs = np.zeros((len(first), k, k))
        for i in range(k):
            for j in range(i + 1, k):
                pairs[:, i, j], pairs[:, j, i] = first[:, pair], 1 - first[:, pair]
                pair += 1
        return couple(pairs)
