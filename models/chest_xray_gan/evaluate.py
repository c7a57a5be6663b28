"""How like real films the invented ones are, whether they are copies, and what they teach a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import registry
from models.chest_xray_gan.films import FAMILY
from models.synthesis import family


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "chest-xray-gan"
) -> dict[str, Any]:
    """`frechet_distance`, `nearest_neighbour_ratio`, `train_on_synthetic_auc`, what they compare with, and n.

    data: PneumoniaMNIST npz: train against val or test, or the halves of a lone part. folds is not used: a
    generator is not retrained to be measured. It runs on the CPU.
    """
    return family.evaluate(FAMILY, data, registry.card(name).folder)


def curves(data: Path) -> dict[str, Any]:
    """The released generator beside real samples, for plots (see `models.training.curves`).

    data: as of `evaluate`.
    """
    return family.curves(FAMILY, data)
