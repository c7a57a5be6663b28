"""Writes invented rhythms as WFDB records, each marked as synthetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ecg_beat.windows import BEAT, POINTS, QRS
from models.ecg_gan import CLASSES, HERE
from models.ecg_gan.beats import REACH
from models.synthesis import wgan
from models.synthesis.wgan import Floats, Generator

RATE = 360  #: Hz of the records written
SECONDS = 30.0
LEAD = "MLII"  #: the lead whose beats the generator learnt
OFTEN = (0.88, 0.06, 0.06)  #: how often a beat is N, S, V
EARLY = {
    "N": 1.0,
    "S": 0.68,
    "V": 0.62,
}  #: the interval before, in usual ones; after V it is 1.4, after S 1.05
AFTER = {"N": 1.0, "S": 1.05, "V": 1.4}
SYMBOLS = {"N": "N", "S": "A", "V": "V"}  #: MIT-BIH annotation symbols
MARK = "synthetic: invented by a generator, no person's ECG"


def synthesise(n: int, out: Path, *, seed: int = 0) -> list[Path]:
    """Writes n records `synthetic-<seed>-<number>` of 30 s, one lead at 360 Hz, with their beats annotated.

    Gives the headers' paths. Each header says in a comment that the record is synthetic. Raises ValueError
    when n is less than 1.
    """
    if n < 1:
        raise ValueError(f"at least one record is to be made, got {n}")
    out.mkdir(parents=True, exist_ok=True)
    generator, _ = wgan.load(HERE)
    return [_write(generator, out, f"synthetic-{seed}-{k + 1:04d}", seed * 100_003 + k) for k in range(n)]


def _write(generator: Generator, out: Path, name: str, seed: int) -> Path:
    import wfdb

    signal, places, classes = rhythm(generator, seed)
    wfdb.wrsamp(
        name,
        fs=RATE,
        units=["mV"],
        sig_name=[LEAD],
        p_signal=signal[:, None].astype(np.float64),
        fmt=["16"],
        adc_gain=[1000.0],
        baseline=[0],
        comments=[MARK],
        write_dir=str(out),
    )
    symbols = np.array([SYMBOLS[CLASSES[c]] for c in classes])
    wfdb.wrann(name, "atr", places, symbol=symbols, write_dir=str(out))
    return out / f"{name}.hea"


def rhythm(generator: Generator, seed: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """(samples,) mV at 360 Hz, the R places, and the classes of one invented rhythm of 30 s.

    A person's beats are alike: all beats of one class are drawn about one point of the generator's noise.
    """
    chance = np.random.default_rng(seed)
    usual = 60 / chance.uniform(55, 95)
    places, classes, at, last = [], [], 0.5, 0
    while at < SECONDS - 0.6:
        places.append(round(at * RATE))
        classes.append(last)
        last = int(chance.choice(3, p=OFTEN)) if last == 0 else 0  # an early beat is followed by a usual one
        pace = EARLY[CLASSES[last]] * AFTER[CLASSES[classes[-1]]]
        at += usual * pace * (1 + 0.03 * np.sin(2 * np.pi * at / 4) + 0.01 * chance.standard_normal())
    labels = np.array(classes, dtype=np.int64)
    waves = _one_persons(generator, labels, seed)
    return joined(waves, np.array(places)), np.array(places), labels


def _one_persons(generator: Generator, labels: NDArray[np.int64], seed: int) -> Floats:
    """(beats, 128) in units of the usual QRS height."""
    import torch

    chance = torch.Generator().manual_seed(seed)
    own = torch.randn(1, generator.plan.noise, generator=chance)
    each = torch.randn(len(labels), generator.plan.noise, generator=chance)
    with torch.inference_mode():
        made = generator(0.97 * own + 0.243 * each, torch.from_numpy(labels))  # 0.97^2 + 0.243^2 = 1
    waves: Floats = (made[:, 0, 0].numpy() * REACH).astype(np.float32)
    height = float(np.median(np.ptp(waves[:, QRS], axis=1)))
    scaled: Floats = np.divide(waves, max(height, 0.1)).astype(np.float32)
    return scaled


def joined(waves: Floats, places: NDArray[np.int64]) -> Floats:
    """The beats laid at their places and faded into each other, level where none reaches."""
    length = round(SECONDS * RATE)
    total, weight = np.zeros(length), np.full(length, 1e-3)
    steps = np.arange(round(BEAT[0] * RATE), round(BEAT[1] * RATE) + 1)
    points = np.linspace(BEAT[0] * RATE, BEAT[1] * RATE, POINTS)
    # the fade keeps the QRS complex whole and gives way towards the window's ends
    fade = np.clip(
        np.minimum((steps - steps[0]) / (0.12 * RATE), (steps[-1] - steps) / (0.12 * RATE)), 0.0, 1
    )
    for wave, place in zip(waves, places, strict=True):
        ends = np.linspace(wave[:4].mean(), wave[-4:].mean(), len(steps))
        shape = np.interp(steps, points, wave) - ends
        at = place + steps
        inside = (at >= 0) & (at < length)
        total[at[inside]] += (fade * shape)[inside]
        weight[at[inside]] += fade[inside]
    return np.asarray(total / np.maximum(weight, 1.0), dtype=np.float32)
