"""Fits the forest and the networks on annotated records, compares them on unseen ones, writes the weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from models.calibration import fit_temperature
from models.card import read
from models.ecg_beat import beats, rhythm, windows
from models.ecg_beat.beats import Record
from models.ecg_beat.judge import FLOOR, Blend, Table, blend, called
from models.ecg_beat.signals import Floats
from models.ecg_beat.windows import NAMES, TIMING

FOLDS = 5
SEEDS = 3  #: networks that are averaged in service; the comparison trains one a fold
NORMAL = 9_000  #: N beats that the forest is shown; of the other classes all
TREES = 100
LEAF = 10  #: beats that a leaf must hold
#: chosen on the out-of-fold answers: the networks' weight, and how far S is held back in fibrillation
NETWORK = 0.25
HELD_BACK = 4.0
#: one round step below a half, at which S and V would be called where they are likeliest
CALLED_FROM = 0.4
BLENDED = "forest and network, held back in fibrillation"
SERVED = "the same, S and V called from .4 on"  #: the comparison's row that is served
PUBLISHED = {  # on DS2, which is other records than these
    "accuracy": ".945 on DS2, Mondejar-Guerra 2019, doi:10.1016/j.bspc.2018.08.007",
    "j_kappa": ".773 on DS2, as above",
    "mean_sensitivity": ".703 on DS2, as above",
    "sensitivity_S": ".759 on DS2, de Chazal 2004, doi:10.1109/TBME.2004.827359",
    "sensitivity_V": ".777 on DS2, as above",
}
HERE = Path(__file__).parent
Say = Callable[[str], None]
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The beats of several records one below the other."""

    inputs: Floats  #: (beats, CHANNELS, POINTS), half precision to save memory
    numbers: Floats  #: (beats, len(NAMES))
    labels: Labels  #: -1 where not scored
    record: Labels  #: which record a beat is of
    fibrillating: NDArray[np.bool_]


def rows(records: Sequence[Record]) -> Rows:
    """Every beat of the records as the classifiers see it."""
    found = [windows.describe(r.signals, r.places) for r in records]
    return Rows(
        inputs=np.concatenate([b.inputs().astype(np.float16) for b in found]),
        numbers=np.concatenate([b.numbers for b in found]),
        labels=np.concatenate([r.labels for r in records]),
        record=np.repeat(np.arange(len(records)), [len(r.labels) for r in records]),
        fibrillating=np.concatenate([rhythm.fibrillating(b.numbers) for b in found]),
    )


def folds(records: Sequence[Record], count: int) -> Labels:
    """Which fold each record is in: whole records, the rare classes spread as evenly as they can be.

    Records are dealt out from the one with most S, V and F beats on, each to the fold that has least of them.
    """
    per_class = np.array([[np.sum(r.labels == c) for c in range(4)] for r in records], dtype=float)
    share = per_class / np.maximum(per_class.sum(0), 1)
    weight = share @ np.array([1.0, 2.0, 1.0, 0.5])
    held = np.zeros(count)
    chosen = np.zeros(len(records), dtype=np.int64)
    for place in np.argsort(-weight, kind="stable"):
        chosen[place] = int(np.argmin(held))
        held[chosen[place]] += weight[place]
    return chosen


def _sample(labels: Labels, seed: int) -> Labels:
    """Places of all scored beats but of N only NORMAL."""
    rng = np.random.default_rng(seed)
    normal = np.flatnonzero(labels == 0)
    return np.concatenate(
        [np.flatnonzero(labels > 0), rng.permutation(normal)[: min(NORMAL, len(normal))]]
    ).astype(np.int64)


def fit_forest(numbers: Floats, labels: Labels, seed: int) -> Any:
    """The fitted random forest; a third of the beats are shown again without the second lead."""
    from sklearn.ensemble import RandomForestClassifier

    picked = _sample(labels, seed)
    shown, truth = numbers[picked].astype(np.float64), labels[picked]
    again = shown[::3].copy()
    again[:, [i for i, name in enumerate(NAMES) if name.endswith(" 2")]] = 0
    forest = RandomForestClassifier(
        TREES,
        min_samples_leaf=LEAF,
        max_features=5,
        class_weight="balanced_subsample",
        n_jobs=1,
        random_state=seed,
    )
    return forest.fit(np.concatenate([shown, again]), np.concatenate([truth, truth[::3]]))


