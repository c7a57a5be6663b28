"""Named values become rows of numbers: a category is its place in the schema, NaN is what is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.features import Feature
from models.payloads import Value
from models.tabular import files
from models.tabular.recipe import Recipe

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set as a recipe sees it."""

    rows: Floats  #: (n, features)
    labels: NDArray[np.int64]  #: (n,) places in the recipe's classes
    helpers: Floats  #: (n, helpers) NaN where not known
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: what subgroups -> one name a row

    def take(self, places: NDArray[np.int64]) -> Data:
        """Some of the rows, without their subgroups."""
        return Data(rows=self.rows[places], labels=self.labels[places], helpers=self.helpers[places])


def row(values: Mapping[str, Value], recipe: Recipe) -> Floats:
    """(features,) of one patient; NaN where nothing is known. Raises ValueError on a value of no category."""
    found = [_number(_given(values, name, recipe), recipe.feature(name), name) for name in recipe.features]
    return np.array(found, dtype=np.float64)


def _given(values: Mapping[str, Value], name: str, recipe: Recipe) -> Value | None:
    """The feature's own value, or that of the one that may hold it, if it can mean this."""
    if name in values:
        return values[name]
    other = values.get(recipe.also.get(name, ""))
    return other if other in recipe.feature(name).categories else None


def _number(value: Value | None, feature: Feature, name: str) -> float:
    if value is None:
        return math.nan
    if feature.kind == "category":
        names = list(feature.categories)
        if value not in names:
            raise ValueError(f"{name} is not one of {', '.join(names)}")
        return float(names.index(str(value)))
    number = float(value)
    low, high = feature.low, feature.high
    if (
        not math.isfinite(number)
        or (low is not None and number < low)
        or (high is not None and number > high)
    ):
        raise ValueError(f"{name} is outside {low}..{high} {feature.unit}")
    return number


def spoken(number: float, feature: Feature) -> float | str | None:
    """What a row's number means: the category's name, the number, or None where not known."""
    if math.isnan(number):
        return None
    return list(feature.categories)[int(number)] if feature.kind == "category" else round(float(number), 4)


def load(path: Path, recipe: Recipe) -> Data:
    """The data set at the path. Raises ValueError, naming row and column, for a cell that cannot be meant."""
    columns = files.read(path)
    wanted = [recipe.columns.get(name, name) for name in recipe.features]
    if lacking := [name for name in (*wanted, recipe.target) if name not in columns]:
        raise ValueError(f"columns are missing: {', '.join(lacking)}")
    table = [_column(columns[c], name, recipe) for name, c in zip(recipe.features, wanted, strict=True)]
    places = {label: i for i, one in enumerate(recipe.classes) for label in one.labels}
    labels = [places.get(str(cell)) for cell in columns[recipe.target]]
    if None in labels:
        raise ValueError(f"row {labels.index(None) + 1}: {recipe.target} is no label of the recipe")
    groups = {
        title: tuple(cell or "unknown" for cell in columns[c])
        for c, title in recipe.groups.items()
        if c in columns
    }
    return Data(
        rows=np.array(table, dtype=np.float64).T.reshape(len(labels), -1),
        labels=np.array(labels, dtype=np.int64),
        helpers=_helpers(columns, recipe, len(labels)),
        groups=groups,
    )


def _helpers(columns: files.Columns, recipe: Recipe, n: int) -> Floats:
    """(n, helpers); a column that the file does not have is not known of anyone."""
    table = np.full((n, len(recipe.helpers)), np.nan)
    for place, helper in enumerate(recipe.helpers):
        cells = columns.get(helper.column, [None] * n)
        if helper.how == "is":
            known = [math.nan if cell is None else float(cell == helper.word) for cell in cells]
            table[:, place] = known
            continue
        values = np.array([math.nan if cell is None else float(cell) for cell in cells])
        if helper.how == "log":
            values = np.log(np.maximum(values, helper.least))
        elif helper.how == "logit":
            share = np.clip(values, 0.003, 0.997)
            values = np.log(share / (1 - share))
        table[:, place] = values
    return table


def _column(cells: list[str | None], name: str, recipe: Recipe) -> list[float]:
    feature = recipe.feature(name)
    known = {word.lower(): category for word, category in feature.synonyms.items()}
    known |= {category: category for category in feature.categories}
    gone = recipe.absent.get(name, ())
    found = []
    for number, cell in enumerate(cells, 1):
        if cell is None or cell in gone:
            found.append(math.nan)
            continue
        try:
            plain: Value = float(cell) if feature.kind == "number" else known.get(cell.lower(), cell)
            found.append(_number(plain, feature, name))
        except ValueError:
            raise ValueError(f"row {number}: {name} cannot be read") from None
    return found
