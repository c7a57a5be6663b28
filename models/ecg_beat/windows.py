"""What the classifiers are given of a beat: its wave, its surroundings, its timing and its likeness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ecg_beat.signals import RATE, Floats

POINTS = 128  #: of a window, whatever its length
BEAT = (-0.30, 0.50)  #: seconds about the QRS mark that the beat's window spans
AROUND = (-1.2, 1.2)  #: seconds about it that the surroundings' window spans
QRS = slice(35, 64)  #: points of the beat's window with the QRS complex: -0.08 to +0.10 s
BEFORE = slice(8, 35)  #: points with the P wave: -0.25 to -0.08 s
AFTER = slice(64, 120)  #: points with the T wave: +0.10 to +0.45 s
CHANNELS = 7  #: rows of an input: 2 waves, 2 differences, 2 surroundings, 1 of numbers
TIMING = 15  #: the first so many numbers speak of time alone
NAMES = (
    *("pre/10", "post/10", "pre/43", "post/43", "pre/all", "post/all", "pre/post", "prepre/pre"),
    *("pre/median", "post/median", "pre", "irregular", "uneven", "recurrence", "post/next"),
    *("qrs likeness 1", "qrs likeness 2", "p likeness 1", "p likeness 2", "t likeness 1", "t likeness 2"),
    *("p about 1", "p about 2"),
    *("size 1", "size 2", "width 1", "width 2", "p change 1", "p change 2", "like the last", "like the next"),
)


@dataclass(frozen=True, kw_only=True)
class Beats:
    """Every beat of one recording as the classifiers see it."""

    waves: Floats  #: (beats, 6, POINTS): two leads, the same less the median beat, two surroundings
    numbers: Floats  #: (beats, len(NAMES))

    def inputs(self) -> Floats:
        """(beats, CHANNELS, POINTS): the waves, and the numbers as one row filled up with zeros."""
        row = np.zeros((len(self.numbers), 1, POINTS), dtype=np.float32)
        row[:, 0, : self.numbers.shape[1]] = self.numbers
        return np.concatenate([self.waves, row], axis=1)


def cut(signal: Floats, places: NDArray[np.int64], span: tuple[float, float]) -> Floats:
    """(beats, POINTS) of one lead about each place, drawn straight between samples, zero outside."""
    steps = np.linspace(span[0] * RATE, span[1] * RATE, POINTS)
    at = places[:, None] + steps[None]
    low = np.floor(at).astype(np.int64)
    share = (at - low).astype(np.float32)
    padded = np.pad(signal, 1)
    left, right = (np.clip(low + k, -1, len(signal)) + 1 for k in (0, 1))
    return padded[left] * (1 - share) + padded[right] * share


def smooth(signal: Floats, width: int) -> Floats:
    """The running mean over `width` samples, so that the coarse surroundings do not alias."""
    return np.convolve(signal, np.full(width, 1 / width, dtype=np.float32), "same").astype(np.float32)


def local_mean(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The mean over `reach` neighbours on each side and the value itself."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return np.asarray((total[high] - total[low]) / (high - low))


def timing(places: NDArray[np.int64]) -> Floats:
    """(beats, TIMING): logarithms of the intervals before and after against their neighbourhood's.

    Intervals are cut to 0.2 to 3 s: what is longer is a pause or a missed beat, and which is not known.
    """
    gaps = np.clip(np.diff(places) / RATE, 0.2, 3.0)
    middle = float(np.median(gaps)) if len(gaps) else 0.8
    pre = np.concatenate([[middle], gaps])
    post = np.concatenate([gaps, [middle]])
    prepre = np.concatenate([[middle], pre[:-1]])
    near, wide, all_ = local_mean(pre, 5), local_mean(pre, 21), np.full(len(pre), pre.mean())
    columns = [np.log(side / base) for base in (near, wide, all_) for side in (pre, post)]
    columns += [np.log(pre / post), np.log(prepre / pre)]
    columns += [np.log(pre / middle), np.log(post / middle), np.log(pre), *irregularity(pre)]
    columns += [recurrence(pre), np.log(post / np.concatenate([post[1:], [middle]]))]
    return np.stack(columns, axis=1).astype(np.float32)


def irregularity(pre: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How uneven the rhythm is about each beat: in atrial fibrillation both are high.

    The median change from one interval to the next over 31 beats, and the share of those changes
    over a tenth: medians, so that single early beats with their pauses hardly count.
    """
    change = np.abs(np.diff(np.log(pre), prepend=np.log(pre[:1])))
    padded = np.pad(change, 15, mode="reflect") if len(change) > 15 else np.pad(change, 15, mode="edge")
    about = np.lib.stride_tricks.sliding_window_view(padded, 31)
    return np.median(about, axis=1), (about > 0.1).mean(axis=1)


