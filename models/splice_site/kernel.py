"""The weighted degree kernel of DNA windows: shared runs of one to three bases at the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW = 60  #: bases of a window; the junction lies between the 30th and the 31st
DEGREE = 3  #: longest run counted
BETA = tuple(2 * (DEGREE - k + 1) / (DEGREE * (DEGREE + 1)) for k in range(1, DEGREE + 1))  #: Raetsch 2005
SHARPNESS = 3.0  #: of the exponential over the kernel, by cross-validation
FULL = sum(beta * (WINDOW - k) for k, beta in enumerate(BETA))  #: the kernel of a window with itself
BASES = "ACGT"
IUPAC = frozenset("ACGTRYSWKMBDHVN")  #: with the ambiguity codes
CHUNK = 64  #: windows compared at once, which bounds the memory

Codes = NDArray[np.int8]
Floats = NDArray[np.float64]
_CODE = {base: code for code, base in enumerate(BASES)}


def encode(windows: Sequence[str]) -> Codes:
    """(n, 60): 0..3 for A, C, G, T, and -1 for an ambiguity code, which equals nothing."""
    return np.array([[_CODE.get(base, -1) for base in window] for window in windows], np.int8).reshape(
        -1, WINDOW
    )


def equal(row: Codes, others: Codes) -> NDArray[np.bool_]:
    """(60, m) whether the window has the same certain base there as each of the others."""
    return np.asarray((row[:, None] == others.T) & (row >= 0)[:, None])


def shared(row: Codes, others: Codes) -> Floats:
    """(m,) weighted count of the runs that the window shares with each of the others, in place."""
    run = same = equal(row, others)
    total = BETA[0] * run.sum(0)
    for k in range(1, DEGREE):
        run = run[:-1] & same[k:]
        total = total + BETA[k] * run.sum(0)
    return np.asarray(total, np.float64)


def similarity(windows: Codes, others: Codes) -> Floats:
    """(n, m) exp(3 (shared / full - 1)): 1 between equal windows without ambiguity codes."""
    table = np.empty((len(windows), len(others)))
    for index, row in enumerate(windows):
        table[index] = np.exp(SHARPNESS * (shared(row, others) / FULL - 1))
    return table


def mutated(row: Codes, others: Codes) -> Floats:
    """(60, 4, m) the similarity after the base at each place is made A, C, G or T, all else kept."""
    same = np.pad(equal(row, others).astype(np.float64), ((2, 2), (0, 0)))
    now, left, right = same[2:-2], same[1:-3], same[3:-1]
    # what one more shared base adds: itself, and the runs of two and three that it would close
    adds = BETA[0] + BETA[1] * (left + right)
    adds += BETA[2] * (same[:-4] * left + left * right + right * same[4:])
    base = shared(row, others)
    after = (others.T[:, None, :] == np.arange(4, dtype=np.int8)[None, :, None]).astype(np.float64)
    return np.asarray(np.exp(SHARPNESS * ((base + (after - now[:, None]) * adds[:, None]) / FULL - 1)))
