"""The real thumbnails that the generator learns from and is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.errors import Rejected
from models.chest_xray_gan import CLASSES, HERE
from models.synthesis.family import Family
from models.synthesis.measures import Real
from models.synthesis.wgan import Floats, Labels

SIDE = 28


def part(data: Path, name: str) -> tuple[Floats, Labels]:
    """(n, 28, 28) within -1..1 and (n,) classes of one part of the npz; empty where it lacks.

    Raises Rejected where the file is no PneumoniaMNIST npz.
    """
    try:
        with np.load(data, allow_pickle=False) as held:
            if f"{name}_images" not in held:
                return np.zeros((0, SIDE, SIDE), np.float32), np.zeros(0, np.int64)
            images, labels = held[f"{name}_images"], held[f"{name}_labels"].reshape(-1)
    except (OSError, ValueError, KeyError) as error:
        raise Rejected("unknown-layout", f"expected a PneumoniaMNIST npz: {type(error).__name__}") from None
    if images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels):
        raise Rejected("unknown-layout", f"expected (n, {SIDE}, {SIDE}) images, got {images.shape}")
    return (images.astype(np.float32) / 127.5 - 1), labels.astype(np.int64)


def real(data: Path) -> Real:
    """The films in their roles: train is learnt from, val (or test) measures; a lone part is halved."""
    parts = {name: part(data, name) for name in ("train", "val", "test")}
    there = [name for name, (images, _) in parts.items() if len(images)]
    if not there:
        raise Rejected("unknown-layout", "expected train, val or test images in the npz")
    if len(there) == 1:
        images, labels = parts[there[0]]
        half: NDArray[np.bool_] = np.arange(len(labels)) % 2 == 0
        first, second = (images[half], labels[half]), (images[~half], labels[~half])
    else:
        first, second = parts[there[0]], parts[there[-1]]
    return Real(
        learn=first[0],
        learn_labels=first[1],
        held=second[0],
        held_labels=second[1],
        test=second[0],
        test_labels=second[1],
    )


FAMILY = Family(
    here=HERE,
    classes=CLASSES,
    tall=True,
    rare="normal",  # in this set three of four children have pneumonia
    real=real,
    kept="the films kept away",
)
