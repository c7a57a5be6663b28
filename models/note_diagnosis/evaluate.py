"""Accuracy and macro F1 of the likely disease on a csv of label and text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.calibration import fit_temperature
from models.evaluation import bootstrap
from models.note_diagnosis import labels, linear
from models.note_diagnosis.linear import Floats, Linear


def accuracy(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> float:
    """The part of the texts whose likeliest disease is the label."""
    return float((truth == guess).mean())


def f1_macro(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> float:
    """The mean F1 over the diseases that occur as label or guess."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, guess, average="macro", zero_division=0.0))


def splits(truth: NDArray[np.int64], folds: int, seed: int = 0) -> list[tuple[Any, Any]]:
    """(training rows, other rows) of each fold, every disease spread evenly."""
    from sklearn.model_selection import StratifiedKFold

    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(cut.split(np.zeros(len(truth)), truth))


def out_of_fold(texts: list[str], truth: NDArray[np.int64], folds: int, seed: int = 0) -> Floats:
    """(n, classes) logits of regressions that did not see the text: the serving recipe in folds."""
    table = np.zeros((len(texts), len(labels.diseases())))
    for train, other in splits(truth, folds, seed):
        fitted = linear.fit([texts[i] for i in train], truth[train])
        table[other] = logits(fitted, [texts[i] for i in other])
    return table


def logits(model: Linear, texts: list[str]) -> Floats:
    """(n, classes), one row a text."""
    return np.stack([model.logits(t) for t in texts])


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "note-diagnosis"
) -> dict[str, Any]:
    """Accuracy and macro F1 with 95 % intervals, n, and the fraction abstained.

    Every text counts in both figures by its likeliest disease, those on which the model abstains
    too; `abstained` is their fraction, a plain number. With folds the serving recipe is trained
    anew in each. Raises ValueError on labels that the model does not know.
    """
    from models import registry
    from models.note_diagnosis.model import NoteDiagnosis
    from models.payloads import Note

    texts, truth = labels.read(data)
    served = registry.load(name, device)
    assert isinstance(served, NoteDiagnosis)  # noqa: S101 - the registry opens the family it was asked for
    if folds:
        table = out_of_fold(texts, truth, folds)
        silent = [served.silent(t, row) is not None for t, row in zip(texts, table, strict=True)]
    else:
        table = logits(served.linear, texts)
        silent = [d.abstained for d in served.examine([Note(text=t) for t in texts])]
    guess = table.argmax(1)
    figures: dict[str, Any] = {m.__name__: bootstrap(m, truth, guess) for m in (accuracy, f1_macro)}
    return {
        **figures,
        "n": len(texts),
        "abstained": round(float(np.mean(silent)), 4),
        "note": "abstained texts are counted by their likeliest disease",
    }


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth, probabilities and which texts are answered, for plots (see `models.training.curves`).

    With folds each text is answered by a regression that did not see it.
    """
    from models import registry
    from models.note_diagnosis.model import NoteDiagnosis

    texts, truth = labels.read(data)
    served = registry.load("note-diagnosis", "cpu")
    assert isinstance(served, NoteDiagnosis)  # noqa: S101 - the registry opens the family it was asked for
    table = out_of_fold(texts, truth, folds) if folds else logits(served.linear, texts)
    temperature = fit_temperature(table, truth) if folds else served.temperature
    return {
        "y": truth,
        "p": softmax(table / temperature, axis=1),
        "classes": [d.label for d in labels.diseases()],
        "answered": [served.silent(t, row) is None for t, row in zip(texts, table, strict=True)],
        "unseen": bool(folds),
    }
