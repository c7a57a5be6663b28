"""An ECG made even: resampled to 360 Hz, without baseline wander and hum, its two best leads chosen."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATE = 360  #: Hz, of everything behind this module; MIT-BIH's own
BAND = (0.5, 40.0)  #: Hz kept: below is baseline wander, above is hum and muscle
#: the leads that the first channel is taken from, best first: the training set's is a modified II
FIRST = ("MLII", "II", "ML2", "MCL2", "I", "V5", "V6", "V4", "CM5", "MLI", "AVF", "V3", "III")
#: the second channel's: the training set's is V1, sometimes V2, V4 or V5
SECOND = ("V1", "MCL1", "V2", "V5", "V4", "V3", "V6", "MLIII", "III", "I", "AVF", "AVL")


def lead_name(name: str) -> str:
    """A lead's name as it is compared: `ECG Lead II`, `Lead ii` and `II` alike."""
    words = name.upper().replace("_", " ").replace("-", " ").split()
    plain = [w for w in words if w not in ("ECG", "EKG", "LEAD", "CHANNEL")]
    return " ".join(plain) or " ".join(words)


def pick(leads: Sequence[str], signals: NDArray[np.floating]) -> tuple[int, ...]:
    """Rows of the one or two leads to read, the one most like lead II first; flat ones are left out.

    signals: (leads, samples). Empty where no lead is named that the model knows, or all are flat.
    """
    names = [lead_name(name) for name in leads]
    alive = [i for i in range(len(names)) if not is_flat(signals[i])]
    first = [i for wanted in FIRST for i in alive if names[i] == wanted]
    if not first:
        return ()
    second = [i for wanted in SECOND for i in alive if names[i] == wanted and i != first[0]]
    return (first[0], second[0]) if second else (first[0],)


def is_flat(signal: NDArray[np.floating]) -> bool:
    """Whether a lead holds no signal: nothing measured, or less than 20 microvolts from end to end."""
    held = signal[np.isfinite(signal)]
    return len(held) < len(signal) / 2 or float(np.ptp(held)) < 0.02


def fill(signal: NDArray[np.floating]) -> NDArray[np.float64]:
    """The samples with the missing ones drawn straight between their neighbours."""
    whole = np.asarray(signal, dtype=np.float64).copy()
    missing = ~np.isfinite(whole)
    if missing.any():
        held = np.flatnonzero(~missing)
        whole[missing] = np.interp(np.flatnonzero(missing), held, whole[held]) if len(held) else 0.0
    return whole


def clean(signals: NDArray[np.floating], rate_hz: float) -> Floats:
    """(2, samples) at 360 Hz, band-passed without shift, in millivolts; one lead gets a row of zeros."""
    from scipy.signal import butter, resample_poly, sosfiltfilt

    ratio = Fraction(RATE / rate_hz).limit_denominator(1000)
    band = butter(2, BAND, "bandpass", fs=RATE, output="sos")
    rows = []
    for signal in signals[:2]:
        whole = fill(signal)
        whole -= np.median(whole)
        if ratio != 1:
            whole = resample_poly(whole, ratio.numerator, ratio.denominator)
        rows.append(sosfiltfilt(band, whole).astype(np.float32))
    if len(rows) == 1:
        rows.append(np.zeros_like(rows[0]))
    return np.stack(rows)
