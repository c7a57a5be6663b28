"""One upright volume through the network, both as it is and mirrored; the surer of the two is the answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.hippocampus_mr.data import standardise
from models.hippocampus_mr.network import shares

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """What the network says of one volume, in the training frame."""

    shares: Array  #: (3, ...): background, anterior, posterior; they add up to 1
    mirrored: bool  #: the mirror image was the surer: the crop is of the side that was not trained on
    sureness: float  #: the Dice that the shares themselves expect, of the answer given
    other: float  #: the same of the answer not given


def expected_dice(found: Array) -> float:
    """The Dice of the argmax with a truth drawn from the shares, mean of both parts; 0 for a missing part.

    With p the shares, M the mask: 2 sum_M p / (|M| + sum p), which is the ratio of the expectations.
    """
    best = found.argmax(0)
    values = []
    for part in (1, 2):
        mask = best == part
        values.append(2 * float(found[part][mask].sum()) / (mask.sum() + float(found[part].sum()) + 1e-9))
        if not mask.any():
            values[-1] = 0.0
    return float(np.mean(values))


def segment(network: nn.Module, image: Array, device: str) -> Segmented:
    """Both ways through the network. image: (left to right, back to front, foot to head) at 1 mm, as read.

    The training volumes are of one side only, and a network that never met the other does worse there
    (card): one of the two ways always shows it the side that it knows.
    """
    seen = torch.from_numpy(standardise(image)).to(device)
    with torch.inference_mode():
        both = shares(network, torch.stack([seen, seen.flip(0)])[:, None])
        both[1] = both[1].flip(1)
    answers = both.cpu().numpy()
    if not np.isfinite(answers).all():
        raise FloatingPointError("the network returned a number that is not finite")
    plain, turned = (expected_dice(a) for a in answers)
    mirrored = turned > plain
    return Segmented(
        shares=answers[int(mirrored)],
        mirrored=mirrored,
        sureness=max(plain, turned),
        other=min(plain, turned),
    )
