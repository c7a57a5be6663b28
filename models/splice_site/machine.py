"""Three support vector machines, one a class, on the weighted degree kernel; calibrated together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.splice_site.kernel import Codes, Floats, encode, mutated, similarity

PENALTY = 10.0  #: the machines' C, by cross-validation
FILE = "machine.safetensors"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The fitted machines. A decision value is positive where the machine says its class."""

    vectors: Codes  #: (m, 60) support windows
    coefficients: Floats  #: (m, 3)
    intercepts: Floats  #: (3,)
    slope: Floats  #: (3, 3) of the multinomial calibration of the decision values
    offset: Floats  #: (3,)

    def decisions(self, windows: Sequence[str]) -> Floats:
        """(n, 3) decision values."""
        return np.asarray(similarity(encode(windows), self.vectors) @ self.coefficients + self.intercepts)

    def calibrated(self, decisions: Floats) -> Floats:
        """(..., 3) calibrated probabilities of EI, IE and N."""
        return np.asarray(softmax(decisions @ self.slope + self.offset, axis=-1))

    def probabilities(self, windows: Sequence[str]) -> Floats:
        """(n, 3) calibrated probabilities of EI, IE and N."""
        return self.calibrated(self.decisions(windows))

    def weights(self, window: str, label: int) -> Floats:
        """(60,) what each base adds to the class's log-odds, against the mean of the other three there."""
        row = encode([window])[0]
        table = mutated(row, self.vectors) @ self.coefficients + self.intercepts
        part = np.clip(self.calibrated(table)[..., label], 1e-9, 1 - 1e-9)
        odds = np.log(part / (1 - part))  # (60, 4)
        here = np.clip(self.probabilities([window])[0, label], 1e-9, 1 - 1e-9)
        own = odds[np.arange(len(row)), row]
        others = np.where(row >= 0, (odds.sum(1) - own) / 3, odds.mean(1))
        return np.asarray(np.log(here / (1 - here)) - others)

    def save(self, folder: Path) -> None:
        """Writes machine.safetensors."""
        from safetensors.numpy import save_file

        tensors: dict[str, NDArray[np.generic]] = {
            "vectors": self.vectors,
            "coefficients": self.coefficients.astype(np.float32),
            "intercepts": self.intercepts,
            "slope": self.slope,
            "offset": self.offset,
        }
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / FILE)


def load(folder: Path) -> Machine:
    """The machines in a folder."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / FILE)
    wide = {k: v.astype(np.float64) for k, v in tensors.items() if k != "vectors"}
    return Machine(vectors=tensors["vectors"], **wide)


def solve(gram: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """((n, 3) coefficients, (3,) intercepts) of the machines on a kernel table of the training windows."""
    from sklearn.svm import SVC

    coefficients, intercepts = np.zeros((len(labels), 3)), np.zeros(3)
    for label in range(3):
        fitted = SVC(kernel="precomputed", C=PENALTY).fit(gram, labels == label)
        coefficients[fitted.support_, label] = fitted.dual_coef_[0]
        intercepts[label] = fitted.intercept_[0]
    return coefficients, intercepts


def out_of_fold(
    gram: Floats, labels: NDArray[np.int64], splits: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
) -> Floats:
    """(n, 3) decision values by machines that did not see the window."""
    table = np.zeros((len(labels), 3))
    for rows, other in splits:
        coefficients, intercepts = solve(gram[np.ix_(rows, rows)], labels[rows])
        table[other] = gram[np.ix_(other, rows)] @ coefficients + intercepts
    return table


def calibrate(decisions: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(slope, offset) of the multinomial regression of the class on out-of-fold decision values."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e3, max_iter=1000).fit(decisions, labels)
    return np.asarray(fitted.coef_.T, np.float64), np.asarray(fitted.intercept_, np.float64)


def fit(windows: Sequence[str], gram: Floats, labels: NDArray[np.int64], decisions: Floats) -> Machine:
    """The machines on all windows, calibrated by out-of-fold decision values."""
    coefficients, intercepts = solve(gram, labels)
    slope, offset = calibrate(decisions, labels)
    used = np.flatnonzero(np.abs(coefficients).sum(1))
    return Machine(
        vectors=encode([windows[i] for i in used.tolist()]),
        coefficients=coefficients[used],
        intercepts=intercepts,
        slope=slope,
        offset=offset,
    )
