"""Charts as SVG for an HTML page: contributions as bars, curves over common axes, tables as heat maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from models.drawing import LESS, MORE, number

Curve = tuple[str, Sequence[float], Sequence[float]]  #: name, x values, y values
Band = tuple[Sequence[float], Sequence[float], Sequence[float]]  #: x values, lower edge, upper edge

#: told apart by people who do not see colour as most do (Okabe and Ito 2008)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("", "6 4", "2 3", "8 3 2 3")


def _svg(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    inner = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{escape(label)}">\n{inner}\n</svg>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high, about `count` of them (steps of 1, 2 or 5 times a power of ten)."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def bars(items: Sequence[tuple[str, float]], *, unit: str = "", baseline: float | None = None) -> str:
    """Contributions as horizontal bars: right and red towards the finding, left and blue away from it.

    items: (name, contribution), in the order to be shown. unit: of the contributions, "log-odds", "mg".
    baseline: where the contributions start from; with it their sum is written below.
    """
    width, row, left, right = 720.0, 24.0, 270.0, 640.0
    low = min([0.0, *(v for _, v in items)])
    high = max([0.0, *(v for _, v in items)])
    scale = (right - left - 100) / ((high - low) or 1.0)  # room for a number at either end
    zero = left + 50 - low * scale
    parts = []
    for index, (name, value) in enumerate(items):
        y, end = 8 + index * row, zero + value * scale
        colour = MORE if value >= 0 else LESS
        parts.append(_text(left - 8, y + 15, name, anchor="end"))
        parts.append(
            f'<rect x="{min(zero, end):.1f}" y="{y:.1f}" width="{max(abs(end - zero), 0.5):.1f}" '
            f'height="{row - 6:g}" fill="{colour}"/>'
        )
        side = "start" if value >= 0 else "end"
        parts.append(_text(end + (4 if value >= 0 else -4), y + 15, f"{value:+.3g}", anchor=side))
    bottom = 8 + len(items) * row
    parts.append(f'<path class="axis" d="M{zero:.1f} 2V{bottom:.1f}"/>')
    told = f"in {unit}" if unit else ""
    if baseline is not None:
        total = baseline + sum(v for _, v in items)
        told = f"{told}; ".removeprefix("; ") + f"from {number(baseline)} to {number(total)}"
    parts.append(_text(zero, bottom + 18, told, anchor="middle", extra=' class="quiet"'))
    return _svg(width, bottom + 26, "contributions " + told, parts)


class _Frame:
    """The axes of a plot: values to places, ticks and names."""

    width, height, left, right, top, bottom = 640.0, 380.0, 64.0, 620.0, 14.0, 326.0

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a value, in the drawing's units."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """The points as a path's data; those that are not finite break it."""
        told, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            across, down = self.at(x, y)
            told.append(f"{pen}{across:.1f} {down:.1f}")
            pen = "L"
        return "".join(told)

    def axes(self, x_label: str, y_label: str) -> list[str]:
        """Grid, ticks and the names of both axes."""
        parts = [f'<path class="axis" d="M{self.left} {self.top}V{self.bottom}H{self.right}"/>']
        for value in ticks(*self.x, 7):
            across, _ = self.at(value, self.y[0])
            parts.append(f'<path class="grid" d="M{across:.1f} {self.top}V{self.bottom}"/>')
            parts.append(_text(across, self.bottom + 18, number(value), anchor="middle"))
        for value in ticks(*self.y):
            _, down = self.at(self.x[0], value)
            parts.append(f'<path class="grid" d="M{self.left} {down:.1f}H{self.right}"/>')
            parts.append(_text(self.left - 6, down + 4, number(value), anchor="end"))
        middle = (self.top + self.bottom) / 2
        parts.append(_text((self.left + self.right) / 2, self.bottom + 40, x_label, anchor="middle"))
        turn = f' transform="rotate(-90 14 {middle:g})"'
        return [*parts, _text(14, middle, y_label, anchor="middle", extra=turn)]


