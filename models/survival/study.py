"""A family's study.toml: what its columns mean, what is predicted, and by which blend of models."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from db.errors import Abstained, Misconfigured
from models import features
from models.payloads import Payload, Table

Floats = NDArray[np.float64]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Part):
    """One column of the data. feature: of the dictionary; "" for a column that is left out, with `why`."""

    feature: str = ""
    why: str = ""
    categories: tuple[str, ...] = ()  #: category of code 0, 1, ...; of a category alone
    unknown: str = ""  #: the category that stands for "not known"; "" where it must be known
    low: float = -np.inf  #: the model was made for values from here
    high: float = np.inf  #: to here


class Term(_Part):
    """One term of the linear predictor: a column in a shape. The shapes are named in `_shaped`."""

    feature: str
    shape: Literal["plain", "log", "log1p", "decay", "square", "inverse", "above", "below", "off", "is"]
    at: float = 0.0


class Blend(_Part):
    """How the models are made, and how much each counts. 0: it is compared, and not served."""

    linear: float
    network: float
    boosting: float
    forest: float
    ridge: float = 30.0  #: of standardised terms
    hidden: tuple[int, ...] = (32,)
    dropout: float = 0.2
    decay: float = 0.1
    rate: float = 0.01
    epochs: int = 100
    networks: int = 3
    boosts: int = 120
    boost_depth: int = 4
    boost_rate: float = 0.05
    boost_features: float = 0.4
    boost_leaf: int = 20
    trees: int = 150
    forest_kind: Literal["random", "extra"] = "random"
    forest_leaf: int = 20
    forest_features: float = 0.3


class Study(_Part):
    """One family's data, question and recipe."""

    folder: Path
    title: str
    outcome: str  #: what is awaited: "death"
    slug: str  #: of the findings' codes: "death"
    unit: Literal["mo", "d"]  #: of time (UCUM)
    horizons: tuple[int, ...]  #: risks are told for these times; the last one is the curve's end
    published: str = ""  #: the C-index to compare with, and whose
    persons: bool = False  #: rows repeat persons: equal rows belong together
    columns: tuple[Column, ...]
    terms: tuple[Term, ...]
    blend: Blend

    @cached_property
    def used(self) -> tuple[int, ...]:
        """The places of the columns that the models see."""
        return tuple(i for i, c in enumerate(self.columns) if c.feature)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features of these columns."""
        return tuple(self.columns[i].feature for i in self.used)

    def row(self, payload: Table) -> Floats:
        """(used columns,) one patient's values.

        Raises Abstained: `missing-value`, `unknown-category`, `out-of-range`.
        """
        return np.array([_value(self.columns[i], payload.values) for i in self.used])

    def answers(self, rows: Floats) -> NDArray[np.bool_]:
        """(n,) whether each of (n, used columns) would be answered: `row` abstains on the others."""
        inside = np.ones(len(rows), dtype=bool)
        for values, place in zip(rows.T, self.used, strict=True):
            column = self.columns[place]
            if column.categories:
                inside &= np.isin(values, np.arange(len(column.categories)))
            else:
                inside &= (values >= column.low) & (values <= column.high)
        return inside

    def shown(self, row: Floats) -> dict[str, float | str]:
        """The row by feature name, codes as category names."""
        columns = [self.columns[i] for i in self.used]
        return {
            c.feature: c.categories[int(v)] if c.categories else round(float(v), 4)
            for c, v in zip(columns, row, strict=True)
        }

    def shaped(self, rows: Floats) -> Floats:
        """(n, terms) the linear predictor's terms of (n, used columns)."""
        at = {name: place for place, name in enumerate(self.names)}
        return np.stack([_shaped(rows[:, at[t.feature]], t) for t in self.terms], axis=1)


def _value(column: Column, values: Mapping[str, Any]) -> float:
    value = values.get(column.feature, column.unknown or None)
    if value is None:
        raise Abstained("missing-value", f"{column.feature} is not known, and the model needs it")
    if column.categories:
        if value not in column.categories:
            raise Abstained(
                "unknown-category", f"{column.feature} holds a category that the study did not have"
            )
        return float(column.categories.index(value))
    if isinstance(value, str) or not np.isfinite(value):
        raise Abstained("missing-value", f"{column.feature} is no number")
    if not column.low <= float(value) <= column.high:
        raise Abstained(
            "out-of-range",
            f"{column.feature} lies outside {column.low:g} to {column.high:g}, the study's range",
        )
    return float(value)


def _shaped(x: Floats, term: Term) -> Floats:
    shapes: dict[str, Callable[[Floats], Floats]] = {
        "plain": lambda x: x,
        "log": lambda x: np.log(np.maximum(x, 1e-3)),
        "log1p": lambda x: np.log1p(np.maximum(x, 0)),
        "decay": lambda x: np.exp(-term.at * x),
        "square": lambda x: x**2,
        "inverse": lambda x: 1 / np.maximum(x, 1e-3) ** (term.at or 1.0),
        "above": lambda x: np.maximum(x - term.at, 0),
        "below": lambda x: np.maximum(term.at - x, 0),
        "off": lambda x: np.abs(x - term.at),
        "is": lambda x: (x == term.at).astype(np.float64),
    }
    return np.asarray(shapes[term.shape](x), dtype=np.float64)


def read(folder: Path) -> Study:
    """The study in a family's folder. Raises Misconfigured with the file's name."""
    try:
        found = Study(**tomllib.loads((folder / "study.toml").read_text("utf-8")), folder=folder)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{folder.name}/study.toml: {error}") from error
    return found


def meaning(feature: str) -> str:
    """What a feature is called in words."""
    return features.dictionary()[feature].meaning


def example(folder: Path) -> Payload:
    """The invented patient of a family's folder."""
    return Table(values=json.loads((folder / "example" / "patient.json").read_text("utf-8")))


class Cohort(BaseModel):
    """A study's rows. x: (n, used columns); t: (n,) times; e: (n,) 1 where the event was seen."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    x: Floats
    t: Floats
    e: NDArray[np.int64]
    person: NDArray[np.int64]  #: (n,) rows of one person share a number

    def take(self, rows: NDArray[Any]) -> Cohort:
        """Some of the rows."""
        return Cohort(x=self.x[rows], t=self.t[rows], e=self.e[rows], person=self.person[rows])

    def once(self) -> Cohort:
        """Each person's first row alone."""
        return self.take(np.unique(self.person, return_index=True)[1])


def cohort(study: Study, path: Path) -> Cohort:
    """The rows of an npz of x, t, e. Raises ValueError when its columns are not the study's."""
    with np.load(path) as stored:
        x, t, e = (np.asarray(stored[name], dtype=np.float64) for name in ("x", "t", "e"))
    if x.ndim != 2 or x.shape[1] != len(study.columns) or not len(x) == len(t) == len(e):
        raise ValueError(
            f"expected x of (n, {len(study.columns)}), t and e of n; got {x.shape}, {t.shape}, {e.shape}"
        )
    x = x[:, study.used]
    rows = np.column_stack([x, t, e]) if study.persons else np.arange(len(x))[:, None]
    person = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return Cohort(x=x, t=t, e=e.astype(np.int64), person=person.astype(np.int64))