def recurrence(pre: NDArray[np.float64], reach: int = 20, near: float = 0.06) -> NDArray[np.float64]:
    """The share of pairs of intervals about each beat that are alike to 6 %.

    Near 1 in a regular rhythm, near 1/2 in bigeminy, under 0.3 in atrial fibrillation, where no interval
    returns (a correlation sum, as in sample entropy: Richman and Moorman, 2000).
    """
    found = np.ones(len(pre))
    if len(pre) < 3:
        return found
    logs = np.log(pre)
    for place in range(len(pre)):
        low = min(max(place - reach, 0), max(len(pre) - 2 * reach - 1, 0))
        about = np.sort(logs[low : low + 2 * reach + 1])
        pairs = np.searchsorted(about, about + near, "right") - np.arange(len(about)) - 1
        found[place] = 2 * pairs.sum() / (len(about) * (len(about) - 1))
    return found


def likeness(waves: Floats, other: Floats) -> Floats:
    """The correlation of each row with a row, or with its own row of `other`."""
    a = waves - waves.mean(1, keepdims=True)
    b = other - other.mean(-1, keepdims=True)
    product = (a * b).sum(1)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(-1))
    found: Floats = np.divide(product, size, out=np.zeros_like(product), where=size > 1e-6)
    return found


def width(waves: Floats) -> Floats:
    """The spread in seconds of the wave's steepness about the QRS complex: wide when ventricular."""
    steep = np.diff(waves[:, 24:84], axis=1) ** 2
    at = np.arange(steep.shape[1]) * (BEAT[1] - BEAT[0]) / (POINTS - 1)
    total = np.maximum(steep.sum(1), 1e-9)
    centre = (steep * at).sum(1) / total
    spread: Floats = np.sqrt((steep * (at[None] - centre[:, None]) ** 2).sum(1) / total)
    return spread.astype(np.float32)


def shape(leads: list[Floats], middles: list[Floats]) -> Floats:
    """(beats, 16): how each beat's parts compare with the recording's median beat and its neighbours'."""
    columns = [
        likeness(w[:, part], m[part])
        for part in (QRS, BEFORE, AFTER)
        for w, m in zip(leads, middles, strict=True)
    ]
    columns += [local_mean(c.astype(np.float64), 15).astype(np.float32) for c in columns[2:4]]
    sizes = [
        np.log((np.ptp(w[:, QRS], axis=1) + 0.05) / (np.ptp(m[QRS]) + 0.05))
        for w, m in zip(leads, middles, strict=True)
    ]
    changes = [np.sqrt(((w - m)[:, BEFORE] ** 2).mean(1)) for w, m in zip(leads, middles, strict=True)]
    first = leads[0]
    last, next_ = np.roll(first, 1, axis=0), np.roll(first, -1, axis=0)
    columns += sizes + [width(w) * 10 for w in leads] + [5 * c for c in changes]
    columns += [likeness(first[:, QRS], last[:, QRS]), likeness(first[:, QRS], next_[:, QRS])]
    return np.stack(columns, axis=1).astype(np.float32)


def describe(signals: Floats, places: NDArray[np.int64]) -> Beats:
    """Every beat of a cleaned recording. signals: (2, samples) at 360 Hz.

    Each lead is first divided by the recording's own median QRS height, so that gain does not count.
    """
    leads, around, middles = [], [], []
    for signal in signals:
        waves = cut(signal, places, BEAT)
        height = float(np.median(np.ptp(waves[:, QRS], axis=1))) if len(waves) else 0.0
        scale = np.float32(1 / height) if height > 0.02 else np.float32(0)
        leads.append(waves * scale)
        middles.append(np.median(leads[-1], axis=0) if len(waves) else np.zeros(POINTS, np.float32))
        around.append(cut(smooth(signal, 7) * scale, places, AROUND))
    differences = [w - m for w, m in zip(leads, middles, strict=True)]
    numbers = np.concatenate([timing(places), shape(leads, middles)], axis=1)
    return Beats(waves=np.stack([*leads, *differences, *around], axis=1), numbers=numbers)
