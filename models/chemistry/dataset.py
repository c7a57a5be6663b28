"""Reads molecules with their answers from a table of text, and puts equal or like ones into one fold."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.chemistry.recipe import Columns
from models.chemistry.structure import Structure, parse, scaffold

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The molecules of one file; a row whose SMILES cannot be read has no structure."""

    smiles: tuple[str, ...]
    structures: tuple[Structure | None, ...]
    answers: Floats  #: (n,) 0 or 1, or the measured value
    aims: Floats  #: (n,) what the machines learn: the answers, or the value that they were cut from

    @property
    def readable(self) -> NDArray[np.intp]:
        """The rows that have a structure."""
        return np.array([i for i, s in enumerate(self.structures) if s is not None], np.intp)

    def known(self) -> list[Structure]:
        """The structures of the readable rows."""
        return [s for s in self.structures if s is not None]


def read(path: Path, columns: Columns) -> Rows:
    """The rows of a CSV or TSV file with a heading.

    Raises ValueError, naming the column or the row, where a column lacks or an answer cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        tabs = "\t" in file.readline()
        file.seek(0)
        rows = list(csv.DictReader(file, delimiter="\t" if tabs else ","))
    if not rows:
        raise ValueError("the file has no row under its heading")
    lacking = [name for name in (columns.smiles, columns.answer) if name not in rows[0]]
    if lacking:
        raise ValueError(
            f"the heading should name {', '.join(lacking)}; it has {', '.join(map(str, rows[0]))}"
        )
    smiles = tuple((row[columns.smiles] or "").strip() for row in rows)
    answers = np.array([_answer(row[columns.answer], columns, number) for number, row in enumerate(rows, 1)])
    aims = answers
    if columns.aim and columns.aim in rows[0]:
        aims = np.array(
            [_number(row[columns.aim], columns.aim, number) for number, row in enumerate(rows, 1)]
        )
    if columns.aim and columns.aim_within is not None:
        aims = np.clip(aims, *columns.aim_within)
    return Rows(
        smiles=smiles, structures=tuple(parse(s) if s else None for s in smiles), answers=answers, aims=aims
    )


def _answer(written: str, columns: Columns, number: int) -> float:
    if not columns.classes:
        return _number(written, columns.answer, number)
    if written not in columns.classes:
        raise ValueError(f"row {number}: {columns.answer} should be one of {', '.join(columns.classes)}")
    return float(columns.classes.index(written))


def _number(written: str, column: str, number: int) -> float:
    try:
        value = float(written)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"row {number}: {column} should be a number")
    return value


def groups(structures: Sequence[Structure], by: str) -> NDArray[np.int64]:
    """(n,) numbers that molecules of one scaffold share, or ("structure") equal molecules alone.

    All molecules without a ring are one scaffold.
    """
    keys = [s.key if by == "structure" else scaffold(s.mol) for s in structures]
    return np.asarray(np.unique(keys, return_inverse=True)[1], np.int64)
