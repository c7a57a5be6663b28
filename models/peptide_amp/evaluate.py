"""Accuracy, Matthews correlation and AUC of the antimicrobial answer on a folder of peptides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.evaluation import Interval, bootstrap
from models.peptide_amp import alignment, ensemble, features
from models.peptide_amp.data import clusters, splits
from models.peptide_amp.ensemble import Floats, Labels

INNER = 4  #: folds by which the parts are weighed inside a fold


def figures(labels: Labels, chances: Floats, groups: NDArray[np.int64] | None = None) -> dict[str, Interval]:
    """accuracy and mcc at .5, and auc, each with its 95 % interval; whole groups are drawn together."""
    from sklearn.metrics import matthews_corrcoef, roc_auc_score

    guess = (chances >= 0.5).astype(np.int64)
    return {
        "accuracy": bootstrap(lambda y, p: float((y == p).mean()), labels, guess, groups=groups),
        "mcc": bootstrap(_of_both(matthews_corrcoef), labels, guess, groups=groups),
        "auc": bootstrap(_of_both(roc_auc_score), labels, chances, groups=groups),
    }


def _of_both(score: Callable[[Labels, Any], float]) -> Callable[..., float]:
    """The score, undefined (ValueError) of rows that all have one label: such a draw is left out."""

    def measured(labels: Labels, answers: Any) -> float:
        if len(np.unique(labels)) < 2:
            raise ValueError("the score needs both labels")
        return float(score(labels, answers))

    return measured


def probabilities(
    peptides: list[str], labels: Labels, groups: Labels, scores: Floats, folds: int, seed: int = 0
) -> Floats:
    """(n,) by ensembles that saw no peptide of the cluster, their parts weighed by inner folds."""
    table, found = features.table(peptides), np.zeros(len(labels))
    profile = alignment.profile(scores)
    for rows, other in splits(labels, groups, folds, seed):
        own = (scores[np.ix_(rows, rows)], table[rows], labels[rows])
        inner = splits(labels[rows], groups[rows], INNER, seed)
        stack = ensemble.weigh(ensemble.out_of_fold(*own, inner, seed), labels[rows])
        machine = ensemble.new_machine().fit(profile[np.ix_(rows, rows)], labels[rows])
        forest = ensemble.new_forest(seed).fit(table[rows], labels[rows])
        odds = ensemble.forest_odds(forest.predict_proba(table[other])[:, 1])
        decision = machine.decision_function(profile[np.ix_(other, rows)])
        found[other] = expit(stack[0] * decision + stack[1] * odds + stack[2])
    return found


def _answers(
    data: Path, folds: int | None, device: str, name: str
) -> tuple[Labels, Floats, Labels | None, list[bool]]:
    """(labels, probabilities, clusters where folds were cut, which peptides the model abstains on)."""
    from models import registry
    from models.peptide_amp.data import read
    from models.peptide_amp.model import PeptideAmp, refusal

    peptides, labels = read(data)
    served = registry.load(name, device)
    assert isinstance(served, PeptideAmp)  # noqa: S101 - the registry opens the family it was asked for
    groups = None
    if folds:
        scores = alignment.among(peptides)
        groups = clusters(scores)
        chances = probabilities(peptides, labels, groups, scores, folds)
    else:
        chances = served.ensemble.probabilities(peptides)
    silent = [
        refusal(p) is not None or served.unsure(float(c)) for p, c in zip(peptides, chances, strict=True)
    ]
    return labels, chances, groups, silent


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "peptide-amp"
) -> dict[str, Any]:
    """accuracy, mcc and auc with 95 % intervals, n, and the fraction abstained.

    Every peptide counts, by probability .5, those on which the model abstains too. With folds the
    recipe is carried out anew in each, peptides that are alike kept together.
    """
    labels, chances, groups, silent = _answers(data, folds, device, name)
    return {
        **figures(labels, chances, groups),
        "n": len(labels),
        "abstained": round(float(np.mean(silent)), 4),
        "note": "abstained peptides are counted by their probability",
    }


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth, probabilities and which peptides are answered, for plots (see `models.training.curves`)."""
    labels, chances, _, silent = _answers(data, folds, "cpu", "peptide-amp")
    return {
        "y": labels,
        "p": chances,
        "classes": ("other", "antimicrobial"),
        "answered": ~np.array(silent),
        "unseen": bool(folds),
    }
