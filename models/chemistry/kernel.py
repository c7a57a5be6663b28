"""The kernel machine: ridge regression on how like a molecule is to each one of the training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.chemistry.features import CLIP, STEP, Floats, Seen, Table, squeezed, stretched, table

CHUNK = 512  #: molecules compared at once, which bounds the memory
Arrays = dict[str, NDArray[Any]]


def tanimoto(ones: Table, others: Table) -> Floats:
    """(n, m) shared over all fragments, copies counted: the MinMax kernel of counts (Ralaivola 2005).

    Two molecules without any fragment are equal.
    """
    shared = np.asarray((ones @ others.T).todense(), np.float64)
    sizes = np.asarray(ones.sum(1)).reshape(-1, 1), np.asarray(others.sum(1)).reshape(1, -1)
    union = sizes[0] + sizes[1] - shared
    return np.asarray(np.where(union > 0, shared / np.maximum(union, 1), 1.0))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How descriptors are standardised."""

    mean: Floats
    spread: Floats  #: standard deviation; 0 of a descriptor that never varied

    @property
    def usual(self) -> Floats:
        """(descriptors,) the values that are neither high nor low."""
        return stretched(self.mean)

    def __call__(self, descriptors: Floats) -> NDArray[np.int8]:
        """(n, descriptors) whole numbers of STEP standard deviations, cut at CLIP."""
        drawn = (
            (squeezed(descriptors) - self.mean)
            * (self.spread > 0)
            / np.where(self.spread > 0, self.spread, 1)
        )
        return np.asarray(np.round(np.clip(drawn, -CLIP, CLIP) / STEP), np.int8)


def scale(descriptors: Floats) -> Scale:
    """The scale of a training set."""
    drawn = squeezed(descriptors)
    spread = drawn.std(0)
    return Scale(mean=drawn.mean(0), spread=np.where(spread > 1e-6, spread, 0.0))


@dataclass(frozen=True, kw_only=True)
class Library:
    """The training molecules, to which others are compared."""

    exact: Table
    roles: Table
    steps: NDArray[np.int8]  #: (n, descriptors)
    scale: Scale

    def alike(self, seen: Seen) -> tuple[Floats, Floats]:
        """(n, m) similarities by fragments (the mean of both kinds) and by ECFP6 alone."""
        exact = tanimoto(seen.exact, self.exact)
        return (exact + tanimoto(seen.roles, self.roles)) / 2, exact

    def near(self, seen: Seen) -> Floats:
        """(n, m) mean squared distance of the standardised descriptors."""
        ones = self.scale(seen.descriptors).astype(np.float64) * STEP
        others = self.steps.astype(np.float64) * STEP
        squares = (ones**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * ones @ others.T
        return np.asarray(np.maximum(squares, 0) / max(1, ones.shape[1]))

    def arrays(self) -> Arrays:
        """What `library` needs to make it again."""
        found: Arrays = {"steps": self.steps, "mean": self.scale.mean, "spread": self.scale.spread}
        for name, rows in (("exact", self.exact), ("roles", self.roles)):
            found[f"{name}.columns"] = rows.indices.astype(np.uint16)
            found[f"{name}.sizes"] = np.diff(rows.indptr).astype(np.uint16)
        return found


def library(arrays: Mapping[str, NDArray[Any]]) -> Library:
    """The library that `Library.arrays` told."""
    tables = {}
    for name in ("exact", "roles"):
        ends = np.cumsum(arrays[f"{name}.sizes"].astype(np.int64))[:-1]
        tables[name] = table(np.split(arrays[f"{name}.columns"].astype(np.int64), ends))
    return Library(**tables, steps=arrays["steps"], scale=Scale(mean=arrays["mean"], spread=arrays["spread"]))


def gathered(seen: Seen) -> tuple[Library, NDArray[np.intp]]:
    """The library of a training set, and (n,) each row's place in it: rows that look equal share one."""
    own = scale(seen.descriptors)
    steps = own(seen.descriptors)
    keys = [
        b"|".join((_places(seen.exact, i), _places(seen.roles, i), steps[i].tobytes()))
        for i in range(len(seen))
    ]
    _, first, place = np.unique(np.array(keys, object), return_index=True, return_inverse=True)
    kept = seen.take(first)
    return Library(exact=kept.exact, roles=kept.roles, steps=steps[first], scale=own), place.reshape(-1)


def _places(rows: Table, row: int) -> bytes:
    """The columns that are set in a row."""
    return bytes(rows.indices[rows.indptr[row] : rows.indptr[row + 1]].tobytes())


def mixed(alike: Floats, near: Floats, share: float, width: float) -> Floats:
    """The kernel of both similarities, the descriptors' having this share: 1 between equal molecules."""
    return np.asarray((1 - share) * alike + share * np.exp(-width * near))


def ridge(gram: Floats, aims: Floats, strength: float, copies: Floats | None = None) -> tuple[Floats, float]:
    """(m,) coefficients and the offset (the mean aim) of kernel ridge regression.

    copies: (m,) how many rows each one stands for, aims then being their means; the same answers come out.
    """
    from scipy.linalg import cho_factor, cho_solve

    offset = float(np.average(aims, weights=copies))
    held = gram.copy()
    held[np.diag_indices_from(held)] += strength / (1.0 if copies is None else copies)
    return np.asarray(cho_solve(cho_factor(held, overwrite_a=True), aims - offset)), offset


def support(
    gram: Floats, place: NDArray[np.intp], answers: Floats, penalty: float, *, classify: bool
) -> tuple[Floats, float]:
    """(m,) coefficients, many of them 0, and the offset of support vectors for classes or values.

    place: (n,) which of the m molecules each answer is of; several may be of one, and contradict.
    """
    from sklearn.svm import SVC, SVR

    pairs, copies = np.unique(np.stack([place, answers]), axis=1, return_counts=True)
    own = pairs[0].astype(np.intp)
    fitted: Any = SVC(kernel="precomputed", C=penalty) if classify else SVR(kernel="precomputed", C=penalty)
    fitted.fit(gram[np.ix_(own, own)], pairs[1], sample_weight=copies)
    found = np.bincount(own[fitted.support_], fitted.dual_coef_[0], minlength=len(gram))
    return np.asarray(found, np.float64), float(fitted.intercept_[0])
