"""Trees for censored times: a forest on deviance residuals, and boosting of Cox's partial likelihood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.estimators import pack
from models.survival.hazards import Events, Floats, deviance, residuals
from models.survival.study import Blend

Arrays = dict[str, NDArray[np.generic]]


def forest(x: Floats, t: Floats, e: Events, blend: Blend, seed: int) -> Arrays:
    """A packed forest whose answer grows with the hazard."""
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

    kind = RandomForestRegressor if blend.forest_kind == "random" else ExtraTreesRegressor
    grown = kind(
        blend.trees,
        min_samples_leaf=blend.forest_leaf,
        max_features=blend.forest_features,
        bootstrap=True,
        random_state=seed,
        n_jobs=1,
    ).fit(x, deviance(t, e))
    return dict(pack(grown, prefix="forest.", leaves="float16"))


def boosting(x: Floats, t: Floats, e: Events, blend: Blend, seed: int) -> Arrays:
    """Packed boosted trees whose sum is the log hazard: each leaf takes one Newton step (Ridgeway 1999)."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(seed)
    log_hazard, grown = np.zeros(len(t)), []
    for turn in range(blend.boosts):
        left, met = residuals(t, e, log_hazard)
        picked = rng.random(len(t)) < 0.7
        tree = DecisionTreeRegressor(
            max_depth=blend.boost_depth,
            min_samples_leaf=blend.boost_leaf,
            max_features=blend.boost_features,
            random_state=seed * 1000 + turn,
        ).fit(x[picked], left[picked])
        leaf = tree.apply(x[picked])
        gain = np.bincount(leaf, left[picked], tree.tree_.node_count)
        bend = np.bincount(leaf, met[picked], tree.tree_.node_count)
        tree.tree_.value[:, 0, 0] = blend.boost_rate * gain / (bend + 1.0)
        log_hazard += tree.predict(x)
        grown.append(tree)
    # the sum of the trees as a forest's mean: the packer knows forests
    for tree in grown:
        tree.tree_.value[:] *= len(grown)
    whole = RandomForestRegressor(len(grown))
    whole.estimators_, whole.n_outputs_, whole.n_features_in_ = grown, 1, x.shape[1]
    return dict(pack(whole, prefix="boosting.", leaves="float16"))
