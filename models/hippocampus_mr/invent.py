"""The example volume, no person's: the mean of aligned training volumes plus draws along their main axes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy import ndimage

from models.hippocampus_mr.data import Labelled, read, standardise
from models.payloads import Volume

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


def varied(volume: Volume, count: int, seed: int = 0) -> list[Volume]:
    """The volume turned by up to 5 degrees, up to 4 slices, rows and columns cut off, its contrast bent and
    grained; every other one mirrored."""
    rng = np.random.default_rng(seed)
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    made = []
    for number in range(count):
        plane, angle = [(0, 1), (0, 2), (1, 2)][rng.integers(3)], rng.uniform(-5, 5)
        turned = ndimage.rotate(volume.voxels, angle, plane, reshape=False, order=1, mode="nearest")
        first, last = rng.integers(0, 3, (2, 3))
        part = turned[tuple(slice(a, n - b) for a, b, n in zip(first, last, turned.shape, strict=True))]
        bent = ((part - low) / (high - low)).clip(0, 1) ** rng.uniform(0.8, 1.25)
        grained = bent + rng.normal(0, rng.uniform(0, 0.03), part.shape)
        side = slice(None, None, -1 if number % 2 else 1)
        affine = volume.affine @ np.block([[np.eye(3), first[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
        voxels = np.ascontiguousarray(grained[:, :, side] * 1000, np.float32)
        made.append(replace(volume, voxels=voxels, affine=affine))
    return made
