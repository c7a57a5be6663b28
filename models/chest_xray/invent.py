"""Invented films for the example folder: drawn from the principal components of many, so no child's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy import ndimage

from models.chest_xray import films as source
from models.chest_xray.prepare import stretch

ROWS, COLUMNS = 304, 368
MARGIN = 22  #: cut off all round at the end
COMPONENTS = 60
SPREAD = 0.85  #: of each component's standard deviation, so that draws stay near the middle


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
