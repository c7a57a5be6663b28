"""How good a prognosis is: Harrell's C and the Brier score under censoring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.survival.hazards import Events, Floats

CHUNK = 128  #: events compared with everyone at once


def c_index(t: Floats, e: Events, score: Floats) -> float:
    """Harrell's C (1982): of the pairs whose order is known, the part that the score puts in order.

    A pair counts when the earlier time is an event; of two equal times, when one alone is an event.
    Equal scores count half. Raises ValueError when no pair counts.
    """
    right = pairs = 0.0
    events = np.flatnonzero(e)
    for start in range(0, len(events), CHUNK):
        i = events[start : start + CHUNK, None]
        later = (t > t[i]) | ((t == t[i]) & (e == 0))  # (events, n)
        pairs += np.count_nonzero(later)
        right += np.count_nonzero(later & (score < score[i]))
        right += 0.5 * np.count_nonzero(later & (score == score[i]))
    if not pairs:
        raise ValueError("no pair of times has a known order")
    return right / pairs


def censoring(t: Floats, e: Events, at: Floats) -> Floats:
    """Kaplan-Meier of not being censored, just before the times `at`."""
    ends = np.unique(t)
    risk = np.array([np.count_nonzero(t >= u) for u in ends])
    lost = np.array([np.count_nonzero((t == u) & (e == 0)) for u in ends])
    kept = np.concatenate([[1.0], np.cumprod(1 - lost / risk)])
    return np.asarray(kept[np.searchsorted(ends, at, side="left")])


def integrated_brier(t: Floats, e: Events, times: Floats, survival: Floats) -> float:
    """The Brier score weighed by inverse censoring (Graf 1999), averaged over the times.

    survival: (n, times). Times at which hardly anyone (under 5 %) is still watched are left out.
    """
    own = np.maximum(censoring(t, e, t), 1e-6)
    then = censoring(t, e, times)
    scores = []
    for place, when in enumerate(times):
        if when <= 0 or then[place] < 0.05 or not (t > when).any():
            continue
        gone, here = (t <= when) & (e == 1), t > when
        cost = survival[:, place] ** 2 * gone / own + (1 - survival[:, place]) ** 2 * here / then[place]
        scores.append(cost.mean())
    if not scores:
        raise ValueError("no time is watched")
    return float(np.mean(scores))


def person_groups(person: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Labels for a bootstrap of persons; None where each row is one."""
    return person if len(np.unique(person)) < len(person) else None
