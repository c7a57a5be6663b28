"""Trains a family on molecules by its recipe, and writes what was measured beside the weights."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import registry
from models.chemistry import dataset, machine, measure, recipe
from models.chemistry.features import Floats
from models.chemistry.machine import Blend
from models.chemistry.recipe import Recipe
from models.training import figures, package

VERSION = "1.0.0"
ANSWERED = 0.99  #: part of the out-of-fold molecules that the gate of likeness must leave answered
Progress = Callable[[str], None]


def errors(residuals: Floats, likeness: Floats) -> Floats:
    """(3,) the middle likeness, and the size that 95 % of the errors below, and from it on, keep to."""
    middle = float(np.median(likeness))
    low = likeness < middle
    sizes = [
        float(np.quantile(np.abs(part), 0.95)) if len(part) else 0.0
        for part in (residuals[low], residuals[~low])
    ]
    return np.array([middle, *sizes])


def likeness_rows(said: Floats, truth: Floats, likeness: Floats, own: Recipe) -> list[dict[str, Any]]:
    """How good the answers are by likeness to the training molecules: the gate's grounds."""
    edges = [0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1.01]
    rows = []
    for low, high in pairwise(edges):
        inside = (likeness >= low) & (likeness < high)
        if not inside.any():
            continue
        line: dict[str, Any] = {"from": low, "to": min(high, 1.0), "n": int(inside.sum())}
        if own.classifies:
            line["accuracy"] = round(float(((said >= 0.5) == truth)[inside].mean()), 3)
        else:
            line["rmse"] = round(float(np.sqrt(((said - truth)[inside] ** 2).mean())), 3)
        rows.append(line)
    return rows


def line(name: str, scores: Floats, data: measure.Set, own: Recipe) -> dict[str, Any]:
    """One line of the comparison, after a calibration of its own."""
    blend = measure.blended(scores[:, None], data.answers, own)
    said = calibrated(blend(scores[:, None]), own)
    found = measure.figures(data.answers, said, own, 0.5)
    return {"model": name, **{k: v for k, v in found.items() if k not in ("f1", "mae")}}


def calibrated(raw: Floats, own: Recipe) -> Floats:
    """Probabilities of log-odds; values as they are."""
    return np.asarray(1 / (1 + np.exp(-raw))) if own.classifies else raw


def compared(
    data: measure.Set, own: Recipe, cuts: measure.Splits, seed: int, deadline: float, say: Progress
) -> list[dict[str, Any]]:
    """The lines of the learners that do not serve, as far as the minutes last."""
    from models.chemistry.compare import LEARNERS

    lines: list[dict[str, Any]] = []
    for name, learner in LEARNERS.items():
        if name in own.members:
            continue
        scores = np.zeros(len(data.answers))
        for number, (rows, others) in enumerate(cuts, 1):
            if time.monotonic() > deadline:
                return lines
            scores[others] = learner(data, own, rows, others, seed)
            say(f"fold {number}/{len(cuts)} of {name}")
        lines.append(line(name, scores, data, own))
        say(f"{name}: {headline(lines[-1])}")
    return lines


def headline(found: dict[str, Any]) -> str:
    """A line's first figure in words."""
    name = "auc" if "auc" in found else "rmse"
    return f"{name} {found[name]['value']}"


def train(
    family: Path,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes model.safetensors, recipe.toml, card.toml, the example, plots and metrics.json under out.

    minutes: after which learners that are only compared are left out; the serving ones are always fitted.
    """
    say = progress or (lambda _: None)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    own = recipe.read(family)
    rows = dataset.read(data, own.columns)
    part = measure.prepared(rows, own)
    say(f"{len(part.answers)} molecules, {len(np.unique(part.groups))} groups by {own.folds}")
    cuts = part.splits(measure.FOLDS, seed)
    scores, likeness = measure.out_of_fold(part, own, cuts, seed=seed, progress=say)
    blend = measure.blended(scores, part.answers, own)
    said = calibrated(blend(scores), own)
    off = errors(said - part.answers, likeness)
    fitted = machine.fit(part.seen, part.aims, part.answers, own, blend, part.names, seed, off)
    out.mkdir(parents=True, exist_ok=True)
    machine.save(fitted, out)
    if (family / recipe.FILE).resolve() != (out / recipe.FILE).resolve():
        shutil.copyfile(family / recipe.FILE, out / recipe.FILE)
    lines = [{"model": "served: the blend", **measure.figures(part.answers, said, own, 0.5)}]
    lines += [line(name, scores[:, i], part, own) for i, name in enumerate(own.members)]
    for told in lines:
        say(f"{told['model']}: {headline(told)}")
    more = {
        "n": len(part.answers),
        "folds": f"{measure.FOLDS}, by {own.folds}",
        "likeness": likeness_rows(said, part.answers, likeness, own),
        "likeness_1st_percentile": round(float(np.quantile(likeness, 1 - ANSWERED)), 3),
        "blend": _told(blend, own),
        "comparison": lines + compared(part, own, cuts, seed, deadline, say),
    }
    plots(out, part.answers, said, own, more)
    package.again(
        out, registry.card(own.name), version=VERSION, figures=card_figures(lines[0], len(said), own),
        notes=notes(more, own),
    )  # fmt: skip


def notes(more: dict[str, Any], own: Recipe) -> str:
    """The card's notes: every learner on the same folds with its intervals, the blend, the gate's grounds."""
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in more["blend"].items())
    figure = "accuracy" if own.classifies else "rmse"
    by = [f"{r['from']:.2f}-{r['to']:.2f} {figure} {r[figure]:.3f} (n {r['n']})" for r in more["likeness"]]
    return "\n".join(
        (
            f"Compared out of fold ({more['folds']}; {more['n']} molecules), 95 % intervals:", "",
            package.comparison(more["comparison"]), "",
            f"Served: the blend of the first {len(own.members)}, weights and offset {weights}.", "",
            f"Out of fold by likeness to the likest training molecule: {'; '.join(by)}.", "",
        )
    )  # fmt: skip


def _told(blend: Blend, own: Recipe) -> dict[str, float]:
    weights = dict(zip(own.members, blend.weights.round(4).tolist(), strict=True))
    return {**weights, "offset": round(blend.offset, 4)}


def plots(out: Path, truth: Floats, said: Floats, own: Recipe, more: dict[str, Any]) -> None:
    """PNGs and metrics.json."""
    if own.classifies:
        whole: NDArray[np.int64] = truth.astype(np.int64)
        figures.report(out, whole, said, more=more)
    else:
        figures.report_values(out, truth, said, unit=own.asked.value_name, more=more)
    (out / "comparison.json").write_text(json.dumps(more["comparison"], indent=2) + "\n", "utf-8")


def card_figures(served: dict[str, Any], n: int, own: Recipe) -> list[dict[str, Any]]:
    """The card's figures: out of fold, of the blend that serves."""
    told = f"the training molecules, {measure.FOLDS}-fold cross-validation, equal {own.folds}s in one fold"
    names = ("auc", "accuracy", "f1", "brier") if own.classifies else ("rmse", "mae", "r2")
    return [{"dataset": told, "metric": name, **served[name], "n": n} for name in names]
