"""Trees, forests and boosted trees as scikit-learn holds them, to the arrays of `trees.Trees`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.estimators.compact import Widths, classes_of, flat
from models.estimators.predictor import Arrays


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """One tree as scikit-learn holds it, by node; left is -1 of a leaf."""

    left: NDArray[Any]
    right: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[Any]
    missing_left: NDArray[Any]
    value: NDArray[np.float64]  #: (nodes, values)

    def preorder(self) -> list[int]:
        """The nodes, each before its left branch and that before its right one."""
        left, right = self.left.tolist(), self.right.tolist()
        order, waiting = [], [0]
        while waiting:
            node = waiting.pop()
            order.append(node)
            if left[node] >= 0:
                waiting += [right[node], left[node]]
        return order


def _grown(tree: Any, columns: slice) -> _Tree:
    """A tree of DecisionTree*, RandomForest*, ExtraTrees*, GradientBoosting*."""
    return _Tree(
        left=tree.children_left, right=tree.children_right, feature=tree.feature, threshold=tree.threshold,
        missing_left=tree.__getstate__()["nodes"]["missing_go_to_left"], value=tree.value[:, 0, columns],
    )  # fmt: skip


def _histogram(predictor: Any) -> _Tree:
    """A tree of HistGradientBoosting*."""
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    if nodes["is_categorical"].any():
        raise TypeError("categorical splits are not packed; encode categories as numbers first")
    return _Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)), right=nodes["right"].astype(np.int64),
        feature=nodes["feature_idx"], threshold=nodes["num_threshold"],
        missing_left=nodes["missing_go_to_left"], value=nodes["value"][:, None],
    )  # fmt: skip


def _below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each threshold: it parts float32 values as the threshold does."""
    small = threshold.astype(np.float32)
    return np.where(small > threshold, np.nextafter(small, np.float32(-np.inf)), small)


def _ensemble(trees: Iterable[_Tree], facts: dict[str, Any], baseline: Any, widths: Widths) -> Arrays:
    """facts: classes, link, scale, single (grown on float32), columns of a tree's turn."""
    parts: dict[str, list[NDArray[Any]]] = {n: [] for n in ("leaf", "feature", "threshold", "left", "value")}
    for tree in trees:
        order = np.array(tree.preorder())
        leaf = tree.left[order] < 0
        inner = order[~leaf]
        parts["leaf"].append(leaf)
        parts["feature"].append(tree.feature[inner])
        parts["threshold"].append(_below(tree.threshold[inner]) if facts["single"] else tree.threshold[inner])
        parts["left"].append(tree.missing_left[inner].astype(bool))
        parts["value"].append(tree.value[order[leaf]])
    joined = {name: np.concatenate(found) if found else np.zeros(0) for name, found in parts.items()}
    arrays: Arrays = {
        "leaf": np.packbits(joined["leaf"].astype(bool)),
        "missing_left": np.packbits(joined["left"].astype(bool)),
        "feature": joined["feature"].astype(np.int64),
        "threshold": joined["threshold"],
        "value": joined["value"].astype(widths.leaves),
        "baseline": np.asarray(baseline, dtype=np.float64).reshape(-1),
    }
    return flat({"kind": "trees", "nodes": len(joined["leaf"]), **facts}, arrays)


def forest(estimator: Any, widths: Widths) -> Arrays:
    """RandomForest*, ExtraTrees*, DecisionTree*."""
    members = getattr(estimator, "estimators_", [estimator])
    classes = classes_of(estimator)
    outputs = len(classes) if classes else 1
    if estimator.n_outputs_ > 1:
        raise TypeError("a forest of several outputs is not packed; fit one for each")
    columns = 1 if outputs <= 2 else outputs  # of two classes the first is enough
    facts = {
        "features": estimator.n_features_in_, "classes": classes, "link": "share" if classes else "identity",
        "scale": 1 / len(members), "single": True, "columns": columns,
    }  # fmt: skip
    trees = (_grown(member.tree_, slice(columns)) for member in members)
    return _ensemble(trees, facts, np.zeros(outputs), widths)


def _link(estimator: Any, outputs: int) -> str:
    """The inverse link of a boosted ensemble."""
    if getattr(estimator, "classes_", None) is not None:
        if getattr(estimator, "loss", "") == "exponential":
            return "logistic2"
        return "logistic" if outputs == 1 else "softmax"
    return "exp" if estimator.loss in ("poisson", "gamma") else "identity"


def boosted(estimator: Any, widths: Widths) -> Arrays:
    """GradientBoosting*."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if estimator.init_ != "zero" and not isinstance(estimator.init_, DummyClassifier | DummyRegressor):
        raise TypeError("boosting that starts from another estimator is not packed")
    baseline = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))
    facts = {
        "features": estimator.n_features_in_, "classes": classes_of(estimator), "decides": True, "tie": True,
        "link": _link(estimator, baseline.size), "scale": estimator.learning_rate, "single": True,
        "columns": baseline.size,
    }  # fmt: skip
    trees = (_grown(tree.tree_, slice(1)) for turn in estimator.estimators_ for tree in turn)
    return _ensemble(trees, facts, baseline, widths)


def histogram_boosted(estimator: Any, widths: Widths) -> Arrays:
    """HistGradientBoosting*."""
    if estimator.is_categorical_ is not None and np.any(estimator.is_categorical_):
        raise TypeError("categorical features are not packed; encode categories as numbers first")
    baseline = estimator._baseline_prediction
    facts = {
        "features": estimator.n_features_in_, "classes": classes_of(estimator), "decides": True,
        "link": _link(estimator, baseline.size), "scale": 1.0, "single": False, "columns": baseline.size,
    }  # fmt: skip
    trees = (_histogram(tree) for turn in estimator._predictors for tree in turn)
    return _ensemble(trees, facts, baseline, widths)
