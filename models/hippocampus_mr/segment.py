"""Volumes through the network, each as it is and mirrored; the surer of the two is the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backends import pinned
from models.hippocampus_mr.data import standardise
from models.hippocampus_mr.frame import Upright
from models.hippocampus_mr.network import answered, padded
from models.payloads import Volume

TOGETHER = 4  #: volumes in one forward pass at most, each both ways, so that memory stays flat

Array = NDArray[np.float32]
Compute = Callable[[Tensor], Tensor]


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


def both_ways(compute: Compute, images: Sequence[Array], device: str) -> list[tuple[Array, Array]]:
    """Class shares (3, ...) of each image in the training frame at 1 mm: as it is, and by its mirror image.

    Those of one padded shape go through the network together. The training volumes are of one side only,
    and a network that never met the other does worse there (card): one of the two ways always shows it the
    side that it knows.
    """
    pairs = []
    for image in images:
        seen = torch.from_numpy(standardise(image))
        pairs.append(padded(torch.stack([seen, seen.flip(0)])[:, None]))
    alike: dict[torch.Size, list[int]] = {}
    for place, (wide, _) in enumerate(pairs):
        alike.setdefault(wide.shape, []).append(place)
    answers: dict[int, tuple[Array, Array]] = {}
    for places in alike.values():
        for start in range(0, len(places), TOGETHER):
            part = places[start : start + TOGETHER]
            with torch.inference_mode():
                batch = pinned(torch.cat([pairs[place][0] for place in part]), device)
                found = answered(compute, batch).cpu()
            for place, plain, turned in zip(part, found[::2], found[1::2], strict=True):
                inner = (slice(None), *pairs[place][1])
                answers[place] = plain[inner].numpy(), turned[inner].flip(1).numpy()
    if not all(np.isfinite(a).all() for both in answers.values() for a in both):
        raise FloatingPointError("the network returned a number that is not finite")
    return [answers[place] for place in range(len(images))]


def outlines(compute: Compute, volumes: Sequence[Volume], device: str) -> list[Outline]:
    """The surer way's answer to each, in order. Raises FloatingPointError when an answer is not finite."""
    frames = [Upright.of(volume) for volume in volumes]
    images = [frame.image(volume.voxels) for frame, volume in zip(frames, volumes, strict=True)]
    told = both_ways(compute, images, device)
    return [_surer(frame, both) for frame, both in zip(frames, told, strict=True)]


def outline(compute: Compute, volume: Volume, device: str) -> Outline:
    """The same of one volume."""
    return outlines(compute, [volume], device)[0]


def _surer(upright: Upright, answers: tuple[Array, Array]) -> Outline:
    plain, turned = (expected_dice(a) for a in answers)
    found = upright.shares(answers[int(turned > plain)])
    return Outline(
        mask=upright.own(found.argmax(0).astype(np.uint8)),
        doubt=upright.own(1 - found.max(0)),
        mirrored=turned > plain,
        sureness=max(plain, turned),
        other=min(plain, turned),
    )
