"""Reads the splice-junction set: windows of 60 bases with their class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.splice_site.kernel import WINDOW

CLASSES = ("EI", "IE", "N")  #: exon to intron (donor), intron to exon (acceptor), neither


def read(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """(windows, class indices) of an ARFF file whose rows are name, 60 bases, class.

    Raises ValueError, naming the line, on a row of another length or class.
    """
    windows, labels = [], []
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    for _, line in lines:
        if line.strip().lower() == "@data":
            break
    for number, line in lines:
        if not line.strip() or line.startswith("%"):
            continue
        _, *bases, label = (part.strip().strip("'\"") for part in line.split(","))
        if len(bases) != WINDOW or label not in CLASSES:
            raise ValueError(
                f"line {number}: expected a name, {WINDOW} bases and one of {', '.join(CLASSES)}"
            )
        windows.append("".join(bases).upper())
        labels.append(CLASSES.index(label))
    if not windows:
        raise ValueError("no row after @data")
    return windows, np.array(labels)


def groups(windows: list[str]) -> NDArray[np.int64]:
    """(n,) one number for all equal windows, so that they stay in one fold."""
    return np.asarray(np.unique(windows, return_inverse=True)[1], np.int64)


def splits(
    windows: list[str], labels: NDArray[np.int64], folds: int, seed: int = 0
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(training rows, other rows) of each fold: classes spread evenly, equal windows together."""
    from models.training import splits as kit

    return kit.pairs(kit.folds(labels, groups(windows), folds, seed))
