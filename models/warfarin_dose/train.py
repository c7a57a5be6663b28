"""Fits the dose models, compares them with the published equations out of fold, and writes what serves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation import bootstrap
from models.training.splits import folds as divided
from models.training.splits import pairs
from models.warfarin_dose import HERE, aim, equations
from models.warfarin_dose.design import Floats, matrix
from models.warfarin_dose.ensemble import MEMBERS, Ensemble, fit
from models.warfarin_dose.evaluate import mae_mg_per_week, within_20_percent
from models.warfarin_dose.iwpc import read
from models.warfarin_dose.model import CALIBRATION, WEIGHTS
from models.warfarin_dose.patient import Patient

FOLDS, REPEATS = 5, 2
DOSES = (7.0, 100.0)  #: mg a week: beyond, silence


def out_of_fold(patients: Sequence[Patient], doses: Floats, k: int, seed: int = 0) -> Floats:
    """(n,) doses of models that did not see the patient: the serving recipe in folds."""
    fold = divided(np.log(doses), None, k, seed)
    return served_doses(patients, doses, members_out_of_fold(matrix(patients), doses, fold, seed), fold)


def members_out_of_fold(x: Floats, doses: Floats, fold: NDArray[np.int64], seed: int) -> dict[str, Floats]:
    """member -> (n,) out-of-fold log doses."""
    found = {name: np.zeros(len(doses)) for name in MEMBERS}
    for learn, held in pairs(fold):
        for name, told in Ensemble(fit(x[learn], doses[learn], seed)).logs(x[held]).items():
            found[name][held] = told
    return found


def served_doses(
    patients: Sequence[Patient], doses: Floats, logs: Mapping[str, Floats], fold: NDArray[np.int64]
) -> Floats:
    """(n,) doses to be told for out-of-fold members; each fold's aim is learnt on the other folds."""
    expected = np.mean(list(logs.values()), axis=0)
    told = np.zeros(len(doses))
    for learn, held in pairs(fold):
        told[held] = aim.told(expected[held], *aim.fit(expected[learn], doses[learn]))
    plain = [equations.dose(equations.clinical(p)) for p in patients]
    return np.where([p.genes for p in patients], told, plain)


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes weights, calibration.json, figures.json, card and example under out, in a minute or two.

    data: the IWPC's csv. Everything is compared and calibrated out of fold, twice in five folds.
    """
    from safetensors.numpy import save_file

    from models.training.figures import report_values

    say = progress or (lambda _: None)
    patients, doses = read(data)
    x = matrix(patients)
    cuts = [divided(np.log(doses), None, FOLDS, seed + r) for r in range(REPEATS)]
    logs = [members_out_of_fold(x, doses, fold, seed) for fold in cuts]
    told = [served_doses(patients, doses, one, fold) for one, fold in zip(logs, cuts, strict=True)]
    compared = compare(patients, doses, logs, told)
    for name, row in compared.items():
        say(f"{name}: {row['within_20_percent']['value']}")
    arrays = {**fit(x, doses, seed), "background": background(x, seed)}
    out.mkdir(parents=True, exist_ok=True)
    save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, out / WEIGHTS)
    calibration = {"doses": DOSES, "aim": _aim(logs, doses), **_calibrated(patients, doses, told[0])}
    (out / CALIBRATION).write_text(json.dumps(calibration, indent=2) + "\n", "utf-8")
    figures = {
        **compared["served"],
        "n": len(doses),
        "comparison": compared,
        "races": _races(patients, doses, told[0]),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    report_values(out, doses, told[0], unit="mg a week")
    _carded(data, out, figures)


def _aim(logs: Sequence[Mapping[str, Floats]], doses: Floats) -> dict[str, list[float]]:
    """Which dose is told for an expected one, learnt from every division's out-of-fold members."""
    expected = np.concatenate([np.mean(list(one.values()), axis=0) for one in logs])
    grid, best = aim.fit(expected, np.concatenate([doses] * len(logs)))
    return {"expected": grid.round(5).tolist(), "told": best.round(5).tolist()}


def _carded(data: Path, out: Path, figures: dict[str, Any]) -> None:
    """Writes card and example beside the weights: the release's words, or those true of a user's data."""
    from models.card import read as read_card
    from models.training import package

    served = read_card(HERE)
    own = not package.released(served.name, data)
    package.again(
        out,
        served,
        version=package.marked(served, out / WEIGHTS) if own else served.version,
        figures=card_figures(figures, own),
        notes=notes(figures, "" if own else served.notes),
    )


