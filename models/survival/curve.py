"""From a score to a survival curve with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.survival.hazards import Floats, cumulative, ridge
from models.survival.study import Cohort

DRAWS = 100
GRID = 60
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a score is read.

    times: (GRID,); baseline: (GRID,) cumulative hazard; draws: of resampled patients.
    """

    times: Floats
    slope: float
    baseline: Floats
    draw_slopes: Floats  #: (DRAWS,)
    draw_baselines: Floats  #: (DRAWS, GRID)
    draw_shifts: Floats  #: (DRAWS,) of the score: what other training rows would have made of it

    def survival(self, score: Floats) -> Floats:
        """(n, GRID) the probability to be without the event at each time, for (n,) scores."""
        return np.asarray(np.exp(-self.baseline[None] * np.exp(self.slope * score)[:, None]))

    def band(self, score: float) -> tuple[Floats, Floats]:
        """(low, high), each (GRID,): 95 % of the curves of resampled patients."""
        hazard = np.exp(self.draw_slopes * (score + self.draw_shifts))
        drawn = np.exp(-self.draw_baselines * hazard[:, None])
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        return np.asarray(low), np.asarray(high)

    def arrays(self) -> Arrays:
        """As they are stored."""
        return {
            "curve.times": self.times,
            "curve.slope": np.array([self.slope]),
            "curve.baseline": self.baseline,
            "curve.draw_slopes": self.draw_slopes.astype(np.float32),
            "curve.draw_baselines": self.draw_baselines.astype(np.float32),
            "curve.draw_shifts": self.draw_shifts.astype(np.float32),
        }


def restored(arrays: Mapping[str, NDArray[Any]]) -> Calibration:
    """The calibration that arrays hold."""
    kept = {
        n.removeprefix("curve."): np.asarray(a, dtype=np.float64)
        for n, a in arrays.items()
        if n.startswith("curve.")
    }
    return Calibration(slope=float(kept.pop("slope")[0]), **kept)


def fit(
    score: Floats, rows: Cohort, end: float, spread: float = 0.0, draws: int = DRAWS, seed: int = 0
) -> Calibration:
    """The calibration of out-of-fold scores, up to the time `end`.

    spread: standard deviation of a score over other training rows. Persons count once and are
    resampled whole.
    """
    first = np.unique(rows.person, return_index=True)[1]
    score, t, e = score[first], rows.t[first], rows.e[first]
    times = np.linspace(0, end, GRID)
    rng = np.random.default_rng(seed)
    slope, baseline = _read(score, t, e, times)
    drawn = [_read(score[pick], t[pick], e[pick], times) for pick in rng.integers(0, len(t), (draws, len(t)))]
    return Calibration(
        times=times,
        slope=slope,
        baseline=baseline,
        draw_slopes=np.array([d[0] for d in drawn]),
        draw_baselines=np.array([d[1] for d in drawn]).reshape(draws, GRID),
        draw_shifts=rng.normal(0, spread, draws) if spread else np.zeros(draws),
    )


def _read(score: Floats, t: Floats, e: NDArray[np.int64], times: Floats) -> tuple[float, Floats]:
    slope = float(ridge(score[:, None], t, e, 0.0)[0])
    return slope, cumulative(t, e, slope * score, times)


def median(times: Floats, survival: Floats) -> float | None:
    """The first time at which at most half are without the event; None when the curve stays above."""
    below = np.flatnonzero(survival <= 0.5)
    return float(times[below[0]]) if len(below) else None


def at(times: Floats, survival: Floats, when: float) -> float:
    """The curve's height at a time between its points, which it joins by straight lines."""
    return float(np.interp(when, times, survival))
