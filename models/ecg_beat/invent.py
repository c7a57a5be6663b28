"""Invents an ECG that is no one's: sums of bell curves (McSharry 2003), with early beats where asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.payloads import Recording

#: wave -> (seconds from R, spread in seconds, mV on MLII, mV on V1) of a sinus beat
SINUS = {
    "P": (-0.17, 0.022, 0.14, 0.07),
    "Q": (-0.030, 0.009, -0.10, 0.0),
    "R": (0.0, 0.011, 1.15, 0.22),
    "S": (0.028, 0.011, -0.22, -0.85),
    "T": (0.27, 0.045, 0.30, -0.12),
}
#: an early atrial beat: the P wave comes from elsewhere, the rest is conducted as usual
ATRIAL = SINUS | {"P": (-0.13, 0.018, -0.08, 0.10)}
#: a ventricular beat: no P wave, wide and tall, the T wave turned against it
VENTRICULAR = {
    "R": (0.0, 0.034, 1.55, -0.75),
    "S": (0.075, 0.034, -0.60, 0.55),
    "T": (0.30, 0.060, -0.45, 0.35),
}
SHAPES: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "N": SINUS,
    "S": ATRIAL,
    "V": VENTRICULAR,
}
#: interval before and after, in sinus intervals: an atrial beat resets the node, a ventricular one does not
PACE = {"N": (1.0, 1.0), "S": (0.62, 1.08), "V": (0.58, 1.42)}


def times(kinds: Sequence[str], interval: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Seconds of the R waves of beats of these kinds, after a slowly breathing sinus rhythm."""
    at, found = 0.6, []
    for number, kind in enumerate(kinds):
        before = PACE[kind][0] * (PACE[kinds[number - 1]][1] if number else 1.0)
        breath = 1 + 0.03 * np.sin(2 * np.pi * at / 4) + 0.006 * generator.standard_normal()
        at += interval * before * breath if number else 0.0
        found.append(at)
    return np.array(found)


def recording(
    kinds: Sequence[str], *, rate_hz: float = 250.0, beats_per_minute: float = 68, seed: int = 0
) -> Recording:
    """Two leads (MLII, V1) of beats of these kinds ("N", "S", "V"), with baseline wander and noise."""
    generator = np.random.default_rng(seed)
    at = times(kinds, 60 / beats_per_minute, generator)
    clock = np.arange(round((at[-1] + 0.8) * rate_hz)) / rate_hz
    signals = np.zeros((2, len(clock)))
    for moment, kind in zip(at, kinds, strict=True):
        for centre, spread, first, second in SHAPES[kind].values():
            bell = np.exp(-0.5 * ((clock - moment - centre) / spread) ** 2)
            signals += np.array([[first], [second]]) * bell
    wander = 0.06 * np.sin(2 * np.pi * 0.24 * clock + np.array([[0.3], [1.1]]))
    noise = 0.012 * generator.standard_normal(signals.shape)
    return Recording(
        signals=(signals + wander + noise).astype(np.float32), rate_hz=rate_hz, leads=("MLII", "V1")
    )


def example() -> Recording:
    """The family's example: 44 beats with two ventricular and two supraventricular ones among them."""
    kinds = ["N"] * 44
    kinds[11] = kinds[30] = "V"
    kinds[20] = kinds[37] = "S"
    return recording(kinds, seed=7)


def varied(count: int, seed: int = 0) -> list[Recording]:
    """ECGs of 30 to 90 beats, some of them early, at 55 to 100 a minute, 250 to 500 Hz, of any size."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        kinds = generator.choice(["N", "S", "V"], generator.integers(30, 91), p=[0.86, 0.06, 0.08])
        one = recording(
            kinds.tolist(),
            rate_hz=float(generator.choice([250, 360, 500])),
            beats_per_minute=generator.uniform(55, 100),
            seed=seed + number,
        )
        rough = generator.uniform(0, 0.05) * generator.standard_normal(one.signals.shape)
        size = generator.uniform(0.6, 1.6)
        made.append(replace(one, signals=(size * one.signals + rough).astype(np.float32)))
    return made
