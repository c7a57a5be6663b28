"""The kernel machine and trees of a family, blended and calibrated, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.chemistry import forest, kernel
from models.chemistry.features import Floats, Seen
from models.chemistry.recipe import Recipe, Trees
from models.estimators import Predictor, pack, unpack

FILE = "model.safetensors"
FOREST = "forest."  #: what the names of its arrays begin with
UNMEASURED = np.zeros(3)


@dataclass(frozen=True, kw_only=True)
class Blend:
    """Members' scores to the answer: a value, or the log-odds of yes."""

    weights: Floats  #: (members,)
    offset: float

    def __call__(self, scores: Floats) -> Floats:
        """(n,) of (n, members)."""
        return np.asarray(scores @ self.weights + self.offset)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a machine says of some molecules."""

    raw: Floats  #: (n,) values, or log-odds
    likeness: Floats  #: (n,) Tanimoto similarity to the likest training molecule, ECFP6 counts


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The fitted machines of one family."""

    recipe: Recipe
    names: tuple[str, ...]  #: of the descriptors
    library: kernel.Library
    coefficients: Floats  #: (2, library) of kernel ridge and of the support vectors
    offsets: Floats  #: (2,)
    packed: kernel.Arrays  #: the trees of both kinds, as they are saved
    trees: tuple[Predictor, ...]  #: boosted
    forest: Predictor | None
    blend: Blend
    base: float  #: share of yes, or mean value, of the training set: the answer to what cannot be read
    errors: (
        Floats  #: (3,) a likeness, and the size that 95 % of out-of-fold errors keep to below and from it on
    )

    def scores(self, seen: Seen) -> tuple[Floats, Floats]:
        """(n, members) scores in the order of the recipe's members, and (n,) likeness."""
        columns, likeness = [], []
        for start in range(0, len(seen), kernel.CHUNK):
            part = seen.take(np.arange(start, min(start + kernel.CHUNK, len(seen))))
            alike, exact = self.library.alike(part)
            grams = mixtures(alike, self.library.near(part), self.recipe)
            linear = [g @ c + o for g, c, o in zip(grams, self.coefficients, self.offsets, strict=True)]
            boosted = np.mean([tree.predict(tree_table(part, self.library)) for tree in self.trees], axis=0)
            shown = [self.forest.predict(forest.wide(part, self.library.scale))] if self.forest else []
            columns.append(np.stack([*linear, boosted, *shown], axis=1))
            likeness.append(exact.max(1))
        return np.concatenate(columns), np.concatenate(likeness)

    def answer(self, seen: Seen) -> Answer:
        """The blended answers."""
        scores, likeness = self.scores(seen)
        return Answer(raw=self.blend(scores), likeness=likeness)

    def error(self, likeness: float) -> float:
        """How far off 19 of 20 answers about molecules of such likeness are at most."""
        return float(self.errors[1] if likeness < self.errors[0] else self.errors[2])

    def said(self, raw: Floats) -> Floats:
        """Probabilities of log-odds; values as they are."""
        return np.asarray(expit(raw)) if self.recipe.classifies else raw


def mixtures(alike: Floats, near: Floats, recipe: Recipe) -> tuple[Floats, Floats]:
    """(n, m) the kernels of ridge and of the support vectors."""
    width = recipe.kernel.width
    shares = recipe.kernel.descriptors, recipe.support.descriptors
    return kernel.mixed(alike, near, shares[0], width), kernel.mixed(alike, near, shares[1], width)


def tree_table(seen: Seen, library: kernel.Library) -> Floats:
    """(n, descriptors) what the trees see: the descriptors in steps. Fragments are the kernel's part."""
    return library.scale(seen.descriptors).astype(np.float64)


def grow(table: Floats, aims: Floats, plan: Trees, seed: int) -> list[Any]:
    """The boosted trees, as scikit-learn fits them. A class is learnt as the numbers 0 and 1."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return [
        HistGradientBoostingRegressor(
            max_iter=plan.rounds, learning_rate=plan.rate, max_leaf_nodes=plan.leaves,
            l2_regularization=plan.penalty, max_features=plan.columns, random_state=seed + copy,
        ).fit(table, aims)
        for copy in range(plan.copies)
    ]  # fmt: skip


def fit(
    seen: Seen, aims: Floats, answers: Floats, recipe: Recipe, blend: Blend, names: Sequence[str], seed: int,
    errors: Floats = UNMEASURED,
) -> Machine:  # fmt: skip
    """The machines fitted to all of the molecules; the blend is found out of fold (see `measure`)."""
    library, place = kernel.gathered(seen)
    kept = seen.take(np.unique(place, return_index=True)[1])
    grams = mixtures(library.alike(kept)[0], library.near(kept), recipe)
    copies = np.bincount(place).astype(np.float64)
    fitted = (
        kernel.ridge(grams[0], np.bincount(place, aims) / copies, recipe.kernel.ridge, copies),
        kernel.support(grams[1], place, answers, recipe.support.penalty, classify=recipe.classifies),
    )
    grown = grow(tree_table(seen, library), aims, recipe.trees, seed)
    packed = {n: a for i, tree in enumerate(grown) for n, a in pack(tree, prefix=f"trees{i}.").items()}
    if recipe.forest:
        shown = forest.wide(seen, library.scale)
        packed |= pack(forest.grow(shown, aims, recipe.forest, seed), prefix=FOREST)
    return Machine(
        recipe=recipe,
        names=tuple(names),
        library=library,
        coefficients=np.stack([coefficients for coefficients, _ in fitted]),
        offsets=np.array([offset for _, offset in fitted]),
        packed=packed,
        trees=opened(packed, recipe),
        forest=unpack(packed, prefix=FOREST) if recipe.forest else None,
        blend=blend,
        base=float(answers.mean()),
        errors=errors,
    )


def opened(arrays: kernel.Arrays, recipe: Recipe) -> tuple[Predictor, ...]:
    """The boosted trees among the arrays."""
    return tuple(unpack(arrays, prefix=f"trees{index}.") for index in range(recipe.trees.copies))


def save(machine: Machine, folder: Path) -> None:
    """Writes model.safetensors."""
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[Any]] = {
        **machine.library.arrays(),
        **machine.packed,
        "coefficients": machine.coefficients,
        "numbers": np.array([*machine.offsets, machine.blend.offset, machine.base]),
        "blend": machine.blend.weights,
        "errors": machine.errors,
        "names": np.frombuffer("\n".join(machine.names).encode(), np.uint8).copy(),
    }
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, folder / FILE)


def load(folder: Path, recipe: Recipe) -> Machine:
    """The machines of a folder's model.safetensors."""
    from safetensors.numpy import load_file

    arrays = load_file(folder / FILE)
    *offsets, blended, base = arrays["numbers"].tolist()
    return Machine(
        recipe=recipe,
        names=tuple(arrays["names"].tobytes().decode().split("\n")),
        library=kernel.library(arrays),
        coefficients=arrays["coefficients"],
        offsets=np.array(offsets),
        packed={name: array for name, array in arrays.items() if name.startswith(("trees", FOREST))},
        trees=opened(arrays, recipe),
        forest=unpack(arrays, prefix=FOREST) if recipe.forest else None,
        blend=Blend(weights=arrays["blend"], offset=blended),
        base=base,
        errors=arrays["errors"],
    )
