"""The example volume, no person's: the mean of aligned training volumes plus draws along their main axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.hippocampus_mr.data import Labelled, read, standardise

WINDOW = (36, 52, 36)  #: voxels about the hippocampus' middle
AXES = 60  #: principal components drawn along
SPREAD = 0.8  #: of the draws, in deviations of the training volumes
GRAIN = 0.15  #: deviation of the added noise, of a standardised volume


def aligned(volume: Labelled) -> NDArray[np.float32]:
    """The standardised volume about its hippocampus' middle, its edges repeated where it ends."""
    middle = np.round(np.argwhere(volume.label > 0).mean(0)).astype(int)
    places = [
        np.clip(np.arange(m - n // 2, m - n // 2 + n), 0, size - 1)
        for m, n, size in zip(middle, WINDOW, volume.image.shape, strict=True)
    ]
    window: NDArray[np.float32] = standardise(volume.image)[np.ix_(*places)]
    return window


def invent(data: Path, out: Path, seed: int) -> None:
    """Writes an invented volume as example/volume.safetensors holds it: 12 bits, axes as in DICOM."""
    stack = np.stack([aligned(v).ravel() for v in read(data)])
    mean = stack.mean(0)
    _, scale, axes = np.linalg.svd(stack - mean, full_matrices=False)
    rng = np.random.default_rng(seed)
    draws = rng.normal(0, SPREAD, AXES) * scale[:AXES] / np.sqrt(len(stack))
    made = (mean + draws @ axes[:AXES]).reshape(WINDOW) + rng.normal(0, GRAIN, WINDOW)
    grey = np.clip((made - made.min()) / np.ptp(made) * 4095, 0, 4095).round().astype(np.int16)
    # from (to the right, to the front, to the head) to (slice, row, column): rows to the back, columns left
    save_file({"voxels": np.ascontiguousarray(grey[::-1, ::-1].transpose(2, 1, 0))}, out)
