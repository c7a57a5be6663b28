"""Trains the pair on the train part of PneumoniaMNIST and measures what it invents on the val part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from models.chest_xray_gan import CLASSES
from models.chest_xray_gan.films import FAMILY
from models.synthesis import family, wgan

PLAN = wgan.Plan(classes=len(CLASSES), start=(7, 7), widths=(64, 40, 16), tall=True, steps=4000, batch=24)


def alter(samples: Tensor, chance: Tensor) -> Tensor:
    """Films a little lighter or darker and shifted by up to two pixels, real and invented alike."""
    lit = samples * (0.9 + 0.2 * chance[:, :1, None, None]) + 0.2 * (chance[:, 1:2, None, None] - 0.5)
    down, across = (int(5 * float(c)) for c in chance[0, 2:4])
    padded = F.pad(lit, (2, 2, 2, 2), mode="replicate")
    return padded[:, :, down : down + samples.shape[2], across : across + samples.shape[3]]


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes generator.safetensors, plan.json, figures.json and a card under out.

    data: PneumoniaMNIST npz; its train part alone is learnt from. About 15 minutes on one core without
    a limit.
    """
    family.train(FAMILY, PLAN, alter, data, out, seed=seed, minutes=minutes, progress=progress)
