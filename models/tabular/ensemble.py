"""Several estimators on one preparation: their log-odds are averaged, then calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from models.estimators import Predictor, pack, unpack
from models.tabular import design, shared
from models.tabular.design import Design
from models.tabular.recipe import Member, Recipe
from models.tabular.rows import Data, Floats
from models.tabular.shared import Shared

FLOOR = 1e-3  #: a member is never surer than 999 to 1: a forest's share of 0 is no certainty
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """A fitted recipe."""

    design: Design
    members: Sequence[tuple[Member, Any]]  #: an estimator of scikit-learn, or its Predictor
    temperature: float = 1.0
    shift: float = 0.0  #: added to the log-odds of the second of two classes

    def scores(self, rows: Floats) -> Floats:
        """(n, classes) log-probabilities before calibration."""
        return mean([(m.weight, s) for m, s in self.parts(rows)])

    def parts(self, rows: Floats) -> list[tuple[Member, Floats]]:
        """Each fitted member with its (n, classes) log-probabilities."""
        views = {name: self.design.view(rows, name) for name in {m.view for m, _ in self.members}}
        return [(m, logs(fitted.predict_proba(views[m.view]))) for m, fitted in self.members]

    def probabilities(self, rows: Floats) -> Floats:
        """(n, classes) calibrated probabilities."""
        return calibrated(self.scores(rows), self.temperature, self.shift)


def logs(probabilities: Floats) -> Floats:
    """Log-probabilities, none surer than FLOOR leaves."""
    return np.log(np.clip(probabilities, FLOOR, 1 - FLOOR))


def mean(parts: Sequence[tuple[float, Floats]]) -> Floats:
    """The members' log-probabilities averaged by weight, as log-probabilities again."""
    total = sum(weight for weight, _ in parts)
    return np.asarray(log_softmax(sum(weight * score for weight, score in parts) / total, axis=1))


def calibrated(scores: Floats, temperature: float, shift: float) -> Floats:
    """(n, classes) probabilities of log-probabilities."""
    moved = scores.copy()
    if moved.shape[1] == 2:
        moved[:, 1] += shift
    return np.asarray(softmax(moved / temperature, axis=1))


def estimator(member: Member, seed: int) -> Any:
    """scikit-learn's estimator of a member, not fitted, behind its selection of columns."""
    from sklearn.feature_selection import SelectKBest
    from sklearn.pipeline import make_pipeline

    chosen = _estimator(member, seed)
    return make_pipeline(SelectKBest(k=member.keep), chosen) if member.keep else chosen


def _estimator(member: Member, seed: int) -> Any:
    from sklearn import ensemble, linear_model, neural_network

    own = dict(member.parameters)
    if member.kind == "logistic":
        return linear_model.LogisticRegression(max_iter=5000, **own)
    if member.kind == "boosting":
        return ensemble.HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **own)
    if member.kind == "forest":
        return ensemble.RandomForestClassifier(random_state=seed, **own)
    if member.kind == "extra-trees":
        return ensemble.ExtraTreesClassifier(random_state=seed, **own)
    if member.kind == "perceptron":
        return neural_network.MLPClassifier(random_state=seed, **own)
    return _support(own, seed)


def _support(own: dict[str, Any], seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import SVC

    cut = StratifiedKFold(5, shuffle=True, random_state=seed)
    return CalibratedClassifierCV(SVC(**own), ensemble=False, cv=cut)


def fit(data: Data, recipe: Recipe, *, seed: int = 0, compared: bool = False) -> Ensemble:
    """The recipe fitted to a data set; not calibrated yet.

    compared: also the members of weight 0, which do not serve.
    """
    prepared = design.fit(data.rows, recipe, seed)
    views: dict[str, Floats] = {}
    members: list[tuple[Member, Any]] = []
    for member in recipe.members:
        if not member.weight and not compared:
            continue
        if member.view not in views:
            views[member.view] = prepared.view(data.rows, member.view)
        for turn in range(member.seeds):
            one = member.model_copy(update={"weight": member.weight / member.seeds})
            fitted = _fitted(member, seed + turn, views[member.view], data)
            members.append((one, fitted))
    return Ensemble(design=prepared, members=members)


def _fitted(member: Member, seed: int, table: Floats, data: Data) -> Any:
    if member.kind == "shared":
        return shared.fit(table, data.labels, data.helpers, member.parameters, seed)
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # a perceptron stops after the rounds that its recipe names, whether or not it has settled
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator(member, seed).fit(table, data.labels)


_DESIGN = tuple(field.name for field in fields(Design) if field.name != "recipe")


def packed(ensemble: Ensemble, prefix: str) -> Arrays:
    """The ensemble as arrays for safetensors."""
    arrays: Arrays = {f"{prefix}design.{name}": getattr(ensemble.design, name) for name in _DESIGN}
    for place, (_, fitted) in enumerate(ensemble.members):
        own = f"{prefix}{place}."
        if isinstance(fitted, Shared):
            arrays |= {own + name: array for name, array in fitted.arrays.items()}
        else:
            arrays |= pack(fitted, prefix=own)
    arrays[f"{prefix}calibration"] = np.array([ensemble.temperature, ensemble.shift])
    return arrays


def unpacked(arrays: Mapping[str, NDArray[Any]], prefix: str, recipe: Recipe) -> Ensemble:
    """The ensemble that `packed` wrote under the prefix."""
    own = {name: arrays[f"{prefix}design.{name}"] for name in _DESIGN}
    listed = [
        m.model_copy(update={"weight": m.weight / m.seeds})
        for m in recipe.members
        if m.weight
        for _ in range(m.seeds)
    ]
    members = [(m, _member(m, arrays, f"{prefix}{place}.")) for place, m in enumerate(listed)]
    temperature, shift = arrays[f"{prefix}calibration"].tolist()
    return Ensemble(
        design=Design(recipe=recipe, **own), members=members, temperature=temperature, shift=shift
    )


def _member(member: Member, arrays: Mapping[str, NDArray[Any]], prefix: str) -> Predictor | Shared:
    if member.kind == "shared":
        return Shared(arrays={n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
    return unpack(arrays, prefix=prefix)


def with_calibration(ensemble: Ensemble, temperature: float, shift: float) -> Ensemble:
    """The same ensemble, calibrated."""
    return replace(ensemble, temperature=temperature, shift=shift)
