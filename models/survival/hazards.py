"""Cox's partial likelihood: ridge regression by Newton's method, Breslow's baseline, residuals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Events = NDArray[np.int64]


def ridge(z: Floats, t: Floats, e: Events, penalty: float, steps: int = 40) -> Floats:
    """(terms,) log hazard ratios of (n, terms) standardised terms; ties as Breslow has them."""
    order = np.argsort(-t, kind="stable")
    z, t, events = z[order], t[order], e[order].astype(np.float64)
    last = np.searchsorted(-t, -t, side="right") - 1  #: end of each row's risk set
    beta = np.zeros(z.shape[1])
    for _ in range(steps):
        weight = np.exp(np.clip(z @ beta, -30, 30))
        whole = np.cumsum(weight)[last]
        mean = np.cumsum(weight[:, None] * z, 0)[last] / whole[:, None]
        square = (
            np.cumsum(weight[:, None, None] * z[:, :, None] * z[:, None, :], 0)[last] / whole[:, None, None]
        )
        slope = (events[:, None] * (z - mean)).sum(0) - penalty * beta
        bend = (events[:, None, None] * (square - mean[:, :, None] * mean[:, None, :])).sum(0)
        step = np.linalg.solve(bend + (penalty + 1e-9) * np.eye(len(beta)), slope)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def cumulative(t: Floats, e: Events, log_hazard: Floats, at: Floats) -> Floats:
    """Breslow's cumulative baseline hazard at the times `at`, for patients with these log hazards."""
    order = np.argsort(-t, kind="stable")
    risk = np.cumsum(np.exp(log_hazard[order]))
    last = np.searchsorted(-t[order], -t[order], side="right") - 1
    jumps = (e[order] / risk[last])[::-1]
    ends = t[order][::-1]
    return np.concatenate([[0.0], np.cumsum(jumps)])[np.searchsorted(ends, at, side="right")]


def residuals(t: Floats, e: Events, log_hazard: Floats) -> tuple[Floats, Floats]:
    """(martingale residuals, hazard met until the own time): events seen less events expected."""
    met = cumulative(t, e, log_hazard, t) * np.exp(log_hazard)
    return e - met, met


def deviance(t: Floats, e: Events) -> Floats:
    """Deviance residuals of no model at all: what trees are grown on (Therneau 1990)."""
    left, met = residuals(t, e, np.zeros(len(t)))
    inside = left + np.where(e == 1, np.log(np.maximum(met, 1e-12)), 0.0)
    return np.asarray(np.sign(left) * np.sqrt(np.maximum(-2 * inside, 0)))
