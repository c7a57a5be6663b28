"""From arrays back to predictors: linear models, perceptrons, transformers, pipelines, calibration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from models.estimators.predictor import Arrays, Facts, Floats, Predictor
from models.estimators.support import Support
from models.estimators.trees import Trees

ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}


class Linear(Predictor):
    """arrays: `coefficients` (features, outputs), `intercept` (outputs,)."""

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.coefficients = arrays["coefficients"].astype(np.float64)
        self.intercept = arrays["intercept"].astype(np.float64)

    def raw(self, x: ArrayLike) -> Floats:
        """(n, outputs) x @ coefficients + intercept."""
        return np.asarray(self._table(x) @ self.coefficients + self.intercept)


class Perceptron(Predictor):
    """A multi-layer perceptron. arrays: `w0` (features, hidden), `b0` (hidden,), `w1`, ..."""

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.layers = [
            (arrays[f"w{i}"].astype(np.float64), arrays[f"b{i}"].astype(np.float64))
            for i in range(facts["layers"])
        ]

    def raw(self, x: ArrayLike) -> Floats:
        """(n, outputs) of the last layer, before its link."""
        z = self._table(x)
        for index, (weights, bias) in enumerate(self.layers):
            z = z @ weights + bias
            if index + 1 < len(self.layers):
                z = np.asarray(ACTIVATIONS[self.facts["activation"]](z))
        return z


class Affine(Predictor):
    """A scaler: (x - `shift`) * `scale`."""

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.shift, self.scale = arrays["shift"].astype(np.float64), arrays["scale"].astype(np.float64)

    def transform(self, x: ArrayLike) -> Floats:
        """(n, features)."""
        return np.asarray((self._table(x) - self.shift) * self.scale)


class Imputer(Predictor):
    """What is NaN becomes `fill`; `keep` are the columns that stay, `flags` those told of as missing."""

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.fill, self.keep, self.flags = arrays["fill"].astype(np.float64), arrays["keep"], arrays["flags"]

    def transform(self, x: ArrayLike) -> Floats:
        """(n, kept + flagged)."""
        table = self._table(x)
        filled = np.where(np.isnan(table), self.fill, table)[:, self.keep]
        return np.concatenate([filled, np.isnan(table[:, self.flags])], axis=1)


class OneHot(Predictor):
    """One column a category. arrays: `categories`, `column` (of x), `drop` (of the output)."""

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.categories, self.column = arrays["categories"].astype(np.float64), arrays["column"]
        self.keep = np.setdiff1d(np.arange(len(self.column)), arrays["drop"])

    def transform(self, x: ArrayLike) -> Floats:
        """(n, categories). Raises ValueError on one that was never met, where the encoder was told to."""
        picked = self._table(x)[:, self.column]
        same = (picked == self.categories) | (np.isnan(picked) & np.isnan(self.categories))
        if self.facts["strict"]:
            member = self.column[:, None] == np.arange(self.features)  # (categories, features)
            if (same.astype(np.float64) @ member < 1).any():
                raise ValueError("a category that training never met")
        return np.asarray(same[:, self.keep].astype(np.float64))


class Selection(Predictor):
    """The columns of `keep`."""

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.keep = arrays["keep"]

    def transform(self, x: ArrayLike) -> Floats:
        """(n, kept)."""
        return self._table(x)[:, self.keep]


class Projection(Predictor):
    """Principal components: (x - `mean`) @ `components`."""

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.mean, self.components = (arrays[n].astype(np.float64) for n in ("mean", "components"))

    def transform(self, x: ArrayLike) -> Floats:
        """(n, components)."""
        return np.asarray((self._table(x) - self.mean) @ self.components)


class Chain(Predictor):
    """A pipeline: every step but the last transforms."""

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        self.steps = [unpack(arrays, f"{i}.") for i in range(facts["parts"])]
        super().__init__({**facts, "features": self.steps[0].features})
        self.classes = self.steps[-1].classes

    def _before(self, x: ArrayLike) -> Floats:
        table = self._table(x)
        for step in self.steps[:-1]:
            table = step.transform(table)
        return table

    def raw(self, x: ArrayLike) -> Floats:
        """The last step's."""
        return self.steps[-1].raw(self._before(x))

    def transform(self, x: ArrayLike) -> Floats:
        """The last step's, of a pipeline of transformers."""
        return self.steps[-1].transform(self._before(x))

    def decision_function(self, x: ArrayLike) -> Floats:
        """The last step's."""
        return self.steps[-1].decision_function(self._before(x))

    def predict_proba(self, x: ArrayLike) -> Floats:
        """The last step's."""
        return self.steps[-1].predict_proba(self._before(x))

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """The last step's."""
        return self.steps[-1].predict(self._before(x))


