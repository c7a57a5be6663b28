"""The figures of a report for each part of the rows: by age, by sex, by whatever the data tell."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import drawing
from models.training import metrics

Floats = NDArray[np.float64]
LEAST = 20  #: rows of a subgroup that is measured
DRAWS = 300  #: of the bootstrap behind a subgroup's interval


def tables(found: Mapping[str, Any]) -> list[str]:
    """A table for each way of grouping the rows; found: as `curves.drawn` is given it."""
    parts = []
    for name, told in (found.get("groups") or {}).items():
        labels = binned(np.asarray(told))
        rows = []
        for label in sorted(set(labels.tolist()) - {""}):
            own = labels == label
            if own.sum() >= LEAST:
                rows.append([label, _count(found, own), *_measured(found, own)])
        if rows:
            head = [name, "n", *_measure_names(found)]
            parts += [drawing.heading(f"By {name}", 4), drawing.table(head, rows)]
    return parts


def _count(found: Mapping[str, Any], own: NDArray[np.bool_]) -> int | str:
    """How many rows, and of how many persons where that is known."""
    rows = int(own.sum())
    if "persons" not in found:
        return rows
    return f"{rows} of {len(np.unique(np.asarray(found['persons'])[own]))} persons"


def binned(values: NDArray[Any]) -> NDArray[np.str_]:
    """Words as they are; numbers by quarters of their order, as "48 to 61". What is not known is ""."""
    if values.dtype.kind not in "fiu" or len(np.unique(values)) <= 5:
        return np.array(["" if v is None or str(v) == "nan" else str(v) for v in values.tolist()])
    known = values[~np.isnan(values.astype(np.float64))]
    cuts = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
    place = np.clip(np.searchsorted(cuts, values, side="right") - 1, 0, len(cuts) - 2)
    names = [f"{drawing.number(float(a))} to {drawing.number(float(b))}" for a, b in pairwise(cuts)]
    return np.array(["" if np.isnan(v) else names[i] for v, i in zip(values.tolist(), place, strict=True)])


def _measure_names(found: Mapping[str, Any]) -> list[str]:
    if "risk" in found:
        return ["events", "c_index"]
    if "value" in found:
        return ["rmse", "mae"]
    binary = np.asarray(found["p"]).ndim == 1 or np.asarray(found["p"]).shape[1] == 2
    return ["auc", "accuracy", "recall", "brier"] if binary else ["accuracy", "f1_macro"]


def _measured(found: Mapping[str, Any], own: NDArray[np.bool_]) -> list[str]:
    """The subgroup's figures with their intervals, as text."""
    if "risk" in found:
        return _measured_risk(*(np.asarray(found[name])[own] for name in ("time", "event", "risk")))
    names, truth = _measure_names(found), np.asarray(found["y"])[own]
    persons = np.asarray(found["persons"])[own] if "persons" in found else None
    if "value" in found:
        told = metrics.values(truth, np.asarray(found["value"])[own], persons, draws=DRAWS)
        return [interval(told.get(name)) for name in names]
    p = np.asarray(found["p"])[own]
    if p.ndim == 2 and p.shape[1] > 2:
        told = metrics.multiclass(truth, p, persons, draws=DRAWS, only=names)
    else:
        threshold = float(found.get("threshold", 0.5))
        told = metrics.binary(
            truth, p if p.ndim == 1 else p[:, 1], threshold, persons, draws=DRAWS, only=names
        )
    return [interval(told.get(name)) for name in names]


def _measured_risk(time: NDArray[Any], event: NDArray[Any], risk: Floats) -> list[str]:
    """Events, and Harrell's C with its interval."""
    from models.evaluation import bootstrap
    from models.survival.measure import c_index

    if not event.any():
        return ["0", "–"]
    found = bootstrap(c_index, time, event, risk, draws=60)
    told = {"value": found["value"], "low": found["low"], "high": found["high"]}
    return [str(int(event.sum())), interval(told)]


def interval(told: Mapping[str, float] | None) -> str:
    """A figure with its 95 % interval, as text."""
    if told is None:
        return "–"
    return f"{told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f})"