def fit_logistic(numbers: Floats, labels: Labels, seed: int) -> Any:
    """A balanced logistic regression on the timing alone, for comparison."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    picked = _sample(labels, seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    return model.fit(numbers[picked, :TIMING], labels[picked])


def probabilities(model: Any, numbers: Floats) -> Table:
    """(beats, 4) whichever classes the model has met."""
    found = np.zeros((len(numbers), len(beats.CLASSES)))
    found[:, model.classes_] = model.predict_proba(numbers)
    return found


def out_of_fold(
    table: Rows, fold: Labels, *, seed: int, minutes: float | None = None, say: Say | None = None
) -> dict[str, Table]:
    """(beats, 4) log-probabilities of each kind of model, of records that it did not see."""
    from models.ecg_beat import network

    found = {name: np.zeros((len(table.labels), 4)) for name in ("logistic", "forest", "network")}
    for number in range(int(fold.max()) + 1):
        seen = (fold[table.record] != number) & (table.labels >= 0)
        other = fold[table.record] == number
        truth = table.labels[seen]
        for name, fit, width in (("logistic", fit_logistic, TIMING), ("forest", fit_forest, len(NAMES))):
            model = fit(table.numbers[seen], truth, seed)
            known = probabilities(model, table.numbers[other, :width].astype(np.float64))
            found[name][other] = np.log(np.maximum(known, FLOOR))
        fitted = network.train_network(table.inputs[seen], truth, seed=seed, minutes=minutes)
        found["network"][other] = log_softmax(network.logits(fitted, table.inputs[other]), axis=1)
        if say:
            say(f"fold {number + 1} of {int(fold.max()) + 1} done")
    return found


def mixed(table: Rows, logs: dict[str, Table]) -> Table:
    """(beats, 4) log-probabilities of the serving blend on what its parts answered, not calibrated."""
    how = Blend(network=NETWORK, temperature=1.0, held_back=HELD_BACK)
    return np.log(blend(np.exp(logs["forest"]), logs["network"], table.fibrillating, how))


def temperature_of(table: Rows, log_odds: Table) -> float:
    """The temperature that calibrates these answers, from the beats that are scored."""
    scored = table.labels >= 0
    return fit_temperature(log_odds[scored], table.labels[scored])


def cross_validate(records: Sequence[Record], count: int, *, seed: int = 0) -> list[Table]:
    """Each record's probabilities (beats, 4) by the serving recipe trained without it and its fold.

    One temperature calibrates them all, as in service.
    """
    table = rows(records)
    found = mixed(table, out_of_fold(table, folds(records, count), seed=seed))
    chances = softmax(found / temperature_of(table, found), axis=1)
    return [chances[table.record == i] for i in range(len(records))]


def compared(table: Rows, logs: dict[str, Table]) -> dict[str, Any]:
    """The figures of each kind of model, alone, held back in fibrillation, blended, and as served."""
    from models.ecg_beat.evaluate import confusion, figures

    calm = np.zeros_like(table.fibrillating)
    settings = {
        "logistic regression on timing": (logs["logistic"], 0.0, calm),
        "random forest": (logs["forest"], 0.0, calm),
        "network": (logs["network"], 1.0, calm),
        "network times logistic regression": (logs["logistic"], 0.5, calm),
        "forest and network": (logs["forest"], NETWORK, calm),
        "random forest, held back in fibrillation": (logs["forest"], 0.0, table.fibrillating),
        "network, held back in fibrillation": (logs["network"], 1.0, table.fibrillating),
        BLENDED: (logs["forest"], NETWORK, table.fibrillating),
    }
    guesses = {}
    for name, (first, weight, gate) in settings.items():
        how = Blend(network=weight, temperature=1.0, held_back=HELD_BACK)
        guesses[name] = blend(np.exp(first), logs["network"], gate, how).argmax(1)
    log_odds = mixed(table, logs)
    guesses[SERVED] = called(softmax(log_odds / temperature_of(table, log_odds), axis=1), CALLED_FROM)
    of = [table.record == i for i in range(int(table.record.max()) + 1)]
    tables = {n: np.stack([confusion(table.labels[r], g[r]) for r in of]) for n, g in guesses.items()}
    return {name: figures(t, 1000 if name == SERVED else 200) for name, t in tables.items()}


def fit_served(
    table: Rows, out: Path, *, seed: int, minutes: float | None, say: Say, temperature: float
) -> None:
    """Fits what serves on every scored beat: forest.safetensors, networks.safetensors and blend.toml.

    minutes: for each of the SEEDS networks.
    """
    from safetensors.numpy import save_file

    from models.ecg_beat import network
    from models.estimators import pack

    (out / "blend.toml").write_text(
        f"network = {NETWORK}\ntemperature = {temperature:.4f}\nheld_back = {HELD_BACK}\n"
        f"called_from = {CALLED_FROM}\n",
        "utf-8",
    )
    scored = table.labels >= 0
    inputs, labels = table.inputs[scored], table.labels[scored]
    save_file(pack(fit_forest(table.numbers[scored], labels, seed)), out / "forest.safetensors")
    fitted = []
    for number in range(SEEDS):
        fitted.append(
            network.train_network(inputs, labels, seed=seed + number, minutes=minutes, progress=say)
        )
        say(f"network {number + 1} of {SEEDS} done")
    network.save(fitted, out / "networks.safetensors")


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Say | None = None,
) -> None:
    """Writes networks.safetensors, forest.safetensors, blend.toml, figures.json, plots and a card under out.

    data: folder of annotated WFDB records. minutes: for all networks together; the comparison takes FOLDS of
    them, service SEEDS. About 15 minutes on one core without a limit.
    """
    say = progress or (lambda _: None)
    began = time.monotonic()
    each = minutes / (FOLDS + SEEDS) if minutes is not None else None
    records = beats.folder(data)
    table = rows(records)
    say(f"{len(records)} records, {beats.counts(table.labels.tolist())}")
    out.mkdir(parents=True, exist_ok=True)
    logs = out_of_fold(table, folds(records, min(FOLDS, len(records))), seed=seed, minutes=each, say=say)
    log_odds = mixed(table, logs)
    temperature = temperature_of(table, log_odds)
    fit_served(table, out, seed=seed, minutes=each, say=say, temperature=temperature)
    told = compared(table, logs)
    figures = {"comparison": told, "seconds": round(time.monotonic() - began)}
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    carded(table, softmax(log_odds / temperature, axis=1), told, out)


def carded(table: Rows, chances: Table, told: dict[str, Any], out: Path) -> None:
    """Plots of the out-of-fold probabilities, and the served card with the new weights and figures."""
    from models.training import figures, package

    scored = table.labels >= 0
    figures.report(
        out,
        table.labels[scored],
        chances[scored],
        classes=beats.CLASSES,
        groups=table.record[scored],
        draws=50,
    )
    served = read(HERE)
    package.again(
        out,
        served,
        version=f"{served.version}+{package.sha256(out / 'networks.safetensors')[:8]}",
        figures=card_figures(told[SERVED], "the records trained on"),
        notes=comparison(told),
    )


def comparison(figures: dict[str, Any]) -> str:
    """The table of the card: every kind of model on records that it did not see."""
    names = ("accuracy", "j_kappa", "sensitivity_S", "ppv_S", "sensitivity_V", "ppv_V")
    lines = [f"{'':48}" + "".join(f"{name:>15}" for name in names)]
    for model, found in figures.items():
        values = "".join(f"{found[n]['value']:15.3f}" if n in found else f"{'-':>15}" for n in names)
        lines.append(f"{model:48}{values}")
    return "\n".join(lines)


def card_figures(found: dict[str, Any], dataset: str) -> list[dict[str, Any]]:
    """The card's figures of what `evaluate.figures` measured."""
    told = f"{dataset}, {FOLDS}-fold cross-validation by record; interval over records"
    return [
        {"dataset": told, "metric": name, **figure, "n": found["n"], "published": PUBLISHED.get(name, "")}
        for name, figure in found.items()
        if isinstance(figure, dict)
    ]
