"""One volume through the network, both as it is and mirrored; the surer of the two is the answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.hippocampus_mr.data import standardise
from models.hippocampus_mr.frame import Upright
from models.hippocampus_mr.network import shares
from models.payloads import Volume

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What the network says of one volume, on the volume's own grid."""

    mask: NDArray[np.uint8]  #: 0 background, 1 anterior, 2 posterior
    doubt: Array  #: 1 less the share of the class answered
    mirrored: bool  #: the mirror image was the surer: the crop is of the side that was not trained on
    sureness: float  #: the Dice that the network itself expects of the answer given
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


def both_ways(network: nn.Module, image: Array, device: str) -> tuple[Array, Array]:
    """Class shares (3, ...) of an image in the training frame at 1 mm: as it is, and by its mirror image.

    The training volumes are of one side only, and a network that never met the other does worse there
    (card): one of the two ways always shows it the side that it knows.
    """
    seen = torch.from_numpy(standardise(image)).to(device)
    with torch.inference_mode():
        plain, turned = shares(network, torch.stack([seen, seen.flip(0)])[:, None])
    answers = plain.cpu().numpy(), turned.flip(1).cpu().numpy()
    if not all(np.isfinite(a).all() for a in answers):
        raise FloatingPointError("the network returned a number that is not finite")
    return answers


def outline(network: nn.Module, volume: Volume, device: str) -> Outline:
    """The surer way's answer. Raises FloatingPointError when an answer is not finite."""
    upright = Upright.of(volume)
    answers = both_ways(network, upright.image(volume.voxels), device)
    plain, turned = (expected_dice(a) for a in answers)
    found = upright.shares(answers[int(turned > plain)])
    return Outline(
        mask=upright.own(found.argmax(0).astype(np.uint8)),
        doubt=upright.own(1 - found.max(0)),
        mirrored=turned > plain,
        sureness=max(plain, turned),
        other=min(plain, turned),
    )
