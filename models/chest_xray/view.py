"""The heat map laid over its film, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from db.records import Finding
from models.chest_xray.prepare import Pixels, stretch
from models.payloads import Image
from models.registry import Explanation

LARGEST = 1024  #: pixels of the longer side of the picture
STRONGEST = 0.55  #: opacity of the heat where it is highest


def colours(heat: Pixels) -> Pixels:
    """Heat 0..1 as black, red, orange, yellow: (rows, columns, 3), 0..255."""
    ramp = np.array([[90, 0, 60], [215, 25, 40], [250, 140, 20], [255, 240, 90]], dtype=np.float32)
    places = np.linspace(0, 1, len(ramp))
    return np.stack([np.interp(heat, places, ramp[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"evidence should hold a pixel number, got {type(value).__name__}")
    return value


def render(payload: Image, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The film as a PNG, with the heat map and its peak where a finding has one; the film alone otherwise."""
    film: Pixels = np.repeat(stretch(payload.pixels)[:, :, None] * np.float32(255), 3, axis=2)
    shown = [f.evidence for f in findings if f.evidence.get("kind") == "grad-cam"]
    peak: tuple[int, int] | None = None
    for evidence in shown:
        content = artifacts.get(str(evidence["artifact"]))
        if content is None:
            continue
        top, bottom, left, right = (_number(evidence[k]) for k in ("top", "bottom", "left", "right"))
        with PIL.Image.open(io.BytesIO(content)) as image:
            size = (right - left, bottom - top)
            grey = image.convert("L").resize(size, PIL.Image.Resampling.BICUBIC)
        heat: Pixels = np.asarray(grey, dtype=np.float32) / np.float32(255)
        part = film[top:bottom, left:right]
        share = (STRONGEST * np.clip((heat - 0.15) / 0.85, 0, 1))[:, :, None]
        film[top:bottom, left:right] = (1 - share) * part + share * colours(heat)
        peak = (_number(evidence["peak_row"]), _number(evidence["peak_column"]))
    picture = PIL.Image.fromarray(np.clip(film, 0, 255).astype(np.uint8))
    rows, columns = payload.pixels.shape
    scale = min(1.0, LARGEST / max(rows, columns))
    if scale < 1:
        picture = picture.resize((round(columns * scale), round(rows * scale)))
    if peak is not None:
        _mark(picture, peak[0] * scale, peak[1] * scale)
    stream = io.BytesIO()
    _framed(picture, findings, with_bar=peak is not None).save(stream, "PNG")
    return Explanation(media_type="image/png", content=stream.getvalue())


def _framed(picture: PIL.Image.Image, findings: Sequence[Finding], *, with_bar: bool) -> PIL.Image.Image:
    """The picture at the top left, beneath it what was found, the colour bar and the caution."""
    lines = [_line(f) for f in findings]
    wide = max(picture.width, 520)
    page = PIL.Image.new(
        "RGB", (wide, picture.height + 20 * len(lines) + (76 if with_bar else 30)), (16, 16, 16)
    )
    page.paste(picture, (0, 0))
    draw, down = PIL.ImageDraw.Draw(page), picture.height + 6
    for line in lines:
        draw.text((8, down), line, (240, 240, 240), _font(15))
        down += 20
    if with_bar:
        bar = colours(np.linspace(0, 1, 180, dtype=np.float32)[None, :].repeat(12, 0))
        page.paste(PIL.Image.fromarray(bar.astype(np.uint8)), (8, down + 4))
        draw.text(
            (196, down), "network's attention, share of its highest; cross: peak", (200, 200, 200), _font(13)
        )
        down += 24
        draw.text(
            (8, down), "where the network looked, not the extent of disease", (200, 200, 200), _font(13)
        )
        down += 20
    draw.text((8, down), "preliminary; not a medical device", (150, 150, 150), _font(13))
    return page


def _line(finding: Finding) -> str:
    if finding.abstained or finding.probability is None:
        return f"{finding.code.meaning}: {(finding.reason or 'left open').partition(': ')[2] or 'left open'}"
    word = "positive" if finding.positive else "negative"
    return f"{finding.code.meaning}: {finding.probability:.3f}, {word} (threshold {finding.threshold:.3f})"


def _font(size: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    return PIL.ImageFont.load_default(size)


def _mark(picture: PIL.Image.Image, row: float, column: float) -> None:
    """A small cross at the peak."""
    draw, arm = PIL.ImageDraw.Draw(picture), max(4, min(picture.size) // 50)
    draw.line((column - arm, row, column + arm, row), fill=(255, 255, 255), width=2)
    draw.line((column, row - arm, column, row + arm), fill=(255, 255, 255), width=2)
