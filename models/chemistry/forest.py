"""Extremely randomised trees on counts of fragments and descriptors: a fourth member where a recipe asks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.chemistry.features import Floats, Seen, Table
from models.chemistry.kernel import Scale
from models.chemistry.recipe import Forest

FOLDED = 1_024  #: columns of the counts that forests see


def folded(table: Table) -> NDArray[np.float32]:
    """(n, FOLDED) how often fragments occur, columns that lie FOLDED apart added up."""
    places = table.tocoo()
    counts = np.zeros((table.shape[0], FOLDED), np.float32)
    np.add.at(counts, (places.row, places.col % FOLDED), 1)
    return counts


def wide(seen: Seen, scale: Scale) -> NDArray[np.float32]:
    """(n, FOLDED + descriptors) what forests see: counts of ECFP6 fragments, descriptors in steps."""
    return np.concatenate([folded(seen.exact), scale(seen.descriptors).astype(np.float32)], axis=1)


def grow(table: NDArray[np.float32], aims: Floats, plan: Forest, seed: int) -> Any:
    """The forest, as scikit-learn fits it (Geurts 2006). A class is learnt as the numbers 0 and 1."""
    from sklearn.ensemble import ExtraTreesRegressor

    fitted = ExtraTreesRegressor(
        plan.trees, min_samples_leaf=plan.leaf, max_features=plan.columns, n_jobs=1, random_state=seed
    )
    return fitted.fit(table, aims)
