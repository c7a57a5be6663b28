"""From a fitted scikit-learn estimator to arrays: small, exact where it is free, and without a pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from models.estimators.compact import Width, Widths, classes_of, flat
from models.estimators.pack_steps import affine, imputer, one_hot, projection, selection
from models.estimators.pack_trees import boosted, forest, histogram_boosted
from models.estimators.predictor import Arrays


def _linear(estimator: Any, widths: Widths) -> Arrays:
    coefficients = np.asarray(estimator.coef_, dtype=np.float64)
    wide = np.atleast_2d(coefficients).T
    intercept = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64), wide.shape[1:])
    classes, link = classes_of(estimator), "identity"
    if classes is not None:
        link = "none"
        if hasattr(estimator, "predict_proba"):
            each = getattr(estimator, "solver", "") == "liblinear" and len(classes) > 2
            link = "logistic" if len(classes) == 2 else "each" if each else "softmax"
    facts = {
        "kind": "linear", "features": wide.shape[0], "classes": classes, "link": link, "decides": True,
        "flat": coefficients.ndim == 1,
    }  # fmt: skip
    return flat(facts, {"coefficients": wide.astype(widths.weights), "intercept": intercept})


def _perceptron(estimator: Any, widths: Widths) -> Arrays:
    classes = classes_of(estimator)
    facts = {
        "kind": "perceptron", "features": estimator.coefs_[0].shape[0], "classes": classes,
        "link": estimator.out_activation_, "activation": estimator.activation,
        "layers": len(estimator.coefs_), "flat": estimator.n_outputs_ == 1,
    }  # fmt: skip
    if classes is not None and estimator.out_activation_ == "logistic" and len(classes) > 2:
        raise TypeError("a perceptron of several labels a row is not packed; fit one for each")
    arrays: Arrays = {}
    for index, (weights, bias) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        arrays |= {f"w{index}": weights.astype(widths.weights), f"b{index}": bias}
    return flat(facts, arrays)


def _support(estimator: Any, widths: Widths) -> Arrays:
    if not isinstance(estimator.kernel, str) or estimator.kernel == "precomputed":
        raise TypeError("only the kernels rbf, linear, poly and sigmoid are packed")
    if getattr(estimator, "break_ties", False):
        raise TypeError("break_ties is not packed")
    classes = classes_of(estimator)
    facts = {
        "kind": "support", "features": estimator.n_features_in_, "classes": classes, "link": "none",
        "kernel": estimator.kernel, "gamma": float(estimator._gamma), "coef0": float(estimator.coef0),
        "degree": estimator.degree, "shape": getattr(estimator, "decision_function_shape", ""),
        "support": [int(n) for n in estimator.n_support_],
    }  # fmt: skip
    dual, intercept = estimator._dual_coef_, np.asarray(estimator._intercept_)
    arrays = {
        "vectors": np.asarray(estimator.support_vectors_).astype(widths.weights),
        "dual": np.asarray(dual), "intercept": intercept,
    }  # fmt: skip
    if classes is not None and np.size(estimator._probA):
        arrays |= {"a": np.asarray(estimator._probA), "b": np.asarray(estimator._probB)}
    return flat(facts, arrays)


def _nested(arrays: Arrays, index: int) -> Arrays:
    return {f"{index}.{name}": array for name, array in arrays.items()}


def _chain(estimator: Any, widths: Widths) -> Arrays:
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    arrays: Arrays = {}
    for index, step in enumerate(steps):
        arrays |= _nested(_packed(step, widths), index)
    return flat({"kind": "chain", "parts": len(steps)}, arrays)


def _columns(estimator: Any, widths: Widths) -> Arrays:
    fitted: list[bool] = []
    arrays: Arrays = {}
    every = np.arange(estimator.n_features_in_)
    for name, part, _ in estimator.transformers_:
        places = every[estimator._transformer_to_input_indices[name]]
        if (isinstance(part, str) and part == "drop") or not len(places):
            continue
        passed = isinstance(part, str) or (type(part).__name__ == "FunctionTransformer" and part.func is None)
        arrays[f"columns{len(fitted)}"] = places
        if not passed:
            arrays |= _nested(_packed(part, widths), len(fitted))
        fitted.append(not passed)
    return flat({"kind": "columns", "features": estimator.n_features_in_, "fitted": fitted}, arrays)


def _calibrated(estimator: Any, widths: Widths) -> Arrays:
    arrays: Arrays = {}
    members = estimator.calibrated_classifiers_
    for index, member in enumerate(members):
        arrays |= _nested(_packed(member.estimator, widths), index)
        for place, curve in enumerate(member.calibrators):
            name = f"{index}.c{place}."
            if hasattr(curve, "a_"):
                arrays[f"{name}ab"] = np.array([curve.a_, curve.b_])
            elif hasattr(curve, "X_thresholds_"):
                arrays |= {f"{name}x": curve.X_thresholds_, f"{name}y": curve.y_thresholds_}
            else:
                raise TypeError("only sigmoid and isotonic calibration are packed")
    decides = hasattr(members[0].estimator, "decision_function")
    facts = {
        "kind": "calibrated", "parts": len(members), "classes": classes_of(estimator), "link": "calibrated",
        "on": "decisions" if decides else "probabilities",
    }  # fmt: skip
    return flat(facts, arrays)


_Packer = Callable[[Any, Widths], Arrays]
_PACKERS: Mapping[str, _Packer] = {
    **dict.fromkeys(
        ("LogisticRegression", "LogisticRegressionCV", "LinearRegression", "Ridge", "RidgeCV", "Lasso",
         "LassoCV", "ElasticNet", "ElasticNetCV", "RidgeClassifier", "LinearSVC", "LinearSVR",
         "HuberRegressor"),
        _linear,
    ),
    **dict.fromkeys(("SVC", "SVR", "NuSVC", "NuSVR"), _support),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), _perceptron),
    **dict.fromkeys(
        ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor",
         "DecisionTreeClassifier", "DecisionTreeRegressor"),
        forest,
    ),
    **dict.fromkeys(("GradientBoostingClassifier", "GradientBoostingRegressor"), boosted),
    **dict.fromkeys(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"), histogram_boosted),
    **dict.fromkeys(("StandardScaler", "RobustScaler", "MinMaxScaler", "MaxAbsScaler"), affine),
    **dict.fromkeys(
        ("SelectKBest", "SelectPercentile", "SelectFromModel", "VarianceThreshold", "RFE"), selection
    ),
    "SimpleImputer": imputer,
    "OneHotEncoder": one_hot,
    "PCA": projection,
    "Pipeline": _chain,
    "ColumnTransformer": _columns,
    "CalibratedClassifierCV": _calibrated,
}  # fmt: skip


def _packed(estimator: Any, widths: Widths) -> Arrays:
    name = type(estimator).__name__
    if name not in _PACKERS:
        raise TypeError(f"{name} is not packed; there are {', '.join(sorted(_PACKERS))}")
    return _PACKERS[name](estimator, widths)


def pack(
    estimator: Any, prefix: str = "", *, leaves: Width = "float32", weights: Width = "float64"
) -> Arrays:
    """A fitted estimator or pipeline as named arrays, each name begun by the prefix, for safetensors.

    leaves: type of the trees' leaf values; weights: of coefficients, support vectors and perceptron
    layers. Everything else, thresholds included, is kept exactly, in the fewest bytes that do.
    Raises TypeError, with the reason, of what cannot be packed.
    """
    widths = Widths(leaves=leaves, weights=weights)
    return {prefix + name: array for name, array in _packed(estimator, widths).items()}
