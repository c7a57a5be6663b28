"""How like real beats the invented ones are, whether they are copies, and what they teach a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import registry
from models.ecg_gan.beats import FAMILY
from models.synthesis import family


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "ecg-gan"
) -> dict[str, Any]:
    """`frechet_distance`, `nearest_neighbour_ratio`, `train_on_synthetic_auc`, what they compare with, and n.

    data: folder of annotated WFDB records, split as for training (`beats.split`); in the training folder the
    same records were kept from the generator, in any other all were. The AUC is the mean over N, S and V.
    folds is not used: a generator is not retrained to be measured. It runs on the CPU.
    """
    return family.evaluate(FAMILY, data, registry.card(name).folder)


def curves(data: Path) -> dict[str, Any]:
    """The released generator beside real samples, for plots (see `models.training.curves`).

    data: as of `evaluate`.
    """
    return family.curves(FAMILY, data)
