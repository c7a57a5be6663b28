"""Where the rhythm is irregular without return, as in atrial fibrillation, where no beat is early."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ecg_beat.signals import Floats
from models.ecg_beat.windows import NAMES

REACH = 25  #: beats on each side over which the rhythm is judged
RETURNING = 0.20  #: share of alike pairs of intervals under which none returns
ATRIAL = 0.5  #: likeness of the P waves to the recording's median under which there are none in common
_RECURRENCE, _ATRIAL = NAMES.index("recurrence"), NAMES.index("p about 1")


def running_median(values: Floats, reach: int) -> Floats:
    """The median over `reach` neighbours on each side and the value itself, mirrored at the ends."""
    if len(values) <= reach:
        return np.full_like(values, np.median(values) if len(values) else 0)
    about = np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, mode="reflect"), 2 * reach + 1)
    return np.median(about, axis=1).astype(np.float32)


def fibrillating(numbers: Floats) -> NDArray[np.bool_]:
    """(beats,) whether the rhythm about each beat is as in atrial fibrillation. numbers: `Beats.numbers`.

    Both are asked: intervals that do not return, and no common P wave. Frequent atrial beats and bigeminy
    have the first alone in a milder form.
    """
    returning = running_median(numbers[:, _RECURRENCE], REACH)
    atrial = running_median(numbers[:, _ATRIAL], REACH)
    return np.asarray((returning < RETURNING) & (atrial < ATRIAL))
