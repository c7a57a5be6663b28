"""Finds the QRS complexes of a cleaned recording, after Pan and Tompkins (IEEE Trans Biomed Eng 1985)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ecg_beat.signals import RATE, Floats

QRS_BAND = (6.0, 20.0)  #: Hz that the complex is steepest in, against P, T and hum
INTEGRATED = 0.11  #: seconds over which the steepness is summed: about a complex's width
REFRACTORY = 0.2  #: seconds after a complex in which there is no other
T_WAVE = 0.36  #: seconds in which a much flatter wave is the last complex's T wave
CONTRAST = 4  #: power of a lead's local contrast, its weight beside the other lead
SHARE = 0.2  #: of the usual peak about it that a peak must reach
SEARCH_BACK = 1.66  #: usual intervals without a complex after which a lower peak is taken
MATCH = 0.15  #: seconds within which a found complex is the annotated one (EC57 4.3.2)


def _local(energy: NDArray[np.float64], percent: float) -> NDArray[np.float64]:
    """The percentile over the 6 s about each sample."""
    half = RATE // 2
    blocks = -(-len(energy) // half)
    rows = np.pad(energy, (0, blocks * half - len(energy)), mode="edge").reshape(blocks, half)[:, ::5]
    padded = np.pad(rows, ((6, 6), (0, 0)), mode="reflect" if blocks > 6 else "edge")
    about = np.lib.stride_tricks.sliding_window_view(padded, 13, axis=0)
    found = np.percentile(about.reshape(blocks, -1), percent, axis=1)
    return np.interp(np.arange(len(energy)), (np.arange(blocks) + 0.5) * half, found)


def steepness(signals: Floats) -> NDArray[np.float64]:
    """(samples,) summed squared slope of the leads in the QRS band, each lead in units of its own.

    Leads count by how much their peaks stand out within 6 s, so that a noisy lead hardly speaks.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, sosfiltfilt

    band = butter(2, QRS_BAND, "bandpass", fs=RATE, output="sos")
    total = np.zeros(signals.shape[1])
    for signal in signals:
        if not signal.any():
            continue
        slope = np.gradient(sosfiltfilt(band, signal.astype(np.float64))) ** 2
        energy = uniform_filter1d(slope, round(INTEGRATED * RATE))
        low, high = _local(energy, 50), _local(energy, 98)
        total += (
            energy / np.maximum(high, 1e-12) * np.clip(1 - low / np.maximum(high, 1e-12), 0, 1) ** CONTRAST
        )
    return total


def _usual(heights: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The usual height of the peaks about each: the median of the large ones within 8 s."""
    usual = np.empty(len(heights))
    low = np.searchsorted(places, places - 4 * RATE)
    high = np.searchsorted(places, places + 4 * RATE, "right")
    for i in range(len(heights)):
        about = np.sort(heights[low[i] : high[i]])
        # 2 to 30 complexes stand in 8 s, among as many T waves, and noise, which is far lower: the larger
        # third of what is no noise is meant; one still larger peak may be an artefact
        about = about[about >= 0.12 * about[-min(2, len(about))]]
        usual[i] = np.median(about[-max(3, len(about) // 3) :])
    return usual


def _without_t_waves(
    places: NDArray[np.int64], heights: NDArray[np.float64], taken: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Less those peaks that follow a complex closely and are much flatter."""
    kept = taken.copy()
    last = -1
    for i in np.flatnonzero(taken):
        if last >= 0 and places[i] - places[last] < T_WAVE * RATE and heights[i] < 0.35 * heights[last]:
            kept[i] = False
        else:
            last = int(i)
    return kept


def _search_back(
    places: NDArray[np.int64],
    heights: NDArray[np.float64],
    usual: NDArray[np.float64],
    taken: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """With the highest peak of each long gap, where it reaches half of what is asked otherwise."""
    found = taken.copy()
    chosen = np.flatnonzero(taken)
    if len(chosen) < 4:
        return found
    gaps = np.diff(places[chosen])
    for k in np.flatnonzero(gaps > SEARCH_BACK * np.median(gaps)):
        a, b = chosen[k], chosen[k + 1]
        between = np.arange(a + 1, b)
        far = (places[between] - places[a] > T_WAVE * RATE) & (
            places[b] - places[between] > REFRACTORY * RATE
        )
        between = between[far]
        if len(between):
            best = between[np.argmax(heights[between])]
            found[best] |= heights[best] > 0.5 * SHARE * usual[best]
    return found


def complexes(signals: Floats) -> NDArray[np.int64]:
    """Sample numbers of the QRS complexes, at the largest deflection. signals: (2, samples), 360 Hz."""
    from scipy.signal import find_peaks

    energy = steepness(signals)
    places, _ = find_peaks(energy, distance=round(REFRACTORY * RATE))
    if len(places) == 0 or not energy.any():
        return np.zeros(0, dtype=np.int64)
    heights = energy[places]
    usual = _usual(heights, places)
    taken = _without_t_waves(places, heights, heights > SHARE * usual)
    taken = _search_back(places, heights, usual, taken)
    return np.unique(_peaks(signals, places[taken]))


def _peaks(signals: Floats, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each place moved to the largest deflection within 80 ms on the first lead that holds a signal."""
    reach = round(0.08 * RATE)
    lead = signals[0] if signals[0].any() else signals[1]
    at = np.clip(places[:, None] + np.arange(-reach, reach + 1)[None], 0, len(lead) - 1)
    about = lead[at]
    return np.asarray(at[np.arange(len(at)), np.abs(about).argmax(1)], dtype=np.int64)


def matched(found: NDArray[np.int64], true: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each found complex the index of the annotated one within MATCH, one to one; -1 for none."""
    result = np.full(len(found), -1, dtype=np.int64)
    if not len(true):
        return result
    nearest = np.clip(np.searchsorted(true, found), 1, max(len(true) - 1, 1))
    nearest = nearest - (found - true[nearest - 1] < np.abs(true[np.minimum(nearest, len(true) - 1)] - found))
    distance = np.abs(true[nearest] - found)
    for i in np.argsort(distance, kind="stable"):
        if distance[i] > MATCH * RATE:
            break
        if nearest[i] not in result:
            result[i] = nearest[i]
    return result
