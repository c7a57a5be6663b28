"""The opened model: finds the beats of an ECG, judges each, and says how many are early and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db.errors import Abstained
from db.records import LOINC, SNOMED, WETREAD, Code, Diagnosis, Finding
from models.backends import REFERENCE
from models.card import ModelCard
from models.ecg_beat.beats import CLASSES
from models.ecg_beat.detect import complexes
from models.ecg_beat.judge import Judge, Judged
from models.ecg_beat.signals import RATE, Floats, clean, pick
from models.ecg_beat.windows import BEAT, NAMES, QRS, cut
from models.payloads import Payload, Recording

RATES = (100.0, 2_000.0)  #: Hz of a recording that is read
SHORTEST = 10.0  #: seconds, a standard ECG's length
LONGEST = 48 * 3600.0  #: seconds
FEWEST = 6  #: beats
HEART_RATES = (25.0, 250.0)  #: beats a minute that are believed
HEIGHTS = (0.1, 20.0)  #: millivolts from trough to peak of the usual QRS complex that are believed
NOISE = 0.5  #: likeness of beats to their median under which, as the median of all, there is no ECG
GAPS = 0.2  #: share of missing samples that is too much
LISTED = 400  #: beats that a finding lists at most
STRIP = 10.0  #: seconds of the strip that shows a finding
CODES = {
    "S": Code(value="63593006", system=SNOMED, meaning="Supraventricular premature beats"),
    "V": Code(value="17338001", system=SNOMED, meaning="Ventricular premature beats"),
    "F": Code(value="13640000", system=SNOMED, meaning="Fusion beats"),
}
HEART_RATE = Code(value="8867-4", system=LOINC, meaning="Heart rate")
IRREGULAR = Code(
    value="irregular-rhythm", system=WETREAD, meaning="Rhythm irregular as in atrial fibrillation"
)
_EARLY, _LIKENESS, _WIDTH, _ATRIAL = (
    NAMES.index(n) for n in ("pre/10", "qrs likeness 1", "width 1", "p likeness 1")
)


@dataclass(frozen=True, kw_only=True)
class Read:
    """A recording with its beats found and judged."""

    places: NDArray[np.int64]  #: samples at 360 Hz
    original: NDArray[np.int64]  #: the same in samples of the recording as it was given
    judged: Judged
    leads: tuple[str, ...]  #: those read
    seconds: float
    rate: float  #: beats a minute


class EcgBeat:
    """The model, its networks on the device."""

    def __init__(self, card: ModelCard, device: str) -> None:
        self.card = card
        self.device = device
        self.backend = REFERENCE
        self.judge = Judge(card.folder, device)

    def use(self, backend: str) -> None:
        """Computes the networks by another back-end; all else of a reading is the same."""
        self.judge.use(backend)
        self.backend = backend

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a recording, in order; a recording that it was not made for abstains alone."""
        found = []
        for payload in payloads:
            try:
                found.append(self._diagnosis(self.read(payload)))
            except Abstained as reason:
                found.append(Diagnosis.abstain(reason.code, reason.sentence))
        return found

    def read(self, payload: Payload) -> Read:
        """The recording's beats, judged. Raises Abstained."""
        recording, leads = _readable(payload)
        signals = clean(recording.signals[list(leads)], recording.rate_hz)
        places = complexes(signals)
        places = places[(places > 0) & (places < signals.shape[1] - 1)]
        seconds = signals.shape[1] / RATE
        rate = _plausible(signals, places, seconds)
        judged = self.judge.judge(signals, places)
        return Read(
            places=places,
            original=np.round(places * (recording.rate_hz / RATE)).astype(np.int64),
            judged=judged,
            leads=tuple(recording.leads[i] for i in leads),
            seconds=seconds,
            rate=rate,
        )

    def _diagnosis(self, read: Read) -> Diagnosis:
        kinds = tuple(self._kind(read, name) for name in ("V", "S", "F"))
        return Diagnosis(findings=(*kinds, _heart_rate(read), self._irregular(read)))

    def _kind(self, read: Read, name: str) -> Finding:
        """How many beats of one class, which, and what sets them apart."""
        number = CLASSES.index(name)
        mine = np.flatnonzero(read.judged.classes == number)
        chances = read.judged.probabilities[:, number]
        threshold = self.card.threshold(name)
        best = int(chances.argmax())
        return Finding(
            code=CODES[name],
            positive=bool(chances[best] >= threshold),
            probability=float(chances[best]),
            threshold=threshold,
            value=float(len(mine)),
            unit="{beats}",
            evidence={
                "kind": "beats",
                "class": name,
                "share_percent": round(100 * len(mine) / len(read.places), 2),
                "per_hour": round(3600 * len(mine) / read.seconds, 1),
                "of": len(read.places),
                "beats": [_beat(read, int(i)) for i in mine[:LISTED]],
                "unlisted": max(0, len(mine) - LISTED),
                "apart": _apart(read, mine),
                **_strip(read, best if not len(mine) else _busiest(read, mine, chances)),
            },
        )

    def _irregular(self, read: Read) -> Finding:
        share = float(read.judged.fibrillating.mean())
        about = np.flatnonzero(read.judged.fibrillating)
        threshold = self.card.threshold("irregular")
        return Finding(
            code=IRREGULAR,
            positive=share >= threshold,
            threshold=threshold,
            value=round(100 * share, 1),
            unit="%",
            evidence={
                "kind": "rhythm",
                "beats_in_it": len(about),
                "of": len(read.places),
                "recurrence": round(float(np.median(read.judged.numbers[:, NAMES.index("recurrence")])), 3),
                **_strip(read, int(about[len(about) // 2]) if len(about) else 0),
            },
        )


def _readable(payload: Payload) -> tuple[Recording, tuple[int, ...]]:
    """The recording and the rows of its leads that are read. Raises Abstained."""
    if not isinstance(payload, Recording):
        raise Abstained(
            "not-a-recording", f"the payload is a {type(payload).__name__.lower()}, an ECG was expected"
        )
    if not RATES[0] <= payload.rate_hz <= RATES[1]:
        raise Abstained("sampling-rate", f"{payload.rate_hz:g} Hz; {RATES[0]:g} to {RATES[1]:g} are read")
    seconds = payload.signals.shape[1] / payload.rate_hz
    if seconds < SHORTEST:
        raise Abstained("too-short", f"{seconds:.1f} s; at least {SHORTEST:g} are asked")
    if seconds > LONGEST:
        raise Abstained("too-long", f"{seconds / 3600:.1f} h; at most {LONGEST / 3600:g} are read")
    named = pick(payload.leads, np.broadcast_to([[0.0, 1.0]], (len(payload.leads), 2)))
    if not named:
        raise Abstained(
            "no-lead", "none of the leads is one that the model knows: II, MLII, I, III, aVF, V3 to V6"
        )
    leads = pick(payload.leads, payload.signals)
    if not leads:
        raise Abstained("flat", "no lead that the model knows holds a signal")
    missing = float(np.mean(~np.isfinite(payload.signals[leads[0]])))
    if missing > GAPS:
        raise Abstained("gaps", f"{missing:.0%} of the samples are missing, at most {GAPS:.0%} are borne")
    return payload, leads


def _plausible(signals: Floats, places: NDArray[np.int64], seconds: float) -> float:
    """Beats a minute. Raises Abstained where what was found is no heart's beats."""
    if len(places) < FEWEST:
        raise Abstained("few-beats", f"{len(places)} beats were found, at least {FEWEST} are asked")
    rate = 60 * (len(places) - 1) * RATE / float(places[-1] - places[0])
    covered = float(places[-1] - places[0]) / RATE / seconds
    if not HEART_RATES[0] <= rate <= HEART_RATES[1] or covered < 0.5:
        raise Abstained(
            "heart-rate", f"{rate:.0f} beats a minute over {covered:.0%} of the time is not believed"
        )
    waves = cut(signals[0], places, BEAT)[:, QRS]
    height = float(np.median(np.ptp(waves, axis=1)))
    if not HEIGHTS[0] <= height <= HEIGHTS[1]:
        raise Abstained(
            "amplitude",
            f"the usual complex is {height:.3g} mV high; {HEIGHTS[0]} to {HEIGHTS[1]} are believed",
        )
    middle = np.median(waves, axis=0)
    likeness = np.median([np.corrcoef(w, middle)[0, 1] if np.ptp(w) > 0 else 0.0 for w in waves])
    if likeness < NOISE:
        raise Abstained("noise", f"the beats' likeness to their median is {likeness:.2f}, {NOISE} is asked")
    return rate


def _beat(read: Read, place: int) -> dict[str, object]:
    number = int(read.judged.classes[place])
    return {
        "sample": int(read.original[place]),
        "seconds": round(float(read.places[place]) / RATE, 3),
        "class": CLASSES[number],
        "probability": round(float(read.judged.probabilities[place, number]), 4),
    }


def _apart(read: Read, mine: NDArray[np.int64]) -> dict[str, float]:
    """What sets these beats apart from the recording's N beats: medians of both."""
    others = np.flatnonzero(read.judged.classes == 0)
    if not len(mine) or not len(others):
        return {}
    a, b = (np.median(read.judged.numbers[rows], axis=0).astype(float) for rows in (mine, others))
    return {
        "interval_before_percent_of_the_neighbours": round(100 * float(np.exp(a[_EARLY])), 1),
        "qrs_likeness": round(a[_LIKENESS], 3),
        "qrs_likeness_of_n": round(b[_LIKENESS], 3),
        "qrs_spread_ms": round(100 * a[_WIDTH], 1),
        "qrs_spread_ms_of_n": round(100 * b[_WIDTH], 1),
        "p_wave_likeness": round(a[_ATRIAL], 3),
        "p_wave_likeness_of_n": round(b[_ATRIAL], 3),
    }


def _busiest(read: Read, mine: NDArray[np.int64], chances: NDArray[np.float64]) -> int:
    """The beat of these about which a strip shows most of them, the surest first among equals."""
    at = read.places[mine]
    half = STRIP / 2 * RATE
    about = np.searchsorted(at, at + half) - np.searchsorted(at, at - half)
    return int(mine[np.lexsort((-chances[mine], -about))[0]])


def _strip(read: Read, place: int) -> Mapping[str, object]:
    """A strip of STRIP seconds about a beat: where it lies, its leads, and every beat on it."""
    middle = float(read.places[place]) / RATE
    start = float(np.clip(middle - STRIP / 2, 0, max(read.seconds - STRIP, 0)))
    inside = np.flatnonzero((read.places >= start * RATE) & (read.places < (start + STRIP) * RATE))
    return {
        "strip": {
            "start_seconds": round(start, 3),
            "stop_seconds": round(min(start + STRIP, read.seconds), 3),
            "leads": list(read.leads),
            "beats": [_beat(read, int(i)) for i in inside],
        }
    }


def _heart_rate(read: Read) -> Finding:
    gaps = np.diff(read.places) / RATE
    return Finding(
        code=HEART_RATE,
        positive=None,
        value=round(read.rate, 1),
        unit="/min",
        evidence={
            "kind": "rate",
            "beats": len(read.places),
            "seconds": round(read.seconds, 1),
            "longest_interval_seconds": round(float(gaps.max()), 3),
            "shortest_interval_seconds": round(float(gaps.min()), 3),
            **_strip(read, int(np.argmax(gaps))),
        },
    )
