"""Reads the peptide set: antimicrobial peptides and decoys in FASTA files, and clusters what is alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
LABELS = {"AMP": 1, "DECOY": 0}
ALIKE = 0.6  #: peptides with so much of their own alignment score in common are of one cluster


def read(folder: Path) -> tuple[list[str], NDArray[np.int64]]:
    """(peptides, 1 antimicrobial or 0 not) of every `AMP.*.fa` and `DECOY.*.fa` in the folder.

    Raises ValueError, naming the file, on a letter that is no standard amino acid, and without both.
    """
    from Bio import SeqIO

    peptides: list[str] = []
    labels: list[int] = []
    for name, label in LABELS.items():
        for path in sorted(folder.glob(f"{name}.*.fa")):
            with path.open(encoding="ascii") as file:
                records = SeqIO.parse(file, "fasta")  # type: ignore[no-untyped-call]
                found = [str(record.seq).upper() for record in records]
            if any(not peptide or set(peptide) - set(LETTERS) for peptide in found):
                raise ValueError(f"{path.name}: a peptide is empty or has a letter that is no amino acid")
            peptides += found
            labels += [label] * len(found)
    if set(labels) != {0, 1}:
        raise ValueError("expected files AMP.*.fa and DECOY.*.fa with peptides")
    return peptides, np.array(labels)


def clusters(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) a number for peptides that are linked by likeness, from the table of alignment scores."""
    from scipy.sparse.csgraph import connected_components

    own = np.sqrt(np.diag(scores))
    return np.asarray(connected_components(scores / own / own[:, None] > ALIKE)[1], np.int64)


def splits(
    labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int, seed: int = 0
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(training rows, other rows) of each fold: classes spread evenly, clusters together."""
    from models.training import splits as kit

    return kit.pairs(kit.folds(labels, groups, folds, seed))
