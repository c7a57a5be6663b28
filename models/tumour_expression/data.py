"""Reads the tumour set: tables of 2,308 expressions a sample, and the class numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

ICDO = "http://terminology.hl7.org/CodeSystem/icd-o-3"
GENES = tuple(f"V{i}" for i in range(1, 2309))  #: the set names its genes by their place alone


@dataclass(frozen=True, kw_only=True)
class Tumour:
    """One of the four classes; `number` is the set's own."""

    number: int
    short: str
    code: str  #: ICD-O-3 morphology
    meaning: str


#: The set has numbers only. Its training counts (8, 23, 12, 20) are those of BL, EWS, NB and RMS in
#: Khan 2001, table of samples, and so are its test counts (3, 6, 6, 5).
TUMOURS = (
    Tumour(number=1, short="BL", code="9687/3", meaning="Burkitt lymphoma"),
    Tumour(number=2, short="EWS", code="9260/3", meaning="Ewing sarcoma"),
    Tumour(number=3, short="NB", code="9500/3", meaning="Neuroblastoma"),
    Tumour(number=4, short="RMS", code="8900/3", meaning="Rhabdomyosarcoma"),
)


def _table(path: Path) -> Floats:
    """(samples, 2,308) in the order of GENES. Raises ValueError on other columns."""
    header, *rows = path.read_text("utf-8").splitlines()
    names = [name.strip().strip('"') for name in header.split(",")]
    if set(names) != set(GENES) or len(names) != len(GENES):
        raise ValueError(f"{path.name}: expected the columns V1 to V2308, got {len(names)} columns")
    values = np.array([[float(cell) for cell in row.split(",")] for row in rows if row.strip()])
    place = {name: index for index, name in enumerate(names)}
    return np.asarray(values[:, [place[name] for name in GENES]], np.float64)


def _classes(path: Path) -> Labels:
    """(samples,) indices into TUMOURS. Raises ValueError on another number."""
    numbers = [int(line.strip().strip('"')) for line in path.read_text("utf-8").split()[1:]]
    if not set(numbers) <= {tumour.number for tumour in TUMOURS}:
        raise ValueError(f"{path.name}: expected class numbers 1 to 4")
    return np.array(numbers, np.int64) - 1


def read(folder: Path) -> tuple[Floats, Labels]:
    """(samples, 2,308) expressions and (samples,) class indices of a folder's `*_x*.csv` and `*_y*.csv`.

    Raises ValueError when a table has no classes beside it, or another number of them.
    """
    tables, classes = [], []
    for path in sorted(folder.glob("*_x*.csv")):
        beside = path.with_name(path.name.replace("_x", "_y"))
        if not beside.is_file():
            raise ValueError(f"{path.name}: {beside.name} is missing")
        tables.append(_table(path))
        classes.append(_classes(beside))
        if len(tables[-1]) != len(classes[-1]):
            raise ValueError(f"{path.name}: {len(tables[-1])} samples, but {len(classes[-1])} classes")
    if not tables:
        raise ValueError("no table named *_x*.csv")
    return np.concatenate(tables), np.concatenate(classes)


def splits(labels: Labels, folds: int, seed: int = 0) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(training rows, other rows) of each fold, the classes spread evenly."""
    from models.training import splits as kit

    return kit.pairs(kit.folds(labels, None, folds, seed))


def centred(weights: Sequence[float] | Floats) -> Floats:
    """The weights less their mean over the classes (last axis)."""
    table = np.asarray(weights, np.float64)
    return np.asarray(table - table.mean(-1, keepdims=True))
