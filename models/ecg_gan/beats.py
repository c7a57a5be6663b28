"""The real beats that the generator learns from and is measured on: 128 points about each QRS complex."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ecg_beat.beats import Record, folder
from models.ecg_beat.windows import BEAT, QRS, cut
from models.ecg_gan import CLASSES, HERE
from models.synthesis.family import Family
from models.synthesis.measures import Real
from models.synthesis.wgan import Floats, Labels

REACH = 3.0  #: a beat's points are in usual QRS heights, over this: what is beyond is cut to -1..1
SHARE = 3  #: every so manieth record is kept from the generator, whole
HELD = 10  #: of the others' beats every so manieth
Samples = tuple[Floats, Labels, NDArray[np.int64]]


def beats(record: Record) -> tuple[Floats, Labels]:
    """(beats, 1, 128) of the first lead within -1..1, and their classes; F and unscored are left out."""
    waves = cut(record.signals[0], record.places, BEAT)
    height = float(np.median(np.ptp(waves[:, QRS], axis=1)))
    kept = (record.labels >= 0) & (record.labels < len(CLASSES))
    scaled = np.clip(waves[kept] / max(height * REACH, 1e-3), -1, 1).astype(np.float32)
    return scaled[:, None], record.labels[kept]


def gather(records: list[Record]) -> Samples:
    """Samples, classes, and the number of the record that each is of."""
    found = [beats(r) for r in records]
    numbers = [np.full(len(labels), i) for i, (_, labels) in enumerate(found)]
    return (
        np.concatenate([x for x, _ in found]),
        np.concatenate([y for _, y in found]),
        np.concatenate(numbers),
    )


def split(records: list[Record]) -> tuple[list[Record], list[Record]]:
    """(learnt from, kept away): of the records ranked by their S beats every third is kept away, whole."""
    ranked = sorted(records, key=lambda r: (-int((r.labels == 1).sum()), -int((r.labels == 2).sum()), r.name))
    away = ranked[1::SHARE]
    return [r for r in ranked if r not in away], away


def real(data: Path) -> Real:
    """The beats of a folder of annotated WFDB records in their roles. Raises Rejected on another layout."""
    records = folder(data)
    ours, others = split(records)
    samples, labels, _ = gather(ours)
    held = np.arange(len(labels)) % HELD == 0
    test, test_labels, groups = gather(others or ours)
    return Real(
        learn=samples[~held],
        learn_labels=labels[~held],
        held=samples[held],
        held_labels=labels[held],
        test=test,
        test_labels=test_labels,
        groups=groups,
    )


FAMILY = Family(
    here=HERE,
    classes=CLASSES,
    tall=False,
    rare="S",
    real=real,
    kept="the records kept away",
)
