"""A support vector machine on alignment profiles and a random forest on composition, weighed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.estimators import Predictor, pack, unpack
from models.peptide_amp import alignment, features
from models.peptide_amp.data import LETTERS

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
FILE = "ensemble.safetensors"
PARTS = 64  #: principal components of the alignment profile
PENALTY, WIDTH = 3.0, 0.0005  #: the machine's C and gamma, by cross-validation
TREES = 300
SUREST = 1e-3  #: a forest's probabilities are kept so far from 0 and 1 before their log-odds are taken


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The fitted parts."""

    references: tuple[str, ...]  #: the training peptides, with which a peptide is aligned
    labels: Labels  #: (references,) 1 antimicrobial, 0 not
    machine: Predictor  #: on alignment profiles
    forest: Predictor  #: on features.table
    stack: Floats  #: (3,) weight of the machine's decision, of the forest's log-odds, intercept

    def log_odds(self, peptides: Sequence[str]) -> tuple[Floats, Floats]:
        """((n,) calibrated log-odds, (n, references) alignment scores)."""
        scores = alignment.scores(peptides, self.references)
        return self.combine(scores, features.table(peptides)), scores

    def combine(self, scores: Floats, table: Floats) -> Floats:
        """(n,) calibrated log-odds from alignment scores and features."""
        decision = self.machine.decision_function(alignment.profile(scores))
        odds = forest_odds(self.forest.predict_proba(table)[:, 1])
        return np.asarray(np.stack([decision, odds, np.ones(len(odds))], axis=1) @ self.stack)

    def probabilities(self, peptides: Sequence[str]) -> Floats:
        """(n,) calibrated probabilities of an antimicrobial peptide."""
        return np.asarray(expit(self.log_odds(peptides)[0]))

    def weights(self, peptide: str) -> Floats:
        """(residues,) what the log-odds lose when the residue is replaced by alanine: an alanine scan."""
        changed = [peptide[:i] + "A" + peptide[i + 1 :] for i in range(len(peptide))]
        found, _ = self.log_odds([peptide, *changed])
        return np.asarray(found[0] - found[1:])


def forest_odds(chances: Floats) -> Floats:
    """Log-odds of a forest's probabilities."""
    kept = np.clip(chances, SUREST, 1 - SUREST)
    return np.asarray(np.log(kept / (1 - kept)))


def new_machine() -> Any:
    """The machine, unfitted: profiles standardised, reduced, then an RBF kernel."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), PCA(PARTS, random_state=0), SVC(C=PENALTY, gamma=WIDTH))


def new_forest(seed: int) -> Any:
    """The forest, unfitted."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, random_state=seed, n_jobs=1)


def out_of_fold(
    scores: Floats, table: Floats, labels: Labels, splits: Sequence[tuple[Any, Any]], seed: int
) -> Floats:
    """(n, 2) the machine's decision and the forest's log-odds, by parts that did not see the cluster."""
    found, profile = np.zeros((len(labels), 2)), alignment.profile(scores)
    for rows, other in splits:
        machine = new_machine().fit(profile[np.ix_(rows, rows)], labels[rows])
        found[other, 0] = machine.decision_function(profile[np.ix_(other, rows)])
        forest = new_forest(seed).fit(table[rows], labels[rows])
        found[other, 1] = forest_odds(forest.predict_proba(table[other])[:, 1])
    return found


def weigh(parts: Floats, labels: Labels) -> Floats:
    """(columns + 1,) the logistic regression of the label on out-of-fold parts: weights, then intercept."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=10.0).fit(parts, labels)
    return np.append(fitted.coef_[0], fitted.intercept_[0])


def fit(
    peptides: Sequence[str], scores: Floats, table: Floats, labels: Labels, stack: Floats, seed: int
) -> dict[str, NDArray[Any]]:
    """The arrays of an ensemble fitted to all peptides: what `save` writes and `opened` reads."""
    machine = new_machine().fit(alignment.profile(scores), labels)
    forest = new_forest(seed).fit(table, labels)
    letters = "".join(peptides).encode("ascii")
    place = np.frombuffer(letters, np.uint8).copy()
    return {
        **pack(machine, prefix="machine."),
        **pack(forest, prefix="forest."),
        "letters": np.array([LETTERS.index(chr(code)) for code in place], np.uint8),
        "lengths": np.array([len(peptide) for peptide in peptides], np.uint16),
        "labels": labels.astype(np.uint8),
        "stack": stack,
    }


def opened(arrays: dict[str, NDArray[Any]]) -> Ensemble:
    """The ensemble of such arrays."""
    letters = "".join(LETTERS[code] for code in arrays["letters"])
    ends = np.cumsum(arrays["lengths"], dtype=np.int64).tolist()
    return Ensemble(
        references=tuple(letters[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)),
        labels=arrays["labels"].astype(np.int64),
        machine=unpack(arrays, prefix="machine."),
        forest=unpack(arrays, prefix="forest."),
        stack=arrays["stack"],
    )


def save(arrays: dict[str, NDArray[Any]], folder: Path) -> None:
    """Writes ensemble.safetensors."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / FILE)


def load(folder: Path) -> Ensemble:
    """The ensemble in a folder."""
    from safetensors.numpy import load_file

    return opened(load_file(folder / FILE))
