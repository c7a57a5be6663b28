"""Plots of answers against truth as PNG files, with the figures behind them as metrics.json."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.training import metrics

Floats = NDArray[np.float64]
SIDE = 4.4  #: inches
RELIABILITY_BINS = 10
NAME = 24  #: letters of a class's name beside an axis


def report(
    out: Path,
    truth: ArrayLike,
    probabilities: ArrayLike,
    *,
    classes: Sequence[str] = ("no", "yes"),
    threshold: float = 0.5,
    groups: NDArray[Any] | None = None,
    more: dict[str, Any] | None = None,
    draws: int = 1000,
) -> dict[str, Any]:
    """Writes roc, precision-recall, reliability and confusion as PNG, and metrics.json; gives the figures.

    truth: (n,) class numbers. probabilities: (n,) of class 1, or (n, classes): out-of-fold or held-out
    answers, never answers to training rows. more: figures to be kept beside these in metrics.json.
    draws: of the bootstrap behind the intervals.
    """
    t = np.asarray(truth, dtype=np.int64)
    table = _columns(np.asarray(probabilities, dtype=np.float64))
    if table.shape[1] == 2:
        found = metrics.binary(t, table[:, 1], threshold, groups, draws=draws)
        guess = (table[:, 1] >= threshold).astype(np.int64)
    else:
        found, guess = metrics.multiclass(t, table, groups, draws=draws), table.argmax(1)
    out.mkdir(parents=True, exist_ok=True)
    for name, png in plots(t, table, guess, classes).items():
        (out / f"{name}.png").write_bytes(png)
    return _kept(out, found, more)


def report_values(
    out: Path, truth: ArrayLike, guess: ArrayLike, *, unit: str = "", more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Writes measured.png and metrics.json of an estimator that gives values; gives the figures."""
    out.mkdir(parents=True, exist_ok=True)
    t, g = np.asarray(truth, dtype=np.float64), np.asarray(guess, dtype=np.float64)
    (out / "measured.png").write_bytes(measured(t, g, unit))
    return _kept(out, metrics.values(t, g), more)


def report_survival(
    out: Path,
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    found: dict[str, Any],
    *,
    unit: str = "",
) -> None:
    """Writes survival.png (what happened, by thirds of the risk that was said) and found as metrics.json.

    time, event (0 or 1), risk: (n,); the risk of rows that were not trained on, higher for the worse.
    """
    out.mkdir(parents=True, exist_ok=True)
    t, r = np.asarray(time, dtype=np.float64), np.asarray(risk, dtype=np.float64)
    (out / "survival.png").write_bytes(survival(t, np.asarray(event) == 1, r, unit))
    _kept(out, found, None)


