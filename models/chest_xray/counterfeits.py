"""What is no upright frontal film, to train the gate: films turned, inverted or cut, and drawn pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray
from scipy import ndimage

from models.chest_xray.prepare import stretch

Square = NDArray[np.float32]
Rng = np.random.Generator
SIDE = 96  #: pictures are drawn at this size, the gate's network sees them smaller


def _soft(picture: NDArray[np.floating], sigma: float | tuple[float, float]) -> Square:
    """A picture blurred by a Gaussian of sigma places."""
    found: Square = ndimage.gaussian_filter(picture.astype(np.float32), sigma)
    return found


def _resize(square: Square, side: int) -> Square:
    image = PIL.Image.fromarray(np.ascontiguousarray(square, dtype=np.float32))
    return np.asarray(image.resize((side, side), PIL.Image.Resampling.BILINEAR), dtype=np.float32)


def turned(film: Square, rng: Rng) -> Square:
    """By a quarter, a half or three quarters."""
    return np.rot90(film, int(rng.integers(1, 4))).copy()


def tilted(film: Square, rng: Rng) -> Square:
    """By 40 to 140 degrees either way."""
    angle = float(rng.uniform(40, 140) * rng.choice([-1, 1]))
    found: Square = ndimage.rotate(film, angle, reshape=False, order=1, mode="constant")
    return found


def inverted(film: Square, rng: Rng) -> Square:
    """Bright for dark; sometimes turned or mirrored top to bottom as well."""
    film = 1 - film
    return np.flipud(film).copy() if rng.random() < 0.2 else film


def cut(film: Square, rng: Rng) -> Square:
    """A window of a quarter to a half of each side."""
    side = film.shape[0]
    rows, columns = (int(side * rng.uniform(0.25, 0.5)) for _ in range(2))
    top, left = int(rng.integers(0, side - rows)), int(rng.integers(0, side - columns))
    return film[top : top + rows, left : left + columns]


def shuffled(film: Square, rng: Rng) -> Square:
    """Its tiles in another order."""
    count = int(rng.integers(2, 5))
    tiles = [t for row in np.array_split(film, count) for t in np.array_split(row, count, axis=1)]
    tile = min(min(t.shape) for t in tiles)
    order = rng.permutation(len(tiles))
    rows = [np.hstack([tiles[i][:tile, :tile] for i in order[r::count]]) for r in range(count)]
    return np.vstack(rows)


def squeezed(film: Square, rng: Rng) -> Square:
    """Into a band of the picture, the rest black: two exposures on a plate, or a very long film."""
    side, width = film.shape[0], int(film.shape[0] * rng.uniform(0.25, 0.45))
    out, start = np.zeros_like(film), int(rng.integers(0, side - width))
    out[:, start : start + width] = ndimage.zoom(film, (1, width / side), order=1)[:, :width]
    return out.T.copy() if rng.random() < 0.5 else out


def cloud(rng: Rng) -> Square:
    """Noise of a random coarseness."""
    white = rng.standard_normal((SIDE, SIDE))
    return _soft(white, float(rng.choice([0, 0.7, 2, 5, 12]))).astype(np.float32)


def ramp(rng: Rng) -> Square:
    """A linear or radial run of grey, sometimes in steps."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    field = x * np.cos(angle) + y * np.sin(angle) if rng.random() < 0.6 else np.hypot(x - angle / 9, y)
    if rng.random() < 0.4:
        field = np.round(field * rng.integers(2, 8))
    noise = rng.standard_normal(field.shape) * rng.uniform(0, 0.1)
    found: Square = (field * rng.choice([-1, 1]) + noise).astype(np.float32)
    return found


def page(rng: Rng) -> Square:
    """Lines of letters, dark on light or light on dark."""
    image = PIL.Image.new("L", (256, 256), 0)
    draw, font = PIL.ImageDraw.Draw(image), PIL.ImageFont.load_default(int(rng.integers(9, 26)))
    letters, step = np.array(list("abcdefghijklmnopqrstuvwxyz     0123456789")), int(rng.integers(12, 34))
    for top in range(int(rng.integers(0, 40)), 250, step):
        line = "".join(rng.choice(letters, int(rng.integers(5, 50))))
        draw.text((int(rng.integers(2, 20)), top), line, fill=255, font=font)
    found: Square = np.asarray(image, dtype=np.float32) / np.float32(255)
    return np.float32(1) - found if rng.random() < 0.6 else found


