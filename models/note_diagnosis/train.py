"""Fits the regression, tries the network beside it on the same folds, and writes what was measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from models.calibration import expected_calibration_error, fit_temperature
from models.card import read as read_card
from models.evaluation import bootstrap
from models.note_diagnosis import gate, labels, linear
from models.note_diagnosis.evaluate import accuracy, f1_macro, logits, out_of_fold, splits
from models.note_diagnosis.linear import Floats, Linear
from models.note_diagnosis.model import FINDING
from models.training import figures, package

FOLDS = 5
ANSWERED = 0.98  #: part of the out-of-fold texts that the operating point must leave answered
Truth = NDArray[np.int64]


def _words_alone(texts: list[str], truth: Truth) -> Floats:
    """(n, classes) out-of-fold log-probabilities of the usual TF-IDF of words and pairs, for comparison."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    table = np.zeros((len(texts), len(labels.diseases())))
    for train_rows, other in splits(truth, FOLDS):
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=50, max_iter=1000))
        model.fit([texts[i] for i in train_rows], truth[train_rows])
        table[other] = model.predict_log_proba([texts[i] for i in other])
    return table


def _network(texts: list[str], truth: Truth, seeds: list[int], deadline: float, say: Any) -> Floats | None:
    """(n, classes) out-of-fold log-probabilities of the networks' mean; None when the time is up."""
    from models.note_diagnosis import network

    classes = len(labels.diseases())
    table = np.zeros((len(texts), classes))
    for fold, (train_rows, other) in enumerate(splits(truth, FOLDS)):
        notes, unseen = [texts[i] for i in train_rows], [texts[i] for i in other]
        for seed in seeds:
            if time.monotonic() > deadline:
                return None
            found = network.fit(notes, truth[train_rows], unseen, classes=classes, seed=seed)
            table[other] += log_softmax(found, axis=1) / len(seeds)
            say(f"fold {fold + 1} seed {seed}: accuracy {accuracy(truth[other], found.argmax(1)):.4f}")
    return table


def _row(name: str, table: Floats, truth: Truth) -> dict[str, Any]:
    """One line of the comparison, after a temperature of its own."""
    temperature = fit_temperature(table, truth)
    probabilities = softmax(table / temperature, axis=1)
    own = probabilities[np.arange(len(truth)), truth]
    return {
        "model": name,
        "accuracy": bootstrap(accuracy, truth, table.argmax(1)),
        "f1_macro": bootstrap(f1_macro, truth, table.argmax(1)),
        "log_loss": round(float(-np.log(own).mean()), 4),
        "calibration_error": round(expected_calibration_error(probabilities, truth), 4),
        "temperature": temperature,
    }


def operating_point(probabilities: Floats) -> float:
    """The highest of .05, .10, ... that leaves at least ANSWERED of the texts answered."""
    highest = probabilities.max(1)
    grid = [round(0.05 * step, 2) for step in range(1, 20)]
    return max([t for t in grid if (highest >= t).mean() >= ANSWERED], default=grid[0])


def refused(model: Linear, temperature: float, threshold: float) -> dict[str, float]:
    """Of each kind of invented stranger, the part that the model keeps silent on."""
    found = {}
    for kind, texts in labels.strangers().items():
        unsure = softmax(logits(model, texts) / temperature, axis=1).max(1) < threshold
        strange = np.array([gate.stranger(t, model.knows) for t in texts])
        found[kind] = round(float((unsure | strange).mean()), 4)
    return found


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes linear.safetensors, vocabulary.json, calibration.json, figures.json, plots, card and example.

    data: csv with columns label, text. The network is trained only for the comparison, two seeds a
    fold, and left out when the minutes are up. Everything else takes under a minute on one core.
    """
    say = progress or (lambda _: None)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    texts, truth = labels.read(data)
    out.mkdir(parents=True, exist_ok=True)
    table = out_of_fold(texts, truth, FOLDS)
    rows = [_row("words, pairs and letters + logistic regression", table, truth)]
    rows.append(_row("words and pairs + logistic regression", _words_alone(texts, truth), truth))
    temperature = rows[0]["temperature"]
    probabilities = softmax(table / temperature, axis=1)
    threshold = operating_point(probabilities)
    model = linear.fit(texts, truth)
    model.save(out)
    calibration = {"temperature": temperature, "threshold": threshold}
    (out / "calibration.json").write_text(json.dumps(calibration, indent=2) + "\n", "utf-8")
    say(f"regression: accuracy {rows[0]['accuracy']['value']}, threshold {threshold}")
    net = _network(texts, truth, [seed, seed + 1], deadline, say)
    if net is not None:
        rows.append(_row("LSTM with self-attention, mean of two", net, truth))
        blend = log_softmax(table / temperature, axis=1) + log_softmax(net / rows[-1]["temperature"], axis=1)
        rows.append(_row("regression and LSTM together", blend / 2, truth))
    sure = probabilities.max(1) >= threshold
    told = {
        "n": len(texts),
        "folds": FOLDS,
        "comparison": rows,
        "answered": round(float(sure.mean()), 4),
        "accuracy_where_answered": round(accuracy(truth[sure], table[sure].argmax(1)), 4),
        "strangers_refused": refused(model, temperature, threshold),
    }
    (out / "figures.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    names = [d.label for d in labels.diseases()]
    figures.report(out, truth, probabilities, classes=names, draws=200)
    _carded(out, rows[0], len(texts), threshold)


def _carded(out: Path, row: dict[str, Any], count: int, threshold: float) -> None:
    """The served card with the figures and the threshold of this training."""
    served = read_card(labels.HERE)
    dataset = f"the texts trained on, {FOLDS}-fold cross-validation"
    rule = f"out of fold: the highest of .05, .10, ... at which {ANSWERED:.0%} of the texts are answered"
    package.again(
        out,
        served,
        version=f"{served.version}+{package.sha256(out / 'linear.safetensors')[:8]}",
        figures=[
            {"dataset": dataset, "metric": name, "n": count, **row[name]} for name in ("accuracy", "f1_macro")
        ],
        operating_points=[{"finding": FINDING, "threshold": threshold, "chosen": rule}],
        notes="Trained anew. The comparison with other learners is in figures.json.",
    )
