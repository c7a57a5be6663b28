"""How a peptide aligns with each reference peptide: Smith-Waterman scores, logarithms as a profile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GAP_OPEN, GAP_EXTEND = -11.0, -1.0  #: BLAST's penalties beside BLOSUM62
FLOOR = 10.0  #: added before the logarithm: chance alone gives scores of ten to twenty


@cache
def aligner() -> Any:
    """Biopython's local aligner with BLOSUM62."""
    from Bio.Align import PairwiseAligner, substitution_matrices

    found = PairwiseAligner(mode="local")  # type: ignore[no-untyped-call]
    found.substitution_matrix = substitution_matrices.load("BLOSUM62")  # type: ignore[no-untyped-call]
    found.open_gap_score, found.extend_gap_score = GAP_OPEN, GAP_EXTEND
    return found


def scores(peptides: Sequence[str], references: Sequence[str]) -> Floats:
    """(n, m) local alignment scores. X matches nothing (BLOSUM62 gives it -1)."""
    align = aligner()
    table = [[align.score(peptide, reference) for reference in references] for peptide in peptides]
    return np.array(table, np.float64).reshape(len(peptides), len(references))


def among(peptides: Sequence[str]) -> Floats:
    """(n, n) local alignment scores of the peptides with one another."""
    align, table = aligner(), np.zeros((len(peptides), len(peptides)))
    for i, one in enumerate(peptides):
        for j in range(i, len(peptides)):
            table[i, j] = table[j, i] = align.score(one, peptides[j])
    return table


def profile(table: Floats) -> Floats:
    """(n, m) the scores' logarithms, which the machine learns from."""
    return np.asarray(np.log(table + FLOOR))
