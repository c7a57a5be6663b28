"""How like real beats the invented ones are, whether they are copies, and what they teach a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.ecg_gan import CLASSES, HERE
from models.ecg_gan.beats import real
from models.synthesis import wgan
from models.synthesis.measures import measure


def evaluate(data: Path, *, folds: int | None = None, device: str = "cpu") -> dict[str, Any]:
    """`frechet_distance`, `nearest_neighbour_ratio`, `train_on_synthetic_auc`, what they compare with, and n.

    data: folder of annotated WFDB records, split as for training (`beats.split`); in the training folder the
    same records were kept from the generator, in any other all were. The AUC is the mean over N, S and V.
    folds is not used: a generator is not retrained to be measured. It runs on the CPU.
    """
    generator, _ = wgan.load(HERE)
    return measure(
        real(data),
        lambda labels, seed: wgan.invent(generator, labels, seed),
        classes=len(CLASSES),
        tall=False,
        rare=CLASSES.index("S"),
    )