def background(x: Floats, seed: int, count: int = 32) -> Floats:
    """Rows drawn column by column, so that none is a patient's: what contributions are measured against."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(column, count) for column in x.T], axis=1)


def _calibrated(patients: Sequence[Patient], doses: Floats, told: Floats) -> dict[str, Any]:
    """The average dose, and between which multiples of the told dose 95 % of the true ones lie."""
    plain = np.array([equations.dose(equations.clinical(p)) for p in patients])
    ends = {
        way: [round(float(q), 4) for q in np.quantile(doses / guess, [0.025, 0.975])]
        for way, guess in (("genotype", told), ("clinical", plain))
    }
    return {"ratios": ends, "average": round(float(doses.mean()), 2)}


def compare(
    patients: Sequence[Patient], doses: Floats, logs: Sequence[Mapping[str, Floats]], told: Sequence[Floats]
) -> dict[str, Any]:
    """name -> both metrics of equations, members and the served mean; of members, over all repeats."""
    equation = {
        "fixed dose of 35 mg": np.full(len(doses), 35.0),
        "clinical equation (IWPC)": np.array([equations.dose(equations.clinical(p)) for p in patients]),
        "pharmacogenetic equation (IWPC)": np.array(
            [equations.dose(equations.pharmacogenetic(p)) for p in patients]
        ),
    }
    found = {name: _row(doses, [one]) for name, one in equation.items()}
    for name in MEMBERS:
        found[name] = _row(doses, [np.exp(one[name]) for one in logs])
    found["mean"] = _row(doses, [np.exp(np.mean(list(one.values()), axis=0)) for one in logs])
    return {**found, "served": _row(doses, told)}


def _row(doses: Floats, told: Sequence[Floats]) -> dict[str, Any]:
    """The metrics averaged over repeats; the interval is the first repeat's, moved to the average."""
    found = {}
    for metric in (within_20_percent, mae_mg_per_week):
        first = bootstrap(metric, doses, told[0], draws=500)
        mean = float(np.mean([metric(doses, t) for t in told]))
        shift = mean - first["value"]
        found[metric.__name__] = {
            "value": round(mean, 2),
            "low": round(first["low"] + shift, 2),
            "high": round(first["high"] + shift, 2),
        }  # fmt: skip
    return found


def _races(patients: Sequence[Patient], doses: Floats, told: Floats) -> dict[str, Any]:
    """Doses within 20 % by race."""
    races = np.array([p.race or "other or unknown" for p in patients])
    return {
        race: {
            **bootstrap(within_20_percent, doses[races == race], told[races == race], draws=300),
            "n": int((races == race).sum()),
        }
        for race in sorted(set(races))
    }


def card_figures(figures: Mapping[str, Any], own: bool) -> list[dict[str, Any]]:
    """The served figures as the card has them. own: of a user's data, with which nothing was published."""
    name = "the user's own data" if own else "IWPC training part"
    dataset = f"{name}, five-fold cross-validation of the serving recipe, mean of two repeats"
    rows = [
        {"dataset": dataset, "metric": m, **figures[m], "n": figures["n"]}
        for m in ("within_20_percent", "mae_mg_per_week")
    ]
    published = "equation 46.0, clinical 38.4, fixed 28.9 (NEJM 2009;360:753); held-out part: equation 46.1"
    return rows if own else [{**rows[0], "published": published}, rows[1]]


TITLES = {
    "ridge": "ridge, square root",
    "boosting": "boosted trees, median",
    "aimed": "line aimed at 20 %",
    "mean": "mean of these three",
    "served": "served: that mean, aimed",
}


def notes(figures: Mapping[str, Any], old: str) -> str:
    """The comparison, then what people wrote."""
    lines = [
        "Compared out of fold, two repeats of five folds of the training part (the equations as published):",
        "",
    ]
    lines.append(f"{'':36}{'within 20 %':22}mean error, mg a week")
    for name, row in figures["comparison"].items():
        cells = [f"{v['value']:.1f} ({v['low']:.1f}-{v['high']:.1f})" for v in row.values()]
        lines.append(f"{TITLES.get(name, name):36}{cells[0]:22}{cells[1]}")
    races = "; ".join(
        f"{r} {v['value']:.1f} ({v['low']:.1f}-{v['high']:.1f}, n {v['n']})"
        for r, v in figures["races"].items()
    )
    kept = old[old.index("Choices:") :] if "Choices:" in old else ""
    return "\n".join([*lines, "", f"Within 20 % by race: {races}.", "", kept])
