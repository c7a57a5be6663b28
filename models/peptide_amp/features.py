"""A peptide in numbers: composition, pairs, charge, hydrophobicity, helical moment, and both ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.peptide_amp.data import LETTERS

Floats = NDArray[np.float64]
#: Kyte and Doolittle 1982
HYDROPATHY = dict(zip(
    "ARNDCQEGHILKMFPSTWYV",
    (1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5, 3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7,
     -0.9, -1.3, 4.2),
    strict=True,
))  # fmt: skip
#: Eisenberg 1984, normalised consensus
CONSENSUS = dict(zip(
    "ARNDCQEGHILKMFPSTWYV",
    (0.62, -2.53, -0.78, -0.9, 0.29, -0.85, -0.74, 0.48, -0.4, 1.38, 1.06, -1.5, 0.64, 1.19, 0.12, -0.18,
     -0.05, 0.81, 0.26, 1.08),
    strict=True,
))  # fmt: skip
#: Shen 2007: amino acids alike in dipole and volume
GROUPS = ("AGV", "ILFP", "YMTS", "HNQW", "RK", "DE", "C")
GAPS = (1, 2, 3, 4, 5)  #: distances at which pairs of groups are counted
ENDS = 6  #: amino acids looked at, at either end
HELIX, STRAND = 100.0, 160.0  #: degrees a residue turns
MOMENT = 11  #: residues over which a moment is taken

_INDEX = {letter: index for index, letter in enumerate(LETTERS)}
_GROUP = {letter: index for index, group in enumerate(GROUPS) for letter in group}


def charge(letter: str) -> int:
    """+1 of lysine and arginine, -1 of aspartate and glutamate, else 0."""
    return (letter in "KR") - (letter in "DE")


def names() -> list[str]:
    """The names of the features, in order."""
    ends = ("hydropathy", "charge", "aromatic", "glycine", "methionine", "cysteine", "proline")
    bulk = ("length", "net charge", "charge a residue", "hydrophobicity", "hydropathy", "highest hydropathy")
    moments = [f"{w} {a} moment" for a in ("helix", "strand") for w in ("highest", "mean", "whole")]
    thirds = [f"{what} of third {i}" for i in (1, 2, 3) for what in ("charge", "hydrophobicity")]
    return [
        *(f"share of {letter}" for letter in LETTERS),
        *bulk, *moments, *thirds, "share of aromatic", "cysteines",
        *(f"pair {a}{b}" for a in LETTERS for b in LETTERS),
        *(f"[{a}] and [{b}] {gap} apart" for gap in GAPS for a in GROUPS for b in GROUPS),
        *(f"{end} {i}: {what}" for end in ("start", "end") for i in range(1, ENDS + 1) for what in ends),
    ]  # fmt: skip


def table(peptides: Sequence[str]) -> Floats:
    """(n, features), in the order of `names`. X, an unknown residue, counts for nothing but length."""
    return np.array([_row(peptide) for peptide in peptides], np.float64).reshape(len(peptides), -1)


def _row(peptide: str) -> list[float]:
    size = len(peptide)
    shares = [peptide.count(letter) / size for letter in LETTERS]
    return [*shares, *_bulk(peptide), *_pairs(peptide), *_groups(peptide), *_ends(peptide)]


def _bulk(peptide: str) -> list[float]:
    size = len(peptide)
    charges = np.array([charge(letter) for letter in peptide], np.float64)
    water = np.array([HYDROPATHY.get(letter, 0.0) for letter in peptide])
    fat = np.array([CONSENSUS.get(letter, 0.0) for letter in peptide])
    thirds = np.array_split(np.arange(size), 3)
    return [
        size, charges.sum(), charges.mean(), fat.mean(), water.mean(), water.max(),
        *_moments(fat, HELIX), *_moments(fat, STRAND),
        *(float(values[third].mean()) for third in thirds for values in (charges, fat)),
        sum(letter in "FWY" for letter in peptide) / size, peptide.count("C"),
    ]  # fmt: skip


def _moments(fat: Floats, degrees: float) -> list[float]:
    """The highest, the mean and the whole hydrophobic moment a residue (Eisenberg 1984)."""
    turned = fat * np.exp(1j * np.deg2rad(degrees) * np.arange(len(fat)))
    window = min(len(fat), MOMENT)
    runs = np.abs(np.lib.stride_tricks.sliding_window_view(turned, window).sum(1)) / window
    return [float(runs.max()), float(runs.mean()), float(abs(turned.sum()) / len(fat))]


def _pairs(peptide: str) -> list[float]:
    counts = np.zeros((20, 20))
    for one, other in pairwise(peptide):
        if one in _INDEX and other in _INDEX:
            counts[_INDEX[one], _INDEX[other]] += 1
    return [float(v) for v in counts.ravel() / max(1, len(peptide) - 1)]


def _groups(peptide: str) -> list[float]:
    found: list[float] = []
    for gap in GAPS:
        counts = np.zeros((len(GROUPS), len(GROUPS)))
        for one, other in zip(peptide, peptide[gap:], strict=False):
            if one in _GROUP and other in _GROUP:
                counts[_GROUP[one], _GROUP[other]] += 1
        found += [float(v) for v in counts.ravel() / max(1, len(peptide) - gap)]
    return found


def _ends(peptide: str) -> list[float]:
    return [
        value
        for end in (peptide[:ENDS], peptide[::-1][:ENDS])
        for letter in end
        for value in (
            HYDROPATHY.get(letter, 0.0), float(charge(letter)), float(letter in "FWY"), float(letter == "G"),
            float(letter == "M"), float(letter == "C"), float(letter == "P"),
        )
    ]  # fmt: skip
