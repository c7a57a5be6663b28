"""Invented films for the example folder: drawn from the principal components of many, so no child's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy import ndimage

from models.chest_xray import films as source
from models.chest_xray.prepare import stretch
from models.payloads import Image

ROWS, COLUMNS = 304, 368
MARGIN = 22  #: cut off all round at the end
COMPONENTS = 60
SPREAD = 0.85  #: of each component's standard deviation, so that draws stay near the middle


def varied(films: list[Image], count: int, seed: int = 0) -> list[Image]:
    """Films mixed from the given ones, turned by up to 4 degrees, shifted, brightened, grained."""
    rng = np.random.default_rng(seed)
    sides = films[0].pixels.shape
    whole = [np.asarray(PIL.Image.fromarray(f.pixels).resize(sides[::-1]), np.float32) for f in films]
    made = []
    for _ in range(count):
        shares = rng.dirichlet(np.full(len(whole), 0.7))
        mixed = np.tensordot(shares, np.stack(whole), 1)
        turned = ndimage.rotate(mixed, rng.uniform(-4, 4), reshape=False, order=1, mode="nearest")
        moved = ndimage.shift(turned, rng.uniform(-6, 6, 2), order=1, mode="nearest")
        grained = moved.clip(0, 1) ** rng.uniform(0.8, 1.25) + rng.normal(0, rng.uniform(0, 0.02), sides)
        made.append(replace(films[0], pixels=grained.clip(0, 1).astype(np.float32)))
    return made


def _unmarked(film: NDArray[np.float32]) -> NDArray[np.float32]:
    """The film with side markers and labels taken out of its margins, where they are put."""
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    share = np.clip((np.maximum(np.abs(x), 0.94 * np.abs(y)) - 0.8) / 0.06, 0, 1)
    plain = ndimage.gaussian_filter(ndimage.grey_opening(film, size=(25, 25)), 4)
    found: NDArray[np.float32] = ((1 - share) * film + share * plain).astype(np.float32)
    return found


def _load(data: Path, label: int) -> NDArray[np.float32]:
    """The class's films, stretched, at one size: (n, ROWS * COLUMNS)."""
    rows = []
    for film in source.films(data):
        if film.label == label:
            image = PIL.Image.fromarray(stretch(source.pixels(film.path)))
            small = image.resize((COLUMNS, ROWS), PIL.Image.Resampling.BILINEAR)
            rows.append(_unmarked(np.asarray(small, dtype=np.float32)).ravel())
    return np.stack(rows)


def invent(data: Path, label: int, count: int, seed: int) -> list[NDArray[np.uint8]]:
    """`count` films of a class (index in films.CLASSES), 8-bit grey.

    The mean of the class's training films plus Gaussian draws along their first components, then
    mild sharpening and grain, since a sum of components is softer than a film.
    """
    rng = np.random.default_rng(seed)
    table = _load(data, label)
    mean = table.mean(0)
    _, singular, right = np.linalg.svd(table - mean, full_matrices=False)
    spread = SPREAD * singular[:COMPONENTS] / np.sqrt(len(table) - 1)
    made = []
    for _ in range(count):
        drawn = mean + (rng.standard_normal(COMPONENTS) * spread) @ right[:COMPONENTS]
        film = drawn.reshape(ROWS, COLUMNS)
        film = film + 0.9 * (film - ndimage.gaussian_filter(film, 2.5))
        film = film + 0.006 * ndimage.gaussian_filter(rng.standard_normal(film.shape), 0.6)
        film = film[MARGIN:-MARGIN, MARGIN:-MARGIN]
        made.append(np.round(stretch(film.astype(np.float32), 0.3, 99.7) * 255).astype(np.uint8))
    return made
