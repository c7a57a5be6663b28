"""Unpacked estimators answer as scikit-learn's do, on any data and after a trip through safetensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from models.estimators import Predictor, pack, unpack

Floats = NDArray[np.float64]


def _table(seed: int, rows: int = 90, columns: int = 4) -> Floats:
    """Values of different sizes, some of them whole numbers, so that thresholds are met exactly."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) * [1, 10, 0.1, 3]
    x[:, 1] = x[:, 1].round()
    return x


def _classes(x: Floats, count: int, seed: int) -> NDArray[np.str_]:
    score = x[:, 0] + 0.3 * x[:, 1] + np.random.default_rng(seed).normal(size=len(x))
    cuts = np.quantile(score, np.linspace(0, 1, count + 1)[1:-1])
    return np.array(["no", "some", "much", "all"])[np.searchsorted(cuts, score)]


def _holes(x: Floats, seed: int) -> Floats:
    return np.where(np.random.default_rng(seed).random(x.shape) < 0.15, np.nan, x)


def _served(fitted: Any) -> Predictor:
    """The estimator as serving opens it."""
    return unpack(load(save(pack(fitted, prefix="m."))), prefix="m.")


def _agree(fitted: Any, x: Floats) -> None:
    """Each answer that scikit-learn gives is given alike, to a millionth."""
    served = _served(fitted)
    for method in ("predict_proba", "decision_function"):
        if hasattr(fitted, method):
            found = getattr(served, method)(x)
            np.testing.assert_allclose(found, getattr(fitted, method)(x), rtol=1e-6, atol=1e-6)
    told, found = fitted.predict(x), served.predict(x)
    if told.dtype.kind == "f":
        np.testing.assert_allclose(found, told, rtol=1e-6, atol=1e-6)
        return
    sure = np.ones(len(x), dtype=bool)
    if hasattr(fitted, "predict_proba") and not isinstance(fitted, SVC):  # equals may part by rounding
        first, second = np.sort(fitted.predict_proba(x), axis=1)[:, -2:].T
        sure = np.abs(second - first) > 1e-6
    np.testing.assert_array_equal(found[sure], told[sure])


CLASSIFIERS = {
    "logistic": lambda s: LogisticRegression(C=0.5),
    "forest": lambda s: RandomForestClassifier(12, random_state=s),
    "leafwise forest": lambda s: RandomForestClassifier(7, max_leaf_nodes=9, random_state=s),
    "extra trees": lambda s: ExtraTreesClassifier(9, random_state=s),
    "tree": lambda s: DecisionTreeClassifier(random_state=s),
    "boosting": lambda s: GradientBoostingClassifier(n_estimators=8, random_state=s),
    "histogram boosting": lambda s: HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=5),
    "svc rbf": lambda s: SVC(),
    "svc one against one": lambda s: SVC(decision_function_shape="ovo"),
    "svc linear": lambda s: SVC(kernel="linear", C=0.1),
    "svc poly": lambda s: SVC(kernel="poly", degree=2, coef0=1.0),
    "calibrated svc": lambda s: CalibratedClassifierCV(SVC(), ensemble=False, cv=3),
    "isotonic forest": lambda s: CalibratedClassifierCV(
        RandomForestClassifier(5, random_state=s), method="isotonic", cv=3
    ),
    "pipeline": lambda s: make_pipeline(StandardScaler(), SelectKBest(k=3), LogisticRegression()),
    "principal components": lambda s: make_pipeline(MinMaxScaler(), PCA(2, whiten=True), SVC()),
}
REGRESSORS = {
    "least squares": lambda s: LinearRegression(),
    "ridge": lambda s: Ridge(alpha=2.0),
    "svr": lambda s: SVR(C=3.0),
    "svr linear": lambda s: SVR(kernel="linear", C=0.1),
    "forest": lambda s: RandomForestRegressor(9, random_state=s),
    "boosting": lambda s: GradientBoostingRegressor(n_estimators=9, random_state=s),
    "huber boosting": lambda s: GradientBoostingRegressor(loss="huber", n_estimators=9, random_state=s),
    "histogram boosting": lambda s: HistGradientBoostingRegressor(max_iter=9, min_samples_leaf=5),
    "poisson boosting": lambda s: HistGradientBoostingRegressor(loss="poisson", max_iter=9),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_classifier_answers_as_scikit_learn(name: str, classes: int, seed: int) -> None:
    x = _table(seed)
    _agree(CLASSIFIERS[name](seed).fit(x, _classes(x, classes, seed)), np.vstack([x, _table(seed + 1)]))


@pytest.mark.parametrize("name", REGRESSORS)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_regressor_answers_as_scikit_learn(name: str, seed: int) -> None:
    x = _table(seed)
    y = np.abs(x[:, 0] * 2 + x[:, 3] ** 2) * 10
    _agree(REGRESSORS[name](seed).fit(x, y), np.vstack([x, _table(seed + 1)]))


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)  # five rounds are enough to compare
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_perceptron_answers_as_scikit_learn(activation: str, classes: int) -> None:
    x = _table(1)
    settled = {"activation": activation, "max_iter": 5, "random_state": 0}
    _agree(MLPClassifier((7, 5), **settled).fit(x, _classes(x, classes, 1)), x)
    _agree(MLPRegressor(hidden_layer_sizes=(7,), **settled).fit(x, x[:, 0]), x)
    _agree(MLPRegressor(hidden_layer_sizes=(7,), **settled).fit(x, x[:, :2]), x)