class Columns(Predictor):
    """Transformers beside each other, each given its columns: `columns<i>`."""

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        self.parts = [
            (arrays[f"columns{i}"], unpack(arrays, f"{i}.") if told else None)
            for i, told in enumerate(facts["fitted"])
        ]

    def transform(self, x: ArrayLike) -> Floats:
        """(n, columns of all parts, in order)."""
        table = self._table(x)
        return np.concatenate([t.transform(table[:, c]) if t else table[:, c] for c, t in self.parts], axis=1)


class Calibrated(Predictor):
    """Platt's or isotonic calibration over one or more fitted classifiers, averaged."""

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        self.members = [unpack(arrays, f"{i}.") for i in range(facts["parts"])]
        super().__init__({**facts, "features": self.members[0].features})
        self.arrays = arrays

    def _scores(self, member: Predictor, x: ArrayLike) -> Floats:
        """(n, 1) of two classes, else (n, classes)."""
        if self.facts["on"] == "decisions":
            found = member.decision_function(x)
            return found[:, None] if found.ndim == 1 else found
        found = member.predict_proba(x)
        return found[:, 1:] if found.shape[1] == 2 else found

    def _curve(self, score: Floats, name: str) -> Floats:
        if f"{name}x" in self.arrays:
            return np.interp(score, self.arrays[f"{name}x"], self.arrays[f"{name}y"])
        a, b = self.arrays[f"{name}ab"]
        return np.asarray(expit(-(a * score + b)))

    def predict_proba(self, x: ArrayLike) -> Floats:
        """(n, classes): each member's calibrated probabilities, normalised, and their mean."""
        total: Floats = np.zeros(())
        for index, member in enumerate(self.members):
            scores = self._scores(member, x)
            found = np.stack(
                [self._curve(scores[:, j], f"{index}.c{j}.") for j in range(scores.shape[1])], axis=1
            )
            if found.shape[1] == 1:
                found = np.concatenate([1 - found, found], axis=1)
            else:
                sums = found.sum(1, keepdims=True)
                found = np.where(sums > 0, found / np.where(sums > 0, sums, 1), 1 / found.shape[1])
            total = total + found
        return np.asarray(total / len(self.members))

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """(n,) the likeliest class."""
        assert self.classes is not None  # noqa: S101 - only classifiers are calibrated
        return np.asarray(self.classes[self.predict_proba(x).argmax(1)])


KINDS: Mapping[str, Any] = {
    "linear": Linear,
    "perceptron": Perceptron,
    "trees": Trees,
    "support": Support,
    "affine": Affine,
    "imputer": Imputer,
    "one-hot": OneHot,
    "selection": Selection,
    "projection": Projection,
    "chain": Chain,
    "columns": Columns,
    "calibrated": Calibrated,
}


def _wide(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays with those that were stored as codes looked up again."""
    found = {}
    for name, array in arrays.items():
        if name.endswith("#codes"):
            found[name[:-6]] = arrays[name[:-6] + "#values"][array]
        elif not name.endswith("#values"):
            found[name] = array
    return found


def unpack(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Predictor:
    """The estimator that `pack` wrote under the prefix. Raises KeyError when there is none."""
    own = _wide({name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)})
    facts = json.loads(own["facts"].tobytes())
    found: Predictor = KINDS[facts["kind"]](facts, own)
    return found
