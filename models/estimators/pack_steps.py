"""Transformers of scikit-learn: scalers, imputers, one-hot encoders, selections, projections; to arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.estimators.compact import Widths, flat
from models.estimators.predictor import Arrays


def affine(estimator: Any, widths: Widths) -> Arrays:
    """StandardScaler, RobustScaler, MinMaxScaler, MaxAbsScaler."""
    features = estimator.n_features_in_
    shift, scale = np.zeros(features), np.ones(features)
    if hasattr(estimator, "min_"):  # MinMaxScaler: x * scale_ + min_
        if estimator.clip:
            raise TypeError("MinMaxScaler with clip is not packed")
        shift, scale = -estimator.min_ / estimator.scale_, estimator.scale_
    else:
        centre = getattr(estimator, "mean_", None) if getattr(estimator, "with_mean", False) else None
        centre = getattr(estimator, "center_", None) if centre is None else centre
        shift = shift if centre is None else centre
        scale = scale if getattr(estimator, "scale_", None) is None else 1 / estimator.scale_
    return flat({"kind": "affine", "features": features}, {"shift": shift, "scale": scale})


def imputer(estimator: Any, widths: Widths) -> Arrays:
    """SimpleImputer of NaN."""
    if not (np.isscalar(estimator.missing_values) and np.isnan(estimator.missing_values)):
        raise TypeError("only an imputer of NaN is packed")
    fill = np.asarray(estimator.statistics_, dtype=np.float64)
    kept = np.arange(len(fill)) if estimator.keep_empty_features else np.flatnonzero(~np.isnan(fill))
    flags = estimator.indicator_.features_ if estimator.add_indicator else np.zeros(0, dtype=np.int64)
    return flat(
        {"kind": "imputer", "features": len(fill)},
        {"fill": fill, "keep": kept.astype(np.int64), "flags": np.asarray(flags, dtype=np.int64)},
    )


def one_hot(estimator: Any, widths: Widths) -> Arrays:
    """OneHotEncoder of numbers."""
    if estimator._infrequent_enabled:
        raise TypeError("an encoder that joins infrequent categories is not packed")
    lists = [np.asarray(c) for c in estimator.categories_]
    if any(c.dtype.kind not in "fiub" for c in lists):
        raise TypeError("only categories that are numbers are packed; number them first")
    column = np.repeat(np.arange(len(lists)), [len(c) for c in lists])
    begins = np.concatenate([[0], np.cumsum([len(c) for c in lists])])
    dropped = estimator.drop_idx_ if estimator.drop_idx_ is not None else [None] * len(lists)
    drop = [begins[i] + d for i, d in enumerate(dropped) if d is not None]
    return flat(
        {"kind": "one-hot", "features": len(lists), "strict": estimator.handle_unknown == "error"},
        {
            "categories": np.concatenate(lists).astype(np.float64), "column": column,
            "drop": np.array(drop, dtype=np.int64),
        },
    )  # fmt: skip


def selection(estimator: Any, widths: Widths) -> Arrays:
    """SelectKBest and whatever else only chooses columns."""
    support = estimator.get_support()
    return flat({"kind": "selection", "features": len(support)}, {"keep": np.flatnonzero(support)})


def projection(estimator: Any, widths: Widths) -> Arrays:
    """PCA."""
    components = estimator.components_.T
    if estimator.whiten:
        components = components / np.sqrt(estimator.explained_variance_)
    return flat(
        {"kind": "projection", "features": len(components)},
        {"mean": estimator.mean_, "components": components.astype(widths.weights)},
    )