def _range(values: Iterable[float]) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def lines(
    series: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    band: Band | None = None,
    steps: bool = False,
    y_range: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    names_below: bool = False,
) -> str:
    """Curves over common axes, told apart by colour and dashes, with a shaded band behind them.

    steps: each value holds until the next one (survival curves). marks: (x, word) of upright lines.
    names_below: the curves' names stand at the bottom right, not at the top.
    """
    drawn = [(name, *_stepped(x, y)) if steps else (name, x, y) for name, x, y in series]
    edges = [(*_stepped(band[0], e),) if steps else (band[0], e) for e in band[1:]] if band else []
    xs = _range([v for _, x, _ in drawn for v in x] + [v for x, _ in edges for v in x])
    frame = _Frame(
        xs, y_range or _range([v for _, _, y in drawn for v in y] + [v for _, e in edges for v in e])
    )
    parts = frame.axes(x_label, y_label)
    if edges:
        (x, low), (_, high) = edges
        outline = frame.path([*x, *reversed(x)], [*low, *reversed(high)])
        parts.append(f'<path d="{outline}Z" fill="{COLOURS[0]}" fill-opacity=".2"/>')
    for index, (name, x, y) in enumerate(drawn):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" fill="none"'
        parts.append(f'<path d="{frame.path(x, y)}" {style}/>')
        if len(drawn) > 1 or name:
            first = frame.bottom - 18 * len(drawn) + 4 if names_below else frame.top + 14
            down = first + 18 * index
            parts.append(f'<path d="M{frame.right - 24} {down - 4:g}h22" {style}/>')
            parts.append(_text(frame.right - 30, down, name, anchor="end"))
    for place, word in marks:
        across, _ = frame.at(place, 0)
        parts.append(
            f'<path class="axis" stroke-dasharray="3 3" d="M{across:.1f} {frame.top}V{frame.bottom}"/>'
        )
        room = across + 4 + 7 * len(word) <= frame.width
        side, anchor = (4, "start") if room else (-4, "end")
        parts.append(_text(across + side, frame.bottom - 6, word, anchor=anchor))
    return _svg(frame.width, frame.height, f"{y_label} over {x_label}", parts)


def _stepped(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Each value held until the next place."""
    if not len(x):
        return [], []
    xs, ys = [float(x[0])], [float(y[0])]
    for place, value in zip(x[1:], y[1:], strict=True):
        xs += [float(place), float(place)]
        ys += [ys[-1], float(value)]
    return xs, ys


def heat(
    values: ArrayLike,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    x_label: str = "",
    y_label: str = "",
    written: bool = True,
) -> str:
    """A table of numbers (rows, columns) as shaded cells, the largest darkest; NaN stays blank.

    written: the number stands in each cell; leave it out where the cells are many.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (len(rows), len(columns)):
        raise ValueError(f"expected ({len(rows)}, {len(columns)}) values, got {numbers.shape}")
    cell, left, top = (64.0, 150.0, 40.0) if written else (16.0, 150.0, 40.0)
    tall = 30.0 if written else 16.0
    most = float(np.nanmax(np.abs(numbers), initial=0.0)) or 1.0
    parts = [_text(left + cell * len(columns) / 2, 14, x_label, anchor="middle")] if x_label else []
    if y_label:
        middle = top + tall * len(rows) / 2
        parts.append(
            _text(12, middle, y_label, anchor="middle", extra=f' transform="rotate(-90 12 {middle:g})"')
        )
    parts += [_text(left + cell * (j + 0.5), top - 8, n, anchor="middle") for j, n in enumerate(columns)]
    for i, name in enumerate(rows):
        parts.append(_text(left - 8, top + tall * (i + 0.65), name, anchor="end"))
        for j, value in enumerate(numbers[i].tolist()):
            if math.isnan(value):
                continue
            colour = MORE if value < 0 else COLOURS[0]
            x, y = left + cell * j, top + tall * i
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{cell - 1:g}" height="{tall - 1:g}" fill="{colour}" '
                f'fill-opacity="{abs(value) / most * 0.6:.3f}"/>'
            )
            if written:
                parts.append(_text(x + cell / 2, y + tall * 0.65, number(value), anchor="middle"))
    width = left + cell * len(columns) + 10
    return _svg(width, top + tall * len(rows) + 10, f"{y_label} by {x_label}", parts)
