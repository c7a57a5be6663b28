"""Answers beside the truth, as a report draws them: ROC, precision, reliability, confusion, survival.

A family may offer `evaluate.curves(data) -> dict`, with `folds` as a keyword where its rows must be answered
by weights retrained without them. Its keys, by the kind of answer; n is the number of rows:

- classes: `y` (n,) class numbers; `p` (n,) probability of class 1, or (n, classes); `classes` their names;
  `threshold`
- values: `y` (n,), `value` (n,), `unit`
- survival: `time` (n,), `event` (n,) of 0 and 1, `risk` (n,) higher for the worse, `unit` of the time
- rules: `y` (n,) class numbers, `guess` (n,) those answered; `classes` their names
- coverage: `shares`, name -> (answered, right of those, asked)
- a generator: `likeness`, as `models.synthesis.likeness` gives it
- of any kind: `groups`, name -> (n,) words or numbers, for subgroups; `persons` (n,) whose row it is, drawn
  together; `answered` whether the model answered rather than abstained, (n,) or one an input; `unseen`,
  whether no row was answered by weights that learnt from it; `note`, a sentence to be read beside the plots
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import charts, drawing
from models.training import figures, invented, metrics, subgroups
from models.training.thin import thin

Floats = NDArray[np.float64]
CURVES = 6  #: classes drawn, the commonest first
FLATTERY = (
    "Where these weights learnt from these rows, the plots and subgroups flatter; believe the figures above."
)


def drawn(found: Mapping[str, Any]) -> list[str]:
    """Plots and subgroup tables as HTML. Raises ValueError of keys that fit no kind of answer."""
    kinds: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
        "risk": _survival,
        "value": _values,
        "p": _classes,
        "guess": _rules,
        "shares": _coverage,
        "likeness": invented.plots,
    }
    kind = next((name for name in kinds if name in found), None)
    if kind is None:
        raise ValueError(f"curves have {', '.join(found)}; expected one of {', '.join(kinds)} among them")
    heard = [] if kind in ("shares", "likeness") else [_heard(found)]
    note = [drawing.paragraph(found["note"])] if "note" in found else []
    return [*heard, *note, *kinds[kind](found), *subgroups.tables(found)]


def _heard(found: Mapping[str, Any]) -> str:
    """Who answered, and how many rows were left unanswered."""
    rows = len(found["y"] if "y" in found else found["time"])
    told = f"{rows} rows, each answered by weights that never saw it."
    if not found.get("unseen"):
        told = f"{rows} rows, answered by the weights that serve."
    if "answered" in found:
        told += f" Answered rather than abstained: {np.mean(np.asarray(found['answered'])):.1%}."
    warned = "" if found.get("unseen") else f"<p><strong>{FLATTERY}</strong></p>"
    return drawing.paragraph(told) + warned


def _beside(*parts: str) -> str:
    return f'<div class="beside">{"".join(parts)}</div>'


def _titled(title: str, svg: str) -> str:
    return f"<div>{drawing.heading(title, 4)}{svg}</div>"


def _unit_square(series: Sequence[charts.Curve], x_label: str, y_label: str) -> str:
    return charts.lines(series, x_label=x_label, y_label=y_label, y_range=(0, 1), names_below=True)


def _classes(found: Mapping[str, Any]) -> list[str]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    truth, p = np.asarray(found["y"], dtype=np.int64), np.asarray(found["p"], dtype=np.float64)
    table = np.stack([1 - p, p], axis=1) if p.ndim == 1 else p
    names = [str(n) for n in found.get("classes") or range(table.shape[1])]
    threshold = float(found.get("threshold", 0.5))
    common = np.argsort(-np.bincount(truth, minlength=table.shape[1]), kind="stable")
    shown = [1] if table.shape[1] == 2 else [int(c) for c in common[:CURVES]]
    roc, recall = [], []
    for c in shown:
        own = (truth == c).astype(int)
        if 0 < own.sum() < len(own):
            x, y = thin(*roc_curve(own, table[:, c], drop_intermediate=True)[:2])
            area = metrics.auc(own.astype(np.float64), table[:, c])
            roc.append((f"AUC {area:.3f}" if len(shown) == 1 else f"{names[c]} {area:.3f}", x, y))
            precision, found_share, _ = precision_recall_curve(own, table[:, c], drop_intermediate=True)
            x, y = thin(found_share, precision)
            recall.append(("" if len(shown) == 1 else names[c], x, y))
    binary = table.shape[1] == 2
    guess = (table[:, 1] >= threshold).astype(np.int64) if binary else table.argmax(1)
    return [
        _beside(
            _titled("ROC", _unit_square(roc, "false positive rate", "recall")),
            _titled("Precision and recall", _unit_square(recall, "recall", "precision")),
            _titled("Reliability", reliability(truth, table)),
            _titled("Confusion (rows: truth)", confusion(truth, guess, names)),
        )
    ]  # fmt: skip


def reliability(truth: NDArray[np.int64], table: Floats) -> str:
    """What was said against how often it came true, by tenths, with Wilson's 95 % intervals as a band."""
    if table.shape[1] == 2:
        p, hit = table[:, 1], truth == 1
    else:
        p, hit = table.max(1), table.argmax(1) == truth
    place = np.minimum((p * figures.RELIABILITY_BINS).astype(int), figures.RELIABILITY_BINS - 1)
    said, came, low, high = [], [], [], []
    for index in np.unique(place):
        own = place == index
        said.append(float(p[own].mean()))
        came.append(float(hit[own].mean()))
        edges = figures.wilson(float(hit[own].sum()), int(own.sum()))
        low.append(edges[0])
        high.append(edges[1])
    series = [("came true", said, came), ("perfect", [0.0, 1.0], [0.0, 1.0])]
    return charts.lines(
        series,
        x_label="probability said",
        y_label="share that came true",
        band=(said, low, high),
        y_range=(0, 1),
        names_below=True,
    )


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], names: list[str]) -> str:
    """Counts of truth (rows) by answer (columns)."""
    table = np.zeros((len(names), len(names)))
    np.add.at(table, (truth, guess), 1)
    small = len(names) <= 8
    brief = small and max(len(name) for name in names) <= 10 - len(names) // 3
    columns = names if brief else [str(i + 1) for i in range(len(names))]
    rows = (
        names if brief else [f"{n if len(n) <= 13 else n[:12] + '…'} ({i + 1})" for i, n in enumerate(names)]
    )
    shown = table if small else np.where(table > 0, table, np.nan)
    return charts.heat(shown, rows=rows, columns=columns, x_label="answer", written=small)