@pytest.mark.filterwarnings(
    "ignore:The `probability` parameter was deprecated:FutureWarning"
)  # still met in the field
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_platt_s_probabilities_are_libsvm_s(classes: int) -> None:
    x = _table(2)
    _agree(SVC(probability=True, random_state=0).fit(x, _classes(x, classes, 2)), _table(3))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["histogram boosting", "forest", "extra trees", "tree"])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_trees_send_what_is_missing_where_scikit_learn_sends_it(name: str, classes: int, seed: int) -> None:
    x = _table(seed)
    full = CLASSIFIERS[name](seed).fit(x, _classes(x, classes, seed))
    _agree(full, _holes(x, seed))  # missing only when it is asked
    _agree(CLASSIFIERS[name](seed).fit(_holes(x, seed), _classes(x, classes, seed)), _holes(x, seed + 1))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), flags=st.booleans(), strategy=st.sampled_from(["mean", "median"]))
def test_columns_filled_scaled_and_encoded_apart_are_joined_alike(
    seed: int, flags: bool, strategy: str
) -> None:
    x = _holes(_table(seed), seed)
    x[:, 3] = np.random.default_rng(seed).integers(0, 3, len(x))
    numbers = make_pipeline(SimpleImputer(strategy=strategy, add_indicator=flags), StandardScaler())
    parts = [("n", numbers, [0, 2]), ("c", OneHotEncoder(drop="first"), [3])]
    table = make_pipeline(ColumnTransformer(parts), LogisticRegression(max_iter=1000))
    _agree(table.fit(x, _classes(np.nan_to_num(x), 2, seed)), x)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_threshold_is_kept_on_its_side_of_every_float32(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (1000 + rng.integers(0, 40, (60, 1)) * 6.1035e-05).astype(np.float32)  # neighbours, one step apart
    _agree(DecisionTreeClassifier().fit(x, rng.integers(0, 2, 60).astype(str)), x.astype(np.float64))


def test_a_boosting_that_never_split_gives_its_prior() -> None:
    x = np.zeros((20, 2))
    y = np.arange(20) % 4 == 0
    _agree(HistGradientBoostingClassifier(max_iter=3).fit(x, y), x)


def test_a_fingerprint_forest_takes_a_tenth_of_its_nodes_in_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (400, 64)).astype(float)
    forest = RandomForestClassifier(20, random_state=0).fit(x, x[:, 0] * x[:, 1] + rng.random(400) > 0.7)
    nodes = sum(t.tree_.node_count for t in forest.estimators_)
    assert sum(a.nbytes for a in pack(forest).values()) < nodes * 64 / 10  # 64 bytes a node, values aside


def test_half_precision_leaves_stay_within_a_thousandth() -> None:
    x = _table(5)
    forest = RandomForestRegressor(5, random_state=0).fit(x, x[:, 0])
    found = unpack(pack(forest, leaves="float16")).predict(x)
    np.testing.assert_allclose(found, forest.predict(x), atol=2e-3)


def test_what_was_learnt_without_gaps_refuses_them() -> None:
    x = _table(6)
    served = _served(Ridge().fit(x, x[:, 0]))
    with pytest.raises(ValueError, match="finite"):
        served.predict(_holes(x, 0))
    with pytest.raises(ValueError, match=r"expected \(n, 4\)"):
        served.predict(x[:, :3])


def test_a_category_that_training_never_met_is_refused_unless_it_may_be_ignored() -> None:
    seen, new = np.array([[0.0], [1.0], [2.0]]), np.array([[7.0]])
    with pytest.raises(ValueError, match="never met"):
        _served(OneHotEncoder().fit(seen)).transform(new)
    assert _served(OneHotEncoder(handle_unknown="ignore").fit(seen)).transform(new).tolist() == [[0, 0, 0]]


def test_an_estimator_that_is_not_packed_says_so() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    with pytest.raises(TypeError, match="KNeighborsClassifier is not packed"):
        pack(KNeighborsClassifier())
