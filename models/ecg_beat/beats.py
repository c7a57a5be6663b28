"""Annotated WFDB records and the beat classes of AAMI EC57."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.errors import Rejected
from models.ecg_beat.signals import Floats, clean, pick
from models.payloads import Recording

CLASSES = ("N", "S", "V", "F")
#: MIT-BIH annotation symbol -> AAMI class (EC57, table 3); paced, unclassifiable and flutter waves are none
AAMI = {
    **dict.fromkeys("NLRBejn", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
}
#: symbols that mark a QRS complex whose class is not scored: they count for the rhythm alone
UNSCORED = frozenset("/fQ?")
PACED = frozenset({"102", "104", "107", "217"})  #: EC57 3.3.2: records with paced beats are left out
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One annotated recording, as the network sees it."""

    name: str
    signals: Floats  #: (2, samples), cleaned, 360 Hz, mV; the second row is zero where there is one lead
    places: NDArray[np.int64]  #: samples of every QRS complex, ascending
    labels: Labels  #: (beats,) index in CLASSES; -1 where it is not scored


def label(symbol: str) -> int:
    """The class number of an annotation symbol; -1 for a complex that is not scored."""
    return CLASSES.index(AAMI[symbol]) if symbol in AAMI else -1


def read(path: Path) -> Record:
    """The record whose header is at `path`, with its `.atr` annotations. Raises Rejected."""
    import wfdb

    stem = str(path.with_suffix(""))
    try:
        record = wfdb.rdrecord(stem)
        notes = wfdb.rdann(stem, "atr")
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise Rejected("unreadable-record", f"{path.stem}: {type(error).__name__} on reading") from None
    kept = [i for i, s in enumerate(notes.symbol) if s in AAMI or s in UNSCORED]
    signals, rate = record.p_signal.T, float(record.fs)
    leads = pick(tuple(record.sig_name), signals)
    return Record(
        name=path.stem,
        signals=clean(signals[list(leads)], rate),
        places=np.round(notes.sample[kept] * (360.0 / rate)).astype(np.int64),
        labels=np.array([label(notes.symbol[i]) for i in kept], dtype=np.int64),
    )


def recording(path: Path) -> Recording:
    """The record whose header is at `path`, as service is given it: every lead, uncleaned, in mV."""
    import wfdb

    record = wfdb.rdrecord(str(path.with_suffix("")))
    return Recording(
        signals=record.p_signal.T.astype(np.float32), rate_hz=float(record.fs), leads=tuple(record.sig_name)
    )


def person(path: Path) -> tuple[float, str]:
    """(years of age, "M" or "F") as the header's first comment tells them: NaN and "" where it does not."""
    import wfdb

    comments = wfdb.rdheader(str(path.with_suffix(""))).comments
    age, sex = (*(comments[0].split() if comments else ()), "", "")[:2]
    return (float(age) if age.isdigit() else float("nan")), (sex if sex in ("M", "F") else "")


def folder(data: Path) -> list[Record]:
    """Every annotated, unpaced record of a folder, by name. Raises Rejected where there is none."""
    found = [p for p in sorted(data.glob("*.hea")) if p.with_suffix(".atr").is_file()]
    records = [read(p) for p in found if p.stem not in PACED]
    if not records:
        raise Rejected("unknown-layout", "expected a folder of WFDB records: .hea, .dat and .atr")
    return records


def counts(labels: Sequence[int]) -> dict[str, int]:
    """How many beats of each class."""
    return {name: int(np.sum(np.asarray(labels) == i)) for i, name in enumerate(CLASSES)}


def pieces(record: Record, seconds: float) -> list[Record]:
    """The record in pieces of about so many seconds that hold four beats or more, as short ECGs are."""
    count = max(1, round(record.signals.shape[1] / (seconds * 360)))
    edges = np.linspace(0, record.signals.shape[1], count + 1).astype(np.int64)
    found = []
    for start, end in itertools.pairwise(edges):
        inside = (record.places >= start) & (record.places < end)
        if inside.sum() >= 4:
            found.append(
                Record(
                    name=record.name,
                    signals=record.signals[:, start:end],
                    places=record.places[inside] - start,
                    labels=record.labels[inside],
                )
            )
    return found
