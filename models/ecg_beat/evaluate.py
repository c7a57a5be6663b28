"""The AAMI figures on a folder of annotated WFDB records, intervals by drawing whole records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import registry
from models.ecg_beat import beats
from models.ecg_beat.beats import CLASSES, Record
from models.evaluation import bootstrap

Counts = NDArray[np.int64]
Metric = Callable[[Counts], float]
HERE = Path(__file__).parent


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> Counts:
    """(4, 4) counts, a row a true class; beats whose truth is not scored are left out."""
    table = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    scored = truth >= 0
    np.add.at(table, (truth[scored], guess[scored]), 1)
    return table


def _share(part: float, whole: float) -> float:
    if whole == 0:
        raise ValueError("undefined: no such beat")
    return part / whole


def sensitivity(number: int) -> Metric:
    """The share of a class's beats that are called so. Raises ValueError where there is none."""
    return lambda tables: _share(tables.sum(0)[number, number], tables.sum(0)[number].sum())


def ppv(number: int) -> Metric:
    """The share of the beats called so that are. Raises ValueError where none is called so."""
    return lambda tables: _share(tables.sum(0)[number, number], tables.sum(0)[:, number].sum())


def accuracy(tables: Counts) -> float:
    """The share of all scored beats that are called right. tables: (records, 4, 4)."""
    return _share(np.trace(tables.sum(0)), tables.sum())


def mean_sensitivity(tables: Counts) -> float:
    """The mean sensitivity of the classes that occur."""
    table = tables.sum(0)
    there = table.sum(1) > 0
    return float((np.diag(table)[there] / table.sum(1)[there]).mean())


def kappa(tables: Counts) -> float:
    """Cohen's kappa of the summed table."""
    table = tables.sum(0).astype(float)
    total = table.sum()
    chance = _share(float((table.sum(0) * table.sum(1)).sum()), total**2)
    return _share(np.trace(table) / total - chance, 1 - chance)


def j_kappa(tables: Counts) -> float:
    """kappa/2 + (Se_S + Se_V + PPV_S + PPV_V)/8 (Mar and colleagues 2011); what is undefined counts 0."""
    parts = 0.0
    for measure in (sensitivity, ppv):
        for number in (1, 2):
            try:
                parts += measure(number)(tables)
            except ValueError:
                continue
    return kappa(tables) / 2 + parts / 8


def figures(tables: Counts, draws: int = 1000) -> dict[str, Any]:
    """Every agreed figure with its interval, and n. tables: (records, 4, 4), one a record."""
    wanted: dict[str, Metric] = {
        "accuracy": accuracy,
        "mean_sensitivity": mean_sensitivity,
        "j_kappa": j_kappa,
    }
    for number, name in enumerate(CLASSES):
        wanted[f"sensitivity_{name}"] = sensitivity(number)
        wanted[f"ppv_{name}"] = ppv(number)
    found: dict[str, Any] = {}
    for name, metric in wanted.items():
        try:
            found[name] = bootstrap(metric, tables, draws=draws)
        except ValueError:
            continue  # the class does not occur: the figure does not exist
    return found | {"n": int(tables.sum()), "records": len(tables), "confusion": tables.sum(0).tolist()}


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "ecg-beat"
) -> dict[str, Any]:
    """`accuracy`, `mean_sensitivity`, `j_kappa`, `sensitivity_*`, `ppv_*`, `n`, and more, on WFDB records.

    data: folder of `.hea`, `.dat`, `.atr`. The annotated places of the beats are used, so that the classes
    alone are measured; `detection` tells how well the detector used in service finds them. Paced
    records are left out (EC57). folds: the serving recipe is retrained in that many folds of records.
    Raises Rejected on another layout.
    """
    records = beats.folder(data)
    if folds:
        from models.ecg_beat.judge import called
        from models.ecg_beat.train import CALLED_FROM, cross_validate

        guesses = [called(table, CALLED_FROM) for table in cross_validate(records, folds)]
    else:
        from models.ecg_beat.judge import Judge

        judge = Judge(registry.card(name).folder, device)
        guesses = [judge.judge(r.signals, r.places).classes for r in records]
    tables = np.stack([confusion(r.labels, g) for r, g in zip(records, guesses, strict=True)])
    return figures(tables) | {"detection": detection(records)}


def detection(records: list[Record]) -> dict[str, float]:
    """Sensitivity and positive predictive value of the complexes found, within 150 ms, over all records."""
    from models.ecg_beat.detect import complexes, matched

    right = found = true = 0
    for record in records:
        places = complexes(record.signals)
        right += int((matched(places, record.places) >= 0).sum())
        found, true = found + len(places), true + len(record.places)
    return {"sensitivity": round(right / true, 4), "ppv": round(right / max(found, 1), 4)}


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth and probabilities of the scored beats, subgroups by the person's age and sex, for plots.

    See `models.training.curves`. The classes are asked at the annotated places. With folds each beat is
    answered by weights that saw neither its record nor the others of its fold. `answered`: of the whole
    recordings, as service is given them, its own detector included.
    """
    records = beats.folder(data)
    if folds:
        from models.ecg_beat.train import cross_validate

        tables = cross_validate(records, folds)
    else:
        from models.ecg_beat.judge import Judge

        judge = Judge(HERE)
        tables = [judge.judge(r.signals, r.places).probabilities for r in records]
    labels, chances = np.concatenate([r.labels for r in records]), np.concatenate(tables)
    scored = labels >= 0
    record = np.repeat([r.name for r in records], [len(r.labels) for r in records])[scored]
    told = {r.name: beats.person(data / f"{r.name}.hea") for r in records}
    return {
        "y": labels[scored],
        "p": chances[scored],
        "classes": CLASSES,
        "answered": _answered([data / f"{r.name}.hea" for r in records]),
        "persons": record,
        "groups": {
            "age": np.array([told[name][0] for name in record]),
            "sex": np.array([told[name][1] for name in record]),
        },
        "unseen": bool(folds),
        "note": "Beats of the annotated complexes. The share answered is that of whole recordings. Confusion "
        "and subgroups are of the likeliest class; the figures above call S and V from their operating point."
        + (" The calibration's one temperature is fitted on all these answers together." if folds else ""),
    }


def _answered(headers: list[Path]) -> list[bool]:
    """Whether the serving model answers each recording, read as service reads it."""
    served = registry.load("ecg-beat", "cpu")
    return [not served.examine([beats.recording(path)])[0].abstained for path in headers]