def _rules(found: Mapping[str, Any]) -> list[str]:
    truth, guess = (np.asarray(found[name], dtype=np.int64) for name in ("y", "guess"))
    return [_titled("Confusion (rows: truth)", confusion(truth, guess, [str(n) for n in found["classes"]]))]


def _coverage(found: Mapping[str, Any]) -> list[str]:
    """How many of those asked were answered, name by name, as bars and as a table."""
    rows = [(name, *map(int, told)) for name, told in found["shares"].items()]
    listed = [
        [name, asked, f"{answered / asked:.1%}", f"{right / answered:.1%}" if answered else "–"]
        for name, answered, right, asked in rows
        if asked
    ]
    bars = figures.shares([(name, answered, asked) for name, answered, _, asked in rows if asked])
    return [
        _beside(
            _titled("Answered", drawing.figure(bars, "share answered, with its 95 % interval")),
            drawing.table(["", "asked", "answered", "right of those"], listed),
        )
    ]


def _values(found: Mapping[str, Any]) -> list[str]:
    truth, said = np.asarray(found["y"], dtype=np.float64), np.asarray(found["value"], dtype=np.float64)
    return [drawing.figure(figures.measured(truth, said, found.get("unit", "")), "measured over said")]


def _survival(found: Mapping[str, Any]) -> list[str]:
    time, event = np.asarray(found["time"], dtype=np.float64), np.asarray(found["event"]) == 1
    risk = np.asarray(found["risk"], dtype=np.float64)
    third = np.searchsorted(np.quantile(risk, [1 / 3, 2 / 3]), risk)
    series = []
    for index, name in enumerate(figures.THIRDS):
        if (third == index).any():
            x, y = thin(*metrics.kaplan_meier(time[third == index], event[third == index]))
            series.append((name, x, y))
    label = f"time ({found['unit']})" if found.get("unit") else "time"
    plot = charts.lines(
        series, x_label=label, y_label="survival", steps=True, y_range=(0, 1), names_below=True
    )
    return [_titled("What happened, by the risk that was said", plot)]
