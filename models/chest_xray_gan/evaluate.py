"""How like real films the invented ones are, whether they are copies, and what they teach a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.chest_xray_gan import CLASSES, HERE
from models.chest_xray_gan.films import real
from models.synthesis import wgan
from models.synthesis.measures import measure


def evaluate(data: Path, *, folds: int | None = None, device: str = "cpu") -> dict[str, Any]:
    """`frechet_distance`, `nearest_neighbour_ratio`, `train_on_synthetic_auc`, what they compare with, and n.

    data: PneumoniaMNIST npz: train against val or test, or the halves of a lone part. folds is not used: a
    generator is not retrained to be measured. It runs on the CPU.
    """
    generator, _ = wgan.load(HERE)
    return measure(
        real(data),
        lambda labels, seed: wgan.invent(generator, labels, seed),
        classes=len(CLASSES),
        tall=True,
        rare=CLASSES.index("normal"),
    )
