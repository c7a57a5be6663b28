"""How well a mask agrees with the truth: Dice, distance of the surfaces, error of the volume."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = (1, 2)  #: anterior, posterior

Mask = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One volume's figures: anterior, posterior."""

    dice: tuple[float, float]
    hd95_mm: tuple[float, float]
    volumes: tuple[float, float, float]  #: answered over true volume: anterior, posterior, whole


def dice(guess: Mask, truth: Mask, part: int) -> float:
    """Twice the shared voxels over the sum of both; 1 where neither has any."""
    a, b = guess == part, truth == part
    both = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / both if both else 1.0


def hd95_mm(guess: Mask, truth: Mask, part: int, spacing_mm: Sequence[float]) -> float:
    """The 95th percentile of the distances between the two surfaces, the worse way; mm.

    Where one of them is missing, the volume's diagonal: the worst there can be.
    """
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    a, b = guess == part, truth == part
    if not a.any() or not b.any():
        return 0.0 if a.any() == b.any() else float(np.linalg.norm(np.multiply(guess.shape, spacing_mm)))
    one, two = (torch.from_numpy(np.ascontiguousarray(m))[None, None] for m in (a, b))
    with warnings.catch_warnings():
        # MONAI 1.6 gives a function of its own an argument that it has deprecated
        warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges", FutureWarning)
        found = compute_hausdorff_distance(
            one, two, include_background=True, percentile=95, spacing=list(spacing_mm)
        )
    return float(found)


def agreement(guess: Mask, truth: Mask, spacing_mm: Sequence[float]) -> Agreement:
    """All figures of one volume."""
    one, two = ((dice(guess, truth, p), hd95_mm(guess, truth, p, spacing_mm)) for p in PARTS)
    anterior, posterior, whole = (
        float(np.isin(guess, labels).sum()) / max(int(np.isin(truth, labels).sum()), 1)
        for labels in ((1,), (2,), PARTS)
    )
    return Agreement(dice=(one[0], two[0]), hd95_mm=(one[1], two[1]), volumes=(anterior, posterior, whole))
