"""Rows become the matrices that estimators see: trees see values, lines see curves of filled-in ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.tabular.recipe import Recipe
from models.tabular.rows import Floats

BACKGROUND = 48  #: rows that contributions are measured against
MARGIN = 0.1  #: of the range learnt, how far outside it a value may lie
SPREAD = 1e-3  #: a column that hardly varies is not blown up


def expanded(rows: Floats, recipe: Recipe) -> tuple[Floats, list[str], list[bool]]:
    """(n, columns) with logarithms, one column a category, and derived ones; their names; which are numbers.

    NaN where a number is not known; a category that is not known is 0 in each of its columns.
    """
    at = {name: place for place, name in enumerate(recipe.features)}
    columns, names, numeric = [], [], []
    for name, place in at.items():
        values, feature = rows[:, place], recipe.feature(name)
        if feature.kind == "number":
            columns.append(np.log1p(np.maximum(values, 0)) if name in recipe.logs else values)
            names.append(name)
            numeric.append(True)
            continue
        kept = list(feature.categories)[1:] if len(feature.categories) == 2 else list(feature.categories)
        for category in kept:
            columns.append((values == list(feature.categories).index(category)).astype(np.float64))
            names.append(f"{name}={category}")
            numeric.append(False)
    for derived in recipe.derived:
        first, second = (rows[:, at[name]] for name in derived.of)
        columns.append(_derived(derived.how, first, second * derived.scale))
        names.append(derived.name)
        numeric.append(True)
    for bend in recipe.bends:
        beyond = (rows[:, at[bend.of]] - bend.at) * (1 if bend.side == "above" else -1)
        columns.append(np.maximum(beyond, 0))
        names.append(f"{bend.of} {bend.side} {bend.at:g}")
        numeric.append(True)
    return np.stack(columns, axis=1), names, numeric


def _derived(how: str, first: Floats, second: Floats) -> Floats:
    if how == "product":
        return first * second
    if how == "difference":
        return first - second
    return np.asarray(np.log((np.maximum(first, 0) + 0.1) / (np.maximum(second, 0) + 0.1)))


@dataclass(frozen=True, kw_only=True)
class Design:
    """What preparation learnt from the training rows."""

    recipe: Recipe
    fill: Floats  #: (columns,) median, for what is not known
    knots: Floats  #: (columns, pieces + 1) ends of a curve's pieces; NaN where a column is no curve
    flagged: NDArray[np.bool_]  #: (columns,) whether it was ever not known
    mean: Floats  #: of the view `curves`
    scale: Floats
    plain_mean: Floats  #: of the view `plain`
    plain_scale: Floats
    low: Floats  #: (features,) the lowest value learnt
    high: Floats  #: (features,) the highest
    background: Floats  #: (BACKGROUND, features) each column drawn by itself: no row is anyone's

    def view(self, rows: Floats, name: str) -> Floats:
        """(n, columns of the view) of rows of features."""
        table, _, _ = expanded(rows, self.recipe)
        if name == "trees":
            return table
        flags = np.isnan(table)[:, self.flagged].astype(np.float64)
        filled = np.where(np.isnan(table), self.fill, table)
        if name == "plain":
            return (np.hstack([filled, flags]) - self.plain_mean) / self.plain_scale
        return (np.hstack([_curves(filled, self.knots), flags]) - self.mean) / self.scale

    def outside(self, row: Floats) -> list[int]:
        """The places of the features that lie beyond what was learnt, by over a tenth of its range."""
        room = MARGIN * (self.high - self.low)
        with np.errstate(invalid="ignore"):
            return list(np.flatnonzero((row < self.low - room) | (row > self.high + room)))


def _curves(filled: Floats, knots: Floats) -> Floats:
    """Each curve as the shares of its pieces that lie below the value; other columns as they are."""
    parts: list[Floats] = []
    for column, padded in zip(filled.T, knots, strict=True):
        ends = padded[~np.isnan(padded)]
        parts += [column] if len(ends) < 2 else _pieces(column, ends)
    return np.stack(parts, axis=1)


def _pieces(column: Floats, ends: Floats) -> list[Floats]:
    return [np.clip((column - a) / (b - a), 0, 1) for a, b in pairwise(ends)]


def _invented(rows: Floats, rng: np.random.Generator) -> Floats:
    """Rows of values drawn column by column; one that is somebody's by chance is left out."""
    drawn = np.stack([rng.choice(column, 4 * BACKGROUND) for column in rows.T], axis=1)
    strange = [not _equal(rows, one).any() for one in drawn]
    return np.asarray(drawn[strange][:BACKGROUND])


def _equal(rows: Floats, one: Floats) -> NDArray[np.bool_]:
    return np.asarray(((rows == one) | (np.isnan(rows) & np.isnan(one))).all(axis=1))


def fit(rows: Floats, recipe: Recipe, seed: int = 0) -> Design:
    """The preparation learnt from (n, features) rows."""
    rng = np.random.default_rng(seed)
    table, _, numeric = expanded(rows, recipe)
    with np.errstate(all="ignore"):
        known = [column[~np.isnan(column)] for column in table.T]
    fill = np.array([np.median(c) if len(c) else 0.0 for c in known])
    knots = np.full((table.shape[1], recipe.knots + 1), np.nan)
    for place, column in enumerate(known):
        if numeric[place] and len(np.unique(column)) > 2:
            ends = np.unique(np.quantile(column, np.linspace(0, 1, recipe.knots + 1)))
            knots[place, : len(ends)] = ends
    flagged = np.asarray(np.isnan(table).any(axis=0))
    flagged[table.shape[1] - len(recipe.bends) :] = False  # flagged already, as the feature that bends
    filled = np.where(np.isnan(table), fill, table)
    flags = np.isnan(table)[:, flagged].astype(np.float64)
    wide, plain = np.hstack([_curves(filled, knots), flags]), np.hstack([filled, flags])
    each = [column[~np.isnan(column)] for column in rows.T]
    return Design(
        recipe=recipe,
        fill=fill,
        knots=knots,
        flagged=flagged,
        mean=wide.mean(0),
        scale=np.maximum(wide.std(0), SPREAD),
        plain_mean=plain.mean(0),
        plain_scale=np.maximum(plain.std(0), SPREAD),
        low=np.array([c.min() if len(c) else -np.inf for c in each]),
        high=np.array([c.max() if len(c) else np.inf for c in each]),
        background=_invented(rows, rng),
    )
