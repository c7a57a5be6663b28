"""Trains a prognosis family and measures it: comparison out of fold, calibration, weights, card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation import Interval, bootstrap
from models.survival import blend, curve
from models.survival import study as studies
from models.survival.blend import OutOfFold
from models.survival.hazards import Floats
from models.survival.measure import c_index, integrated_brier, person_groups
from models.survival.model import WEIGHTS
from models.survival.study import Cohort, Study

FOLDS = 5
REPEATS = 2
UNITS = {"mo": "months", "d": "days"}
MANY = 2500  #: rows, from which on the bootstrap draws less often
TITLES = {
    "linear": "Cox, ridge, shaped terms",
    "network": "DeepSurv network",
    "boosting": "boosted Cox trees",
    "forest": "survival forest",
}


def train(
    folder: Path, data: Path, out: Path, *, seed: int = 0, progress: Callable[[str], None] | None = None
) -> None:
    """Writes weights.safetensors, figures.json, plots, the card and the example's answers under out.

    data: an npz of x, t, e in the study's columns. Everything is measured and calibrated on answers out
    of fold, twice in five folds.
    """
    from safetensors.numpy import save_file

    from models.card import read as read_card
    from models.training import figures as plots
    from models.training import package

    say = progress or (lambda _: None)
    study = studies.read(folder)
    rows = studies.cohort(study, data)
    told = [blend.out_of_fold(study, rows, FOLDS, seed + r, say) for r in range(REPEATS)]
    scores = [blend.mixed(study, one.answers) for one in told]
    spread = float(np.std(scores[0] - scores[1]) / np.sqrt(2))
    arrays = blend.serving(study, rows, told[0], seed)
    calibration = curve.fit(np.mean(scores, axis=0), rows, float(study.horizons[-1]), spread, seed=seed)
    arrays |= {**calibration.arrays(), "background": background(rows, seed)}
    out.mkdir(parents=True, exist_ok=True)
    save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, out / WEIGHTS)
    figures = measured(study, rows, told[0], say)
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    plots.report_survival(out, rows.t, rows.e, scores[0], _headline(figures), unit=UNITS[study.unit])
    served = read_card(folder)
    own = not package.released(served.name, data)
    package.again(
        out,
        served,
        version=package.marked(served, out / WEIGHTS) if own else served.version,
        figures=card_figures(study, figures, study.published if not own else ""),
        notes=f"{table(figures)}\n{'' if own else _kept_notes(served.notes)}",
    )


def _headline(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The served blend's figures alone."""
    return {name: figures[name] for name in ("c_index", "integrated_brier", "n")}


NOTES_FROM = "Choices:"


def _kept_notes(notes: str) -> str:
    """The part of a card's notes that people wrote."""
    return notes[notes.index(NOTES_FROM) :] if NOTES_FROM in notes else ""


def card_figures(study: Study, figures: Mapping[str, Any], published: str) -> list[dict[str, Any]]:
    """The figures of the served blend as the card has them. published: what others reached on these data."""
    dataset, n = "five-fold cross-validation of the serving recipe inside the training part", figures["n"]
    apart = ", persons apart" if study.persons else ""
    told = [
        {"dataset": dataset + apart, "metric": m, **figures[m], "n": n}
        for m in ("c_index", "integrated_brier")
    ]
    if study.persons:
        whole = {
            "dataset": f"{dataset}, rows apart as published",
            "metric": "c_index",
            **figures["rows_apart"]["served"],
            "n": n,
        }
        return [{**whole, "published": published}, *told]
    return [{**told[0], "published": published}, told[1]]


def background(rows: Cohort, seed: int, count: int = 32) -> Floats:
    """Rows drawn column by column, so that none is a patient's: what contributions are measured against."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(column, count) for column in rows.x.T], axis=1)


def measured(study: Study, rows: Cohort, told: OutOfFold, say: Callable[[str], None]) -> dict[str, Any]:
    """The comparison of all members and the served blend, out of fold, each with its interval."""
    answers = {**told.answers, "served": blend.mixed(study, told.answers)}
    compared = {}
    for name, score in answers.items():
        compared[name] = _figures(study, rows, score, told.fold)
        say(f"{name}: c_index {compared[name]['c_index']['value']}")
    found: dict[str, Any] = {**compared["served"], "n": len(rows.t), "comparison": compared}
    if study.persons:
        found["rows_apart"] = _rows_apart(study, rows, say)
    return found


def _rows_apart(study: Study, rows: Cohort, say: Callable[[str], None]) -> dict[str, Any]:
    """C of each member when rows, not persons, are held out: the published split's way."""
    told = blend.across_rows(study, rows, FOLDS, 0, say)
    answers = {**told.answers, "served": blend.mixed(study, told.answers)}
    return {name: _c(rows, score) for name, score in answers.items()}


