"""Fits the machines, tries the other learners on the same folds, and writes what was measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models import registry
from models.calibration import expected_calibration_error, fit_temperature, threshold_at_specificity
from models.evaluation import bootstrap
from models.splice_site import data as sets
from models.splice_site import machine
from models.splice_site.evaluate import accuracy
from models.splice_site.kernel import Floats, encode, similarity
from models.splice_site.model import CONFIDENT_POINT, SCAN_POINTS, WINDOW_POINT
from models.splice_site.scan import ACCEPTOR, DONOR, HALF
from models.training import figures as plots
from models.training import package

FOLDS = 10
VERSION = "1.0.0"
PUBLISHED = "StatLog's best .959; KBANN 1991 about .94 on 1,000 of the windows"
SPECIFICITY = 0.99  #: of a scan's thresholds, over windows with the site's two letters that are none
ANSWERED = 0.98  #: part of the out-of-fold windows that the confident class must leave answered
Labels = NDArray[np.int64]
Splits = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def row(name: str, logits: Floats, labels: Labels, groups: Labels) -> dict[str, Any]:
    """One line of the comparison; log loss and calibration after a temperature of its own."""
    chances = softmax(logits / fit_temperature(logits, labels), axis=1)
    own = np.clip(chances[np.arange(len(labels)), labels], 1e-12, 1)
    return {
        "model": name,
        "accuracy": bootstrap(accuracy, labels, logits.argmax(1), groups=groups),
        "log_loss": round(float(-np.log(own).mean()), 4),
        "calibration_error": round(expected_calibration_error(chances, labels), 4),
    }


def operating_points(windows: list[str], labels: Labels, chances: Floats) -> dict[str, float]:
    """The thresholds, from out-of-fold probabilities: of a scan's two sites, and of the confident class."""
    donors = np.array([w[HALF : HALF + 2] == "GT" for w in windows])
    acceptors = np.array([w[HALF - 2 : HALF] == "AG" for w in windows])
    found = {}
    for name, label, there in (("donor", DONOR, donors), ("acceptor", ACCEPTOR, acceptors)):
        limit = threshold_at_specificity(chances[there, label], labels[there] == label, SPECIFICITY)
        found[f"{name} in a scan"] = round(limit, 3)
        sites = there & (labels == label)
        found[f"{name}s found at it"] = round(float((chances[sites, label] >= limit).mean()), 4)
    grid = [round(0.05 * step, 2) for step in range(8, 20)]
    answered = [limit for limit in grid if (chances.max(1) >= limit).mean() >= ANSWERED]
    return found | {"confident class": max(answered, default=grid[0])}


def compare(
    windows: list[str], labels: Labels, splits: Splits, seed: int, deadline: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The other learners' lines, as far as the minutes last."""
    from models.splice_site.compare import LEARNERS

    codes, groups = encode(windows), sets.groups(windows)
    lines: list[dict[str, Any]] = []
    for name, learner in LEARNERS.items():
        table = np.zeros((len(labels), 3))
        for rows, other in splits:
            if time.monotonic() > deadline:
                return lines
            table[other] = learner(codes[rows], labels[rows], codes[other], seed)
        lines.append(row(name, table, labels, groups))
        say(f"{name}: accuracy {lines[-1]['accuracy']['value']}")
    return lines


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes machine.safetensors, card.toml, the example, figures.json and plots under out.

    data: ARFF of name, 60 bases, class. The machines take half a minute on one core; the learners
    that they are compared with are left out when the minutes are up. seed: of folds and networks.
    """
    say = progress or (lambda _: None)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    windows, labels = sets.read(data)
    out.mkdir(parents=True, exist_ok=True)
    splits, codes = sets.splits(windows, labels, FOLDS, seed), encode(windows)
    gram = similarity(codes, codes)
    decisions = machine.out_of_fold(gram, labels, splits)
    fitted = machine.fit(windows, gram, labels, decisions)
    fitted.save(out)
    logits = decisions @ fitted.slope + fitted.offset
    lines = [row("SVM, weighted degree kernel", logits, labels, sets.groups(windows))]
    say(f"SVM: accuracy {lines[0]['accuracy']['value']}, {len(fitted.vectors)} support windows")
    chances = softmax(logits, axis=1)
    figures: dict[str, Any] = {
        "n": len(labels),
        "folds": FOLDS,
        "operating_points": operating_points(windows, labels, chances),
        "comparison": lines + compare(windows, labels, splits, seed, deadline, say),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    plots.report(out, labels, chances, classes=sets.CLASSES, groups=sets.groups(windows), draws=200)
    own = {"metric": "accuracy", **lines[0]["accuracy"], "n": len(labels), "published": PUBLISHED}
    own["dataset"] = f"the training windows, {FOLDS}-fold cross-validation, equal windows in one fold"
    points = card_points(figures["operating_points"])
    notes = f"Compared out of fold, {FOLDS} folds, equal windows in one fold; 95 % intervals:\n\n"
    notes += package.comparison(figures["comparison"]) + "\n"
    card = registry.card("splice-site")
    package.again(out, card, version=VERSION, figures=[own], operating_points=points, notes=notes)


def card_points(found: dict[str, float]) -> list[dict[str, Any]]:
    """The card's operating points."""
    rule = (
        f"out of fold: {SPECIFICITY:.0%} of the windows with its two letters that are no such site are below"
    )
    sure = f"out of fold: the highest of .40, .45, ... at which {ANSWERED:.0%} of the windows are answered"
    rows = [
        (WINDOW_POINT, 0.5, "the likelier answer, fixed beforehand"),
        (CONFIDENT_POINT, found["confident class"], sure),
        *((point, found[point], rule) for point in SCAN_POINTS),
    ]
    return [dict(zip(("finding", "threshold", "chosen"), row, strict=True)) for row in rows]
