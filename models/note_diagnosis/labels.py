"""The diseases told apart, their codes, and the labelled texts they are learnt from."""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Disease:
    """One output of the model."""

    label: str  #: as the training data spells it
    code: str  #: ICD-10-CM
    meaning: str


@cache
def diseases() -> tuple[Disease, ...]:
    """The diseases in the order of the model's outputs."""
    listed = tomllib.loads((HERE / "labels.toml").read_text("utf-8"))["disease"]
    return tuple(Disease(**entry) for entry in listed)


def read(data: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Texts and class indices of a csv with columns label, text.

    Raises ValueError, naming the line, when a label is none of the diseases.
    """
    index = {d.label.casefold(): i for i, d in enumerate(diseases())}
    texts: list[str] = []
    labels: list[int] = []
    with data.open(encoding="utf-8", errors="replace", newline="") as lines:
        for row in csv.DictReader(lines):
            label = (row.get("label") or "").strip().casefold()
            if label not in index:
                raise ValueError(f"{data.name}: row {len(texts) + 1}: the label is none of the 24 diseases")
            texts.append(row.get("text") or "")
            labels.append(index[label])
    if not texts:
        raise ValueError(f"{data.name}: no rows; expected a csv with columns label, text")
    return texts, np.array(labels, dtype=np.int64)


def strangers() -> dict[str, list[str]]:
    """Invented texts that tell of none of the diseases, by kind."""
    found: dict[str, list[str]] = tomllib.loads((HERE / "strangers.toml").read_text("utf-8"))
    return found