def _draws(n: int) -> int:
    return 1000 if n <= MANY else 100


def _c(rows: Cohort, score: Floats) -> Interval:
    groups = person_groups(rows.person)
    return bootstrap(c_index, rows.t, rows.e, score, groups=groups, draws=_draws(len(rows.t)) // 4)


def _figures(study: Study, rows: Cohort, score: Floats, fold: NDArray[np.int64]) -> dict[str, Any]:
    """C and integrated Brier of out-of-fold scores; each fold's curve is calibrated on the other folds."""
    survival = np.zeros((len(score), curve.GRID))
    times = np.linspace(0, study.horizons[-1], curve.GRID)
    for number in range(int(fold.max()) + 1):
        others = fold != number
        fitted = curve.fit(score[others], rows.take(others), float(study.horizons[-1]), draws=0)
        survival[~others] = fitted.survival(score[~others])
    return {"c_index": _c(rows, score), "integrated_brier": _brier(rows, times, survival)}


def _brier(rows: Cohort, times: Floats, survival: Floats) -> Interval:
    def metric(t: Floats, e: NDArray[np.int64], s: Floats) -> float:
        return integrated_brier(t, e, times, s)

    return bootstrap(
        metric, rows.t, rows.e, survival, groups=person_groups(rows.person), draws=_draws(len(rows.t)) // 5
    )


def table(figures: Mapping[str, Any]) -> str:
    """The comparison as the card shows it."""
    compared, apart = figures["comparison"], figures.get("rows_apart")
    lines = [
        "Compared out of fold, five folds inside the training part"
        + (", a person's rows together:" if apart else ":"),
        "",
        f"{'':26}{'C-index (95 %)':24}{'integrated Brier (95 %)':26}" + ("C, rows apart" if apart else ""),
    ]
    for name, found in compared.items():
        cells = [f"{f['value']:.3f} ({f['low']:.3f}-{f['high']:.3f})" for f in found.values()]
        title = TITLES.get(name, "served: the blend")
        more = f"{apart[name]['value']:.3f}" if apart else ""
        lines.append(f"{title:26}{cells[0]:24}{cells[1]:26}{more}".rstrip())
    return "\n".join(lines) + "\n"


def evaluate(folder: Path, data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """`c_index` and `integrated_brier` with 95 % intervals, and `n`.

    data: an npz of x, t, e. With folds the serving recipe is trained anew in each. The Brier score is the
    mean over 60 times up to the last horizon. Rows outside the range that the model serves count too;
    their share is `abstained`.
    """
    from models import registry
    from models.card import read as read_card
    from models.survival.model import Prognosis

    study = studies.read(folder)
    rows = studies.cohort(study, data)
    silent = {"n": len(rows.t), "abstained": round(1 - float(study.answers(rows.x).mean()), 4)}
    if folds:
        told = blend.out_of_fold(study, rows, folds, 0, lambda _: None)
        return {**_figures(study, rows, blend.mixed(study, told.answers), told.fold), **silent}
    served = registry.load(read_card(folder).name, "cpu")
    assert isinstance(served, Prognosis)  # noqa: S101 - the registry opens the family it was asked for
    score = served.score(rows.x)
    return {
        "c_index": bootstrap(
            c_index, rows.t, rows.e, score, groups=person_groups(rows.person), draws=_draws(len(rows.t))
        ),
        "integrated_brier": _brier(rows, served.curve.times, served.curve.survival(score)),
        **silent,
        "persons": len(np.unique(rows.person)),
    }


def curves(folder: Path, data: Path, folds: int | None) -> dict[str, Any]:
    """Times, events, risks and subgroups by age and sex, for plots (see `models.training.curves`).

    With folds by models that did not see the row, nor its person; else by those that serve.
    """
    from models import registry
    from models.card import read as read_card
    from models.survival.model import Prognosis

    study = studies.read(folder)
    rows = studies.cohort(study, data)
    if folds:
        told = blend.out_of_fold(study, rows, folds, 0, lambda _: None)
        risk = blend.mixed(study, told.answers)
    else:
        served = registry.load(read_card(folder).name, "cpu")
        assert isinstance(served, Prognosis)  # noqa: S101 - the registry opens the family it was asked for
        risk = served.score(rows.x)
    shown = [study.shown(row) for row in rows.x]
    groups = {n: np.array([row[n] for row in shown]) for n in ("age", "sex") if n in study.names}
    return {
        "time": rows.t,
        "event": rows.e,
        "risk": risk,
        "unit": UNITS[study.unit],
        "answered": study.answers(rows.x),
        "groups": groups,
        "unseen": bool(folds),
    }
