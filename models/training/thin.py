"""Curves with fewer points than a page can show."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

POINTS = 200  #: of a curve, at most: the page stays small


def thin(*arrays: ArrayLike) -> list[list[float]]:
    """The arrays at no more than POINTS common places, the ends among them."""
    tables = [np.asarray(a, dtype=np.float64) for a in arrays]
    places = np.unique(np.linspace(0, len(tables[0]) - 1, POINTS).round().astype(int))
    return [np.round(t[places], 4).tolist() for t in tables]