def _kept(out: Path, found: dict[str, Any], more: dict[str, Any] | None) -> dict[str, Any]:
    whole = {**found, **(more or {})}
    (out / "metrics.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return whole


def _columns(probabilities: Floats) -> Floats:
    if probabilities.ndim == 1:
        return np.stack([1 - probabilities, probabilities], axis=1)
    return probabilities


def plots(
    truth: NDArray[np.int64], table: Floats, guess: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, bytes]:
    """roc, precision-recall, reliability and confusion as PNG. table: (n, classes)."""
    shown = [1] if table.shape[1] == 2 else [c for c in range(table.shape[1]) if (truth == c).any()]
    curves = [(classes[c], (truth == c).astype(int), table[:, c]) for c in shown]
    return {
        "roc": roc(curves),
        "precision-recall": precision_recall(curves),
        "reliability": reliability(truth, table),
        "confusion": confusion(truth, guess, classes),
    }


Named = Sequence[tuple[str, NDArray[np.int_], Floats]]  #: name, (n,) truth of 0 and 1, (n,) probability


def sheet(x: str, y: str, wide: float = SIDE, high: float = SIDE) -> tuple[Any, Any]:
    """(figure, axes) of one plot with named axes; wide, high: inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure: Any) -> bytes:
    """The figure as PNG, the same bytes for the same figure."""
    kept = io.BytesIO()
    figure.savefig(kept, format="png", dpi=110, metadata={"Software": None})
    return kept.getvalue()


def _legend(axes: Any, count: int, where: str) -> None:
    if count <= 8:
        axes.legend(loc=where, fontsize="small", frameon=False)


def roc(curves: Named) -> bytes:
    """Recall over false alarms; of several classes each against the others."""
    from sklearn.metrics import roc_curve

    figure, axes = sheet("false positive rate", "recall (sensitivity)")
    axes.plot([0, 1], [0, 1], ":", color="0.6")
    for name, truth, p in curves:
        if 0 < truth.sum() < len(truth):
            x, y, _ = roc_curve(truth, p)
            axes.plot(x, y, label=f"{name} AUC {metrics.auc(truth.astype(float), p):.3f}")
    _legend(axes, len(curves), "lower right")
    return png(figure)


def precision_recall(curves: Named) -> bytes:
    """Precision over recall, with the share of positives as what chance would give."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = sheet("recall (sensitivity)", "precision (positive predictive value)")
    for name, truth, p in curves:
        if 0 < truth.sum() < len(truth):
            y, x, _ = precision_recall_curve(truth, p)
            (line,) = axes.step(x, y, where="post", label=name)
            if len(curves) == 1:
                axes.axhline(truth.mean(), ls=":", color=line.get_color())
    axes.set_ylim(0, 1.02)
    _legend(axes, len(curves), "lower left")
    return png(figure)


def reliability(truth: NDArray[np.int64], table: Floats) -> bytes:
    """How often what was said came true, by tenths of the probability; with Wilson's 95 % intervals.

    Of two classes the probability of the second; of more the largest, and whether it was right.
    """
    if table.shape[1] == 2:
        p, hit = table[:, 1], (truth == 1).astype(float)
    else:
        p, hit = table.max(1), (table.argmax(1) == truth).astype(float)
    figure, axes = sheet("probability said", "share that came true")
    axes.plot([0, 1], [0, 1], ":", color="0.6")
    place = np.minimum((p * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    for index in np.unique(place):
        own = place == index
        low, high = wilson(float(hit[own].sum()), int(own.sum()))
        share = float(hit[own].mean())
        axes.errorbar(
            p[own].mean(), share, yerr=[[max(share - low, 0)], [max(high - share, 0)]],
            fmt="o", color="C0", ms=5, capsize=2,
        )  # fmt: skip
        axes.annotate(f"{own.sum()}", (p[own].mean(), share), (5, -9), textcoords="offset points", fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return png(figure)


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = 1.959964, hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return float(middle - half), float(middle + half)


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Counts of truth (rows) by answer (columns), shaded by their share of the row."""
    count = len(classes)
    table = np.zeros((count, count), dtype=np.int64)
    np.add.at(table, (truth, guess), 1)
    side = max(SIDE, 2.5 + 0.25 * count)
    names = [name if len(name) <= NAME else f"{name[: NAME - 1]}…" for name in classes]
    figure, axes = sheet("answer", "truth", wide=side + 0.2, high=side)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(
        range(count), names, rotation=45 if count > 3 else 0, ha="right" if count > 3 else "center"
    )
    axes.set_yticks(range(count), names)
    size = 10 if count <= 6 else 6
    for i, j in np.argwhere((table > 0) | (count <= 6)):
        colour = "white" if share[i, j] > 0.6 else "black"
        axes.text(j, i, str(table[i, j]), ha="center", va="center", color=colour, fontsize=size)
    return png(figure)


def measured(truth: Floats, guess: Floats, unit: str = "") -> bytes:
    """What was measured over what was said."""
    told = f" ({unit})" if unit else ""
    figure, axes = sheet(f"said{told}", f"measured{told}")
    low, high = min(truth.min(), guess.min()), max(truth.max(), guess.max())
    axes.plot([low, high], [low, high], ":", color="0.6")
    axes.scatter(guess, truth, s=9, alpha=0.5, linewidths=0)
    return png(figure)


def shares(rows: Sequence[tuple[str, int, int]]) -> bytes:
    """What share of those asked was answered, name by name. rows: (name, answered, asked)."""
    figure, axes = sheet("share answered", "", wide=1.4 * SIDE, high=max(2.0, 0.28 * len(rows) + 0.7))
    for place, (_, hits, count) in enumerate(reversed(rows)):
        low, high = wilson(hits, count)
        share = hits / count
        axes.barh(place, share, color="C0", alpha=0.45)
        axes.errorbar(
            share, place, xerr=[[max(share - low, 0)], [max(high - share, 0)]], color="C0", capsize=2
        )
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axes.set_xlim(0, 1.02)
    return png(figure)


THIRDS = ("lowest third of risk", "middle third", "highest third")


def survival(time: Floats, event: NDArray[np.bool_], risk: Floats, unit: str = "") -> bytes:
    """Survival after Kaplan and Meier in each third of the risk that was said."""
    figure, axes = sheet(f"time ({unit})" if unit else "time", "survival")
    third = np.searchsorted(np.quantile(risk, [1 / 3, 2 / 3]), risk)
    for index, name in enumerate(THIRDS):
        if (third == index).any():
            x, y = metrics.kaplan_meier(time[third == index], event[third == index])
            axes.step(x, y, where="post", label=name)
    axes.set_ylim(0, 1.02)
    _legend(axes, len(THIRDS), "lower left")
    return png(figure)
