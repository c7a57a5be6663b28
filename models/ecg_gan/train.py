"""Trains the pair on beats of annotated records and measures what it invents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from models.ecg_gan import CLASSES
from models.ecg_gan.beats import FAMILY
from models.synthesis import family, wgan

PLAN = wgan.Plan(classes=len(CLASSES), start=(1, 8), widths=(64, 48, 32, 24, 16), tall=False, steps=8000)


def alter(samples: Tensor, chance: Tensor) -> Tensor:
    """Beats a little larger or smaller, real and invented alike (Zhao 2020): few records, many gains."""
    return samples * (0.85 + 0.3 * chance[:, :1, None, None])


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes generator.safetensors, plan.json, figures.json and a card under out.

    data: folder of annotated WFDB records; two thirds of them, less a tenth of their beats, are learnt from.
    About 10 minutes on one core without a limit.
    """
    family.train(FAMILY, PLAN, alter, data, out, seed=seed, minutes=minutes, progress=progress)
