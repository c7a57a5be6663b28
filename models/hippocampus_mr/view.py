"""The slices of a volume side by side with both parts outlined, their numbers and a legend."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from db.records import Finding
from models.hippocampus_mr.data import CLIP
from models.hippocampus_mr.mask import read_mask
from models.payloads import Volume
from models.registry import Explanation

COLUMNS, ROWS = 6, 3  #: of the page
TILE = 200  #: pixels of a tile's longer side
HEAD = 100  #: pixels for the numbers
COLOURS = {1: (255, 176, 0), 2: (68, 170, 255)}  #: told apart by the colour-blind too
NAMES = {1: "anterior", 2: "posterior"}

Mask = NDArray[np.uint8]


def render(payload: Volume, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """Up to 18 slices, evenly over those with a part in them; the whole range where there is none."""
    name = next((str(f.evidence["artifact"]) for f in findings if "artifact" in f.evidence), "")
    empty = np.zeros(payload.voxels.shape, np.uint8)
    mask = read_mask(artifacts[name]) if name in artifacts else empty
    page = montage(payload, mask, [_line(f) for f in findings])
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return Explanation(media_type="image/png", content=stream.getvalue())


def _line(finding: Finding) -> str:
    told = finding.evidence
    if finding.value is None:
        return f"{finding.site}: {finding.reason}"
    low, high = cast(Sequence[float], told["interval_mm3"])
    return f"{finding.site}: {finding.value:.0f} mm3 ({low:.0f} to {high:.0f})"


def chosen(mask: Mask) -> list[int]:
    """The slices shown: evenly over those with a part in them."""
    there = np.flatnonzero(mask.any((1, 2)))
    span = there if len(there) else np.arange(len(mask))
    count = min(len(span), COLUMNS * ROWS)
    return [int(span[round(i)]) for i in np.linspace(0, len(span) - 1, count)]


def montage(volume: Volume, mask: Mask, lines: Sequence[str]) -> PIL.Image.Image:
    """The page: numbers and legend above, tiles beneath."""
    shown = chosen(mask)
    _, rows, columns = volume.voxels.shape
    tall, wide = rows * volume.spacing_mm[1], columns * volume.spacing_mm[2]
    size = (round(TILE * wide / max(tall, wide)), round(TILE * tall / max(tall, wide)))
    down = -(-len(shown) // COLUMNS)
    page = PIL.Image.new("RGB", (max(COLUMNS * size[0], 640), HEAD + down * size[1]), (16, 16, 16))
    low, high = (float(v) for v in np.percentile(volume.voxels, CLIP))
    grey = np.clip((volume.voxels - low) / max(high - low, 1e-6), 0, 1)
    for place, index in enumerate(shown):
        corner = (place % COLUMNS * size[0], HEAD + place // COLUMNS * size[1])
        page.paste(_tile(grey[index], mask[index], index, size), corner)
    _legend(PIL.ImageDraw.Draw(page), lines)
    return page


def _tile(grey: NDArray[np.float32], mask: Mask, index: int, size: tuple[int, int]) -> PIL.Image.Image:
    image = PIL.Image.fromarray(np.round(grey * 255).astype(np.uint8))
    tile = np.array(image.resize(size, PIL.Image.Resampling.BICUBIC).convert("RGB"))
    for label, colour in COLOURS.items():
        part = PIL.Image.fromarray((mask == label).astype(np.uint8) * 255)
        inside = np.asarray(part.resize(size, PIL.Image.Resampling.BICUBIC)) > 127
        tile[inside & ~_eroded(inside)] = colour
    picture = PIL.Image.fromarray(tile)
    draw = PIL.ImageDraw.Draw(picture)
    draw.text((4, 2), f"slice {index + 1}", (230, 230, 230), _font(12), stroke_width=2, stroke_fill=(0, 0, 0))
    return picture


def _eroded(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is left two pixels inside."""
    for _ in range(2):
        wide = np.pad(inside, 1)
        inside = inside & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return inside


def _legend(draw: PIL.ImageDraw.ImageDraw, lines: Sequence[str]) -> None:
    for place, text in enumerate(lines[:3]):
        draw.text((10, 8 + 22 * place), text, fill=(240, 240, 240), font=_font(16))
    for place, (label, colour) in enumerate(COLOURS.items()):
        left = 10 + 120 * place
        draw.rectangle((left, 80, left + 12, 92), outline=colour, width=2)
        draw.text((left + 18, 78), NAMES[label], fill=colour, font=_font(14))
    draw.text((260, 78), "preliminary; not a medical device", fill=(150, 150, 150), font=_font(14))


def _font(size: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    return PIL.ImageFont.load_default(size)
