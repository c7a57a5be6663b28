"""Fits the ensemble, tries the other learners on the same folds, and writes what was measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from models import registry
from models.calibration import expected_calibration_error
from models.peptide_amp import alignment, ensemble, features
from models.peptide_amp import data as sets
from models.peptide_amp.ensemble import Floats, Labels
from models.peptide_amp.evaluate import figures
from models.training import figures as plots
from models.training import package

FOLDS = 5
ANSWERED = 0.95  #: part of the out-of-fold peptides that the confident answer must leave answered
VERSION = "1.0.0"
PUBLISHED = {
    "accuracy": "AMP Scanner v2 .910 on the held-out part",
    "mcc": "AMP Scanner v2 .820 on the held-out part",
    "auc": "AMP Scanner v2 .965 on the held-out part",
}


def row(name: str, parts: Sequence[Floats], labels: Labels, groups: Labels, splits: Any) -> dict[str, Any]:
    """One line of the comparison: parts weighed by logistic regression on the other folds."""
    table, chances = np.stack(parts, axis=1), np.zeros(len(labels))
    for rows, other in splits:
        stack = ensemble.weigh(table[rows], labels[rows])
        chances[other] = expit(table[other] @ stack[:-1] + stack[-1])
    error = expected_calibration_error(chances, labels)
    return {"model": name, **figures(labels, chances, groups), "calibration_error": round(error, 4)}


def compare(
    peptides: list[str], labels: Labels, splits: Any, seed: int, deadline: float, say: Callable[[str], None]
) -> dict[str, Floats]:
    """Out-of-fold log-odds of the other learners, as far as the minutes last."""
    table = features.table(peptides)
    found: dict[str, Floats] = {}
    for name, learner in _learners(peptides, table, labels, seed).items():
        odds = np.zeros(len(labels))
        for rows, other in splits:
            if time.monotonic() > deadline:
                return found
            odds[other] = learner(rows, other)
        found[name] = odds
        say(f"{name}: accuracy {((odds > 0) == labels).mean():.4f}")
    return found


def _learners(peptides: list[str], table: Floats, labels: Labels, seed: int) -> dict[str, Any]:
    """Name -> (training rows, other rows) -> log-odds of the others."""
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from models.peptide_amp import network

    def trees(rows: Any, other: Any) -> Floats:
        fitted = ExtraTreesClassifier(ensemble.TREES, random_state=seed, n_jobs=1)
        fitted.fit(table[rows], labels[rows])
        return ensemble.forest_odds(fitted.predict_proba(table[other])[:, 1])

    def boosting(rows: Any, other: Any) -> Floats:
        fitted = HistGradientBoostingClassifier(
            max_iter=200, learning_rate=0.05, max_features=0.1, max_leaf_nodes=15, l2_regularization=5,
            random_state=seed,
        )  # fmt: skip
        fitted.fit(table[rows], labels[rows])
        return ensemble.forest_odds(fitted.predict_proba(table[other])[:, 1])

    def machine(rows: Any, other: Any) -> Floats:
        fitted = make_pipeline(StandardScaler(), SVC(gamma=0.0005)).fit(table[rows], labels[rows])
        return np.asarray(fitted.decision_function(table[other]))

    def memory(rows: Any, other: Any) -> Floats:
        shown, asked = ([peptides[i] for i in part.tolist()] for part in (rows, other))
        return network.learn(shown, labels[rows], asked, seed)

    return {
        "SVM, composition": machine,
        "extra trees, composition": trees,
        "gradient boosting, composition": boosting,
        "CNN and LSTM": memory,
    }


def confident(chances: Floats) -> float:
    """The highest of .50, .51, ... of either answer that leaves ANSWERED of the peptides answered."""
    surest = np.maximum(chances, 1 - chances)
    grid = [round(0.5 + 0.01 * step, 2) for step in range(40)]
    return max(limit for limit in grid if (surest >= limit).mean() >= ANSWERED)


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes ensemble.safetensors, card.toml, the example, figures.json and plots under out.

    data: a folder of `AMP.*.fa` and `DECOY.*.fa`, all of which are used. Aligning 2,132 peptides with
    one another takes a minute on one core, and so does the rest; the learners that the ensemble is
    compared with are left out when the minutes are up.
    """
    say = progress or (lambda _: None)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    peptides, labels = sets.read(data)
    out.mkdir(parents=True, exist_ok=True)
    scores, table = alignment.among(peptides), features.table(peptides)
    groups = sets.clusters(scores)
    splits = sets.splits(labels, groups, FOLDS, seed)
    say(f"{len(peptides)} peptides in {groups.max() + 1} clusters are aligned")
    parts = ensemble.out_of_fold(scores, table, labels, splits, seed)
    stack = ensemble.weigh(parts, labels)
    ensemble.save(ensemble.fit(peptides, scores, table, labels, stack, seed), out)
    lines = [
        row("alignment SVM and random forest", [parts[:, 0], parts[:, 1]], labels, groups, splits),
        row("SVM, alignment profile", [parts[:, 0]], labels, groups, splits),
        row("random forest, composition", [parts[:, 1]], labels, groups, splits),
    ]
    say(f"ensemble: accuracy {lines[0]['accuracy']['value']}, AUC {lines[0]['auc']['value']}")
    others = compare(peptides, labels, splits, seed, deadline, say)
    lines += [row(name, [odds], labels, groups, splits) for name, odds in others.items()]
    if "CNN and LSTM" in others:
        three = [parts[:, 0], parts[:, 1], others["CNN and LSTM"]]
        lines.append(row("alignment SVM, forest, CNN and LSTM", three, labels, groups, splits))
    chances = expit(parts @ stack[:-1] + stack[-1])
    sure = confident(chances)
    plots.report(out, labels, chances, classes=("other", "antimicrobial"), groups=groups, draws=200)
    told = {"n": len(labels), "folds": FOLDS, "confident": sure, "stack": stack.tolist(), "comparison": lines}
    (out / "figures.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    _package(out, lines[0], sure, len(labels))


def _package(out: Path, line: dict[str, Any], sure: float, count: int) -> None:
    """The card of this training and the example it answers."""
    dataset = f"the training peptides, {FOLDS}-fold cross-validation, peptides that are alike in one fold"
    own = [
        {"dataset": dataset, "metric": name, **line[name], "n": count, "published": told}
        for name, told in PUBLISHED.items()
    ]
    rule = f"out of fold: the highest of .50, .51, ... of either answer that leaves {ANSWERED:.0%} answered"
    points = [
        {"finding": "antimicrobial peptide", "threshold": 0.5, "chosen": "the likelier answer"},
        {"finding": "confident answer", "threshold": sure, "chosen": rule},
    ]
    card = registry.card("peptide-amp")
    package.again(out, card, version=VERSION, figures=own, operating_points=points)
