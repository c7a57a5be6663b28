"""What the centroids are compared with, on the same folds; each selects its genes inside the fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.tumour_expression.data import Floats, Labels, splits

KEPT = 100  #: genes with the largest F statistic in the training part
Learner = Callable[[int], Any]  #: seed -> an unfitted scikit-learn estimator


def _selecting(estimator: Any) -> Any:
    from sklearn.feature_selection import SelectKBest, f_classif
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), SelectKBest(f_classif, k=KEPT), estimator)


def _machine(seed: int) -> Any:
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    return _selecting(OneVsRestClassifier(SVC(kernel="linear", C=0.1)))


def _regression(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return _selecting(LogisticRegression(C=0.1, max_iter=1000))


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(500, random_state=seed, n_jobs=1)


def _network(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return _selecting(MLPClassifier((32, 16), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=seed))


LEARNERS: dict[str, Learner] = {
    "linear SVM, 100 genes by F": _machine,
    "logistic regression, 100 genes by F": _regression,
    "random forest, all genes": _forest,
    "deep network (32, 16), 100 genes by F": _network,
}


def scores(learner: Learner, table: Floats, labels: Labels, folds: int, seed: int) -> Floats:
    """(n, 4) out-of-fold decision values, or logarithms of probabilities."""
    found = np.zeros((len(labels), labels.max() + 1))
    for rows, other in splits(labels, folds, seed):
        fitted = learner(seed).fit(table[rows], labels[rows])
        if hasattr(fitted, "decision_function"):
            found[other] = fitted.decision_function(table[other])
        else:
            found[other] = np.log(np.clip(fitted.predict_proba(table[other]), 1e-6, 1))
    return found
