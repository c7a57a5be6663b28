"""From a film of any size and exposure to the square the networks were trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

#: A border row or column is black when its 90th percentile stays below this share of the film's range.
BLACK = 0.04


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A film ready for a network, and where on the film it came from."""

    pixels: Pixels  #: (side, side), 0..1, bright is dense
    rows: int  #: of the whole film, source pixels
    columns: int
    top: int  #: the part of the film that is shown, source pixel rows and columns
    bottom: int
    left: int
    right: int

    def source(self, row: float, column: float) -> tuple[int, int]:
        """The source pixel (row, column) of a place given as shares (0..1) of the square."""
        down = self.top + row * (self.bottom - self.top)
        across = self.left + column * (self.right - self.left)
        return min(int(down), self.bottom - 1), min(int(across), self.right - 1)


def _lit(profile: Pixels) -> tuple[int, int]:
    """First and one past the last place of a profile that is not black."""
    places = np.flatnonzero(profile > BLACK)
    if not len(places):
        return 0, len(profile)
    return int(places[0]), int(places[-1]) + 1


def _percentile(ordered: NDArray[Any], share: float, axis: int = 0) -> Any:
    """numpy.percentile (linear), to the last bit, of finite values that are sorted along the axis.

    numpy parts the values in place of sorting them, which takes five times as long on a film.
    """
    place = (ordered.shape[axis] - 1) * (share / 100)
    below = math.floor(place)
    weight = np.float64(place - below) if ordered.ndim == 1 else place - below
    low = ordered.take(below, axis=axis)
    high = ordered.take(min(below + 1, ordered.shape[axis] - 1), axis=axis)
    return high - (high - low) * (1 - weight) if weight >= 0.5 else low + (high - low) * weight


def inside(pixels: Pixels) -> tuple[int, int, int, int]:
    """The film without black borders (collimation, padding) as (top, bottom, left, right).

    A film of which less than half a side would remain is left whole: that is no border.
    """
    rows, columns = pixels.shape
    step = max(1, min(rows, columns) // 256)
    thin = pixels[::step, ::step]
    ordered = np.sort(thin, axis=None)
    low, high = _percentile(ordered, 0.5), _percentile(ordered, 99.5)
    scaled = (thin - low) / max(float(high - low), 1e-6)
    top, bottom = (step * edge for edge in _lit(_bright(scaled, 1)))
    left, right = (step * edge for edge in _lit(_bright(scaled, 0)))
    bottom, right = min(bottom, rows), min(right, columns)
    if bottom - top < rows / 2 or right - left < columns / 2:
        return 0, rows, 0, columns
    return top, bottom, left, right


def _bright(scaled: NDArray[Any], axis: int) -> Pixels:
    """The 90th percentile of each row (axis 1) or column (0)."""
    found: Pixels = _percentile(np.sort(scaled, axis=axis), 90, axis).astype(np.float32)
    return found


def stretch(pixels: Pixels, low: float = 0.5, high: float = 99.5) -> Pixels:
    """Grey values scaled so that the two percentiles become 0 and 1, and clipped there."""
    ordered = np.sort(pixels, axis=None)
    bottom, top = _percentile(ordered, low), _percentile(ordered, high)
    scaled = (pixels - bottom) / max(float(top - bottom), 1e-6)
    found: Pixels = np.clip(scaled, 0, 1).astype(np.float32)
    return found


def prepare(pixels: Pixels, side: int) -> Prepared:
    """The film without black borders, resampled to (side, side) and stretched to 0..1.

    Resampling weighs every source pixel (PIL's bilinear filter widens when shrinking), so that
    2,048 pixels and 512 give the same square. Rows and columns are scaled apart, as in training.
    """
    top, bottom, left, right = inside(pixels)
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    small = image.resize((side, side), PIL.Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    square = stretch(np.asarray(small, dtype=np.float32))
    rows, columns = pixels.shape
    return Prepared(pixels=square, rows=rows, columns=columns, top=top, bottom=bottom, left=left, right=right)
