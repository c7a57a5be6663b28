"""Dice, surface distance and volume error with 95 % confidence intervals, on a folder of NIfTI volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import nn

from models import registry
from models.card import read as read_card
from models.evaluation import bootstrap
from models.hippocampus_mr.data import Labelled, read
from models.hippocampus_mr.measure import Agreement, agreement
from models.hippocampus_mr.network import unpack
from models.hippocampus_mr.segment import outline

HERE = Path(__file__).parent


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "hippocampus-mr"
) -> dict[str, Any]:
    """`dice_anterior`, `dice_posterior`, `hd95_mm`, `volume_error_percent`, `n`; means over volumes.

    data: a folder with `images/` and `labels/`. Every volume is scored, also those that service would
    refuse; `refused` is their share, `mirrored` that of volumes read as their mirror image. folds: the
    serving recipe is retrained in that many folds instead. Raises Rejected on another layout.
    """
    volumes = read(data)
    if folds is not None:
        return figures(_retrained(volumes, folds, device))
    card = registry.card(name)
    network = unpack(load_file(card.folder / "unet.safetensors"), device)
    limit = card.threshold("expected_dice")
    rows, refused, mirrored = [], 0, 0
    for volume in volumes:
        found = outline(network, volume.payload(), device)
        rows.append(agreement(found.mask, volume.label, volume.spacing_mm))
        refused += found.sureness < limit
        mirrored += found.mirrored
    shares = {"refused": refused / len(rows), "mirrored": mirrored / len(rows)}
    return figures(rows) | shares


def figures(rows: Sequence[Agreement]) -> dict[str, Any]:
    """The mean figures, volumes drawn anew for the intervals; distance and error are means of both parts."""

    def mean(values: Any) -> float:
        return float(np.mean(values))

    scores = np.array([r.dice for r in rows])
    apart = np.array([r.hd95_mm for r in rows])
    error = 100 * np.abs(np.array([r.volumes[:2] for r in rows]) - 1)
    return {
        "dice_anterior": bootstrap(mean, scores[:, 0]),
        "dice_posterior": bootstrap(mean, scores[:, 1]),
        "hd95_mm": bootstrap(mean, apart.mean(1)),
        "hd95_anterior_mm": bootstrap(mean, apart[:, 0]),
        "hd95_posterior_mm": bootstrap(mean, apart[:, 1]),
        "volume_error_percent": bootstrap(mean, error.mean(1)),
        "n": len(rows),
    }


def _retrained(volumes: list[Labelled], folds: int, device: str) -> list[Agreement]:
    from models.hippocampus_mr.train import RECIPE, fit

    fold = np.random.default_rng(0).permutation(len(volumes)) % folds
    rows = []
    for index in range(folds):
        network: nn.Module = fit(
            [v for v, f in zip(volumes, fold, strict=True) if f != index],
            RECIPE, seed=index, minutes=None, each=lambda step, network, loss: None,
        ).to(device)  # fmt: skip
        for volume in (v for v, f in zip(volumes, fold, strict=True) if f == index):
            found = outline(network, volume.payload(), device)
            rows.append(agreement(found.mask, volume.label, volume.spacing_mm))
    return rows


def curves(data: Path) -> dict[str, Any]:
    """Volumes of the whole hippocampus in mm³, as labelled and as outlined (see `models.training.curves`).

    Of the volumes that the recipe holds out of these data with seed 0, as it did when the served network was
    trained on the published set.
    """
    from models.hippocampus_mr.train import RECIPE, split, volume_mm3

    _, held = split(read(data), RECIPE.held, 0)
    network, card = unpack(load_file(HERE / "unet.safetensors"), "cpu"), read_card(HERE)
    found = [outline(network, volume.payload(), "cpu") for volume in held]
    rows = [agreement(f.mask, v.label, v.spacing_mm) for f, v in zip(found, held, strict=True)]
    sizes = np.array([volume_mm3(v) for v in held])
    return {
        "y": sizes,
        "value": sizes * np.array([row.volumes[2] for row in rows]),
        "unit": "mm³",
        "answered": [f.sureness >= card.threshold("expected_dice") for f in found],
        "unseen": True,
    }