def _ellipse(rng: Rng, size: tuple[float, float], off: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    a, b = rng.uniform(*size, 2)
    cy, cx, turn = rng.uniform(-off, off), rng.uniform(-off, off), rng.uniform(0, np.pi)
    u, v = (
        (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn),
        (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn),
    )
    return np.asarray((u / a) ** 2 + (v / b) ** 2 < 1)


def section(rng: Rng) -> Square:
    """Like a slice through a body or head: an outline with a rim and parts in it, on black."""
    body = _ellipse(rng, (0.45, 0.95), 0.15)
    out = body * rng.uniform(0.2, 0.7)
    rim = body & ~ndimage.binary_erosion(body, iterations=int(rng.integers(1, 7)))
    out[rim] = rng.uniform(0, 1)
    for _ in range(int(rng.integers(2, 14))):
        part = _ellipse(rng, (0.05, 0.4), 0.6) & body
        out[part] = rng.uniform(0, 1)
    texture = _soft(rng.standard_normal(out.shape), rng.uniform(0.5, 3))
    out = out + body * texture * rng.uniform(0, 0.3)
    return _soft(out, rng.uniform(0, 1.2)).astype(np.float32)


def fan(rng: Rng) -> Square:
    """Like an ultrasound sector: speckle in a fan on black."""
    y, x = np.mgrid[0 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    inside = (np.abs(np.arctan2(x, y + 0.05)) < rng.uniform(0.4, 0.9)) & (
        np.hypot(x, y) < rng.uniform(0.7, 1.1)
    )
    speckle = _soft(rng.gamma(1.0, 1.0, x.shape), (0.6, rng.uniform(0.6, 2)))
    shade = _soft(rng.random(x.shape), 8)
    found: Square = (inside * speckle * (shade - shade.min())).astype(np.float32)
    return found


def vessels(rng: Rng) -> Square:
    """Like an angiogram: winding dark lines on a grey field."""
    out = _soft(rng.standard_normal((SIDE, SIDE)), 14) * 4
    for _ in range(int(rng.integers(2, 8))):
        steps = np.cumsum(ndimage.gaussian_filter1d(rng.standard_normal((160, 2)), 9, axis=0) * 3, axis=0)
        path = np.clip(steps + rng.uniform(0, SIDE, 2), 0, SIDE - 1).astype(int)
        line = np.zeros_like(out)
        line[path[:, 0], path[:, 1]] = 1
        out -= ndimage.grey_dilation(line, size=int(rng.integers(1, 6))) * rng.uniform(0.3, 1)
    return _soft(out, 0.7).astype(np.float32)


def shapes(rng: Rng) -> Square:
    """A test pattern: a few flat ellipses and bars on a flat ground."""
    out = np.full((SIDE, SIDE), rng.uniform(0, 1))
    for _ in range(int(rng.integers(1, 8))):
        out[_ellipse(rng, (0.05, 0.8), 0.8)] = rng.uniform(0, 1)
    if rng.random() < 0.5:
        start = int(rng.integers(0, SIDE - 10))
        out[start : start + 10] = rng.uniform(0, 1)
    return out.astype(np.float32)


FROM_FILMS: tuple[Callable[[Square, Rng], Square], ...] = (
    turned, turned, tilted, inverted, inverted, cut, shuffled, squeezed,
)  # fmt: skip
DRAWN: tuple[Callable[[Rng], Square], ...] = (
    cloud, ramp, page, section, section, section, fan, vessels, shapes,
)  # fmt: skip


def counterfeits(films: NDArray[np.float32], drawn: int, side: int, rng: Rng) -> NDArray[np.float32]:
    """One picture of each film-made kind a film, and `drawn` of each drawn kind: (n, side, side), 0..1.

    films: prepared films (m, s, s) in 0..1.
    """
    made = [make(film, rng) for film in films for make in FROM_FILMS]
    made += [make(rng) for make in DRAWN for _ in range(drawn)]
    return np.stack([stretch(_resize(picture, side)) for picture in made])
