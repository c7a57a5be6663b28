"""Fits the shrunken centroids, tries the other learners on the same folds, and writes what was measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import registry
from models.training import figures as plots
from models.training import package
from models.tumour_expression import centroids
from models.tumour_expression import data as sets
from models.tumour_expression.compare import LEARNERS, scores
from models.tumour_expression.data import Floats, Labels
from models.tumour_expression.evaluate import interval, out_of_fold

FOLDS = 8  #: as many as the rarest tumour has samples
VERSION = "1.0.0"
SEEDS = 3  #: ways to cut the folds


def row(name: str, cuts: list[Floats], labels: Labels) -> dict[str, Any]:
    """One line of the comparison: right answers of each cut, mean log loss after a temperature each."""
    losses = []
    for table in cuts:
        chances = centroids.probabilities(table, centroids.temperature(table, labels))
        losses.append(-np.log(np.clip(chances[np.arange(len(labels)), labels], 1e-12, 1)).mean())
    right = [int((table.argmax(1) == labels).sum()) for table in cuts]
    return {"model": name, "right": right, "log_loss": round(float(np.mean(losses)), 4)}


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes centroids.safetensors, card.toml, the example, figures.json and plots under out.

    data: a folder of `*_x*.csv` (columns V1 to V2308) and `*_y*.csv` (class numbers 1 to 4). The
    centroids take seconds; the learners that they are compared with are left out when the minutes
    are up.
    """
    say = progress or (lambda _: None)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    table, labels = sets.read(data)
    out.mkdir(parents=True, exist_ok=True)
    cuts = [out_of_fold(table, labels, FOLDS, seed + s) for s in range(SEEDS)]
    lines = [row("nearest shrunken centroids", [found for found, _ in cuts], labels)]
    shrinkage = centroids.choose(table, labels, seed)
    fitted = centroids.fit(table, labels, shrinkage)
    furthest = max(float(distances.max()) for _, distances in cuts)
    degree = float(np.mean([centroids.temperature(found, labels) for found, _ in cuts]))
    centroids.save(fitted, out, temperature=[degree], furthest=[furthest], mean=table.mean(0))
    say(f"centroids: {lines[0]['right']} of {len(labels)} right, {len(fitted.genes)} genes")
    lines += _others(table, labels, seed, deadline, say)
    chances = np.stack([centroids.probabilities(found, degree).max(1) for found, _ in cuts])
    figures = {
        "n": len(labels),
        "folds": FOLDS,
        "shrinkage": shrinkage,
        "genes": len(fitted.genes),
        "temperature": degree,
        "furthest": furthest,
        "least_sure": round(float(chances.min()), 4),
        "comparison": lines,
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    names = [tumour.short for tumour in sets.TUMOURS]
    plots.report(out, labels, centroids.probabilities(cuts[0][0], degree), classes=names)
    _carded(out, lines, measured(cuts[0][0], labels), len(labels))


def _others(
    table: Floats, labels: Labels, seed: int, deadline: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The lines of the learners that do not serve, as many as the time allows."""
    lines = []
    for name, learner in LEARNERS.items():
        if time.monotonic() > deadline:
            break
        found = [scores(learner, table, labels, FOLDS, seed + s) for s in range(SEEDS)]
        lines.append(row(name, found, labels))
        say(f"{name}: {lines[-1]['right']} of {len(labels)} right")
    return lines


def _carded(out: Path, lines: Sequence[dict[str, Any]], figure: dict[str, Any], count: int) -> None:
    """Writes card and example beside the weights, with the comparison as notes."""
    notes = f"Compared out of fold, {FOLDS} folds cut in {SEEDS} ways, right of {count}:\n\n"
    notes += package.comparison(lines) + "\n"
    card = registry.card("tumour-expression")
    package.again(out, card, version=VERSION, figures=[figure], notes=notes)


def measured(scores: Floats, labels: Labels) -> dict[str, Any]:
    """The card's figure: accuracy out of fold with its interval."""
    return {
        "dataset": f"the training samples, {FOLDS}-fold cross-validation, genes selected inside the folds",
        "metric": "accuracy",
        **interval(labels, scores.argmax(1)),
        "n": len(labels),
        "published": "20 of 20 held-out samples (Khan 2001; Tibshirani 2002)",
    }
