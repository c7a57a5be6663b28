"""How good invented samples are: how like real ones, whether they are copies, and what they are good for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation import Interval, bootstrap
from models.synthesis import referee
from models.synthesis.wgan import Floats, Labels

Table = NDArray[np.float64]
Invent = Callable[[Labels, int], Floats]  #: (classes wanted, seed) -> samples
Teach = Callable[[Floats, Labels], referee.Referee]
COMPARED = 1500  #: samples at most in each of two sets between which distances are taken
STEPS = 400  #: batches that a referee is taught
MANY = 6000  #: samples at most that a referee is taught on, where they are invented
DRAWS = 200  #: bootstrap draws of a distance, which are dearer than those of an AUC


@dataclass(frozen=True, kw_only=True)
class Real:
    """Real samples in their three roles. Arrays: (n, rows, columns) within -1..1, and (n,) classes."""

    learn: Floats  #: what the generator learnt from, or could have
    learn_labels: Labels
    held: Floats  #: drawn as `learn` was, kept from the generator: the measure of a copy
    held_labels: Labels
    test: Floats  #: what a classifier is tried on: other people's, where people are known
    test_labels: Labels
    groups: NDArray[Any] | None = None  #: (n of test,) whose sample it is, drawn together


def frechet(first: Table, second: Table) -> float:
    """The squared Frechet distance of two sets as Gaussians (Heusel 2017). (n, features) each."""
    mean = first.mean(0) - second.mean(0)
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    # trace of (a b)^(1/2) = sum of the roots of the eigenvalues of a^(1/2) b a^(1/2)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return float(mean @ mean + np.trace(a) + np.trace(b) - 2 * shared)


def nearest(samples: Floats, among: Floats) -> Table:
    """(n,) the Euclidean distance of each sample to the nearest one of the others."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (samples, among))
    size = (b**2).sum(1)
    found = [
        np.sqrt(np.maximum(((r**2).sum(1)[:, None] + size[None] - 2 * r @ b.T).min(1), 0))
        for r in np.array_split(a, max(1, len(a) // 256))
    ]
    return np.concatenate(found)


def ratio(invented: Table, real: Table) -> float:
    """The median distance of the invented to their nearest, over that of the real. Near 0: copies."""
    return float(np.median(invented) / np.median(real))


def macro_auc(labels: Labels, chances: Table) -> float:
    """The mean over classes of the AUC of each against the rest. Raises ValueError where one is absent."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(labels)) < chances.shape[1]:
        raise ValueError("a class does not occur")
    parts = [roc_auc_score(labels == c, chances[:, c]) for c in range(chances.shape[1])]
    return float(np.mean(parts))


def rare_precision(number: int) -> Callable[[Labels, Table], float]:
    """The average precision of one class against the rest."""

    def measure(labels: Labels, chances: Table) -> float:
        from sklearn.metrics import average_precision_score

        if not (labels == number).any():
            raise ValueError("the class does not occur")
        return float(average_precision_score(labels == number, chances[:, number]))

    return measure


def _some(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(count)[: min(count, wanted)].astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Equally large sets "learn", "held", "test" and "invented", as a referee sees them."""

    features: Mapping[str, Table]  #: (n, FEATURES) of each set
    near: Mapping[str, Table]  #: (n,) from each of "held" and "invented" to the nearest one learnt from


def compared(real: Real, invented: Floats, eye: referee.Referee, seed: int) -> Compared:
    """The sets behind `likeness`. All are taken equally large, since the distance falls with their size."""
    rng = np.random.default_rng(seed)
    count = min(len(real.held), len(real.test), len(invented), COMPARED)
    sets = {"learn": real.learn, "held": real.held, "test": real.test, "invented": invented}
    sets = {name: samples[_some(len(samples), count, rng)] for name, samples in sets.items()}
    seen = {name: referee.answers(eye, samples)[1] for name, samples in sets.items()}
    pool = real.learn[_some(len(real.learn), 6 * COMPARED, rng)]
    return Compared(features=seen, near={n: nearest(sets[n], pool) for n in ("invented", "held")})


def likeness(real: Real, invented: Floats, eye: referee.Referee, seed: int) -> dict[str, Any]:
    """`frechet_distance` from `learn` to the invented and to real samples, and `nearest_neighbour_ratio`.

    References: `held` (the same people's) and `test` (other people's).
    """
    found = compared(real, invented, eye, seed)
    seen, near = found.features, found.near
    distance, same, others = (
        _interval(frechet, seen[n], seen["learn"], seed) for n in ("invented", "held", "test")
    )
    return {
        "frechet_distance": distance,
        "frechet_real_same": same,
        "frechet_real_others": others,
        "frechet_multiple": round(distance["value"] / max(same["value"], 1e-9), 2),
        "frechet_multiple_of_others": round(distance["value"] / max(others["value"], 1e-9), 2),
        "nearest_neighbour_ratio": _interval(ratio, near["invented"], near["held"], seed),
        "closest_share": round(float((near["invented"] < np.percentile(near["held"], 1)).mean()), 4),
    }


def _interval(metric: Callable[[Any, Any], float], first: Table, second: Table, seed: int) -> Interval:
    """The metric of two sets with the percentile bootstrap's 95 % interval, each set drawn on its own."""
    rng = np.random.default_rng(seed)
    drawn = [
        metric(
            first[rng.integers(0, len(first), len(first))], second[rng.integers(0, len(second), len(second))]
        )
        for _ in range(DRAWS)
    ]
    value = metric(first, second)
    low, high = np.percentile(drawn, [2.5, 97.5])
    # a bootstrap draw repeats rows, which adds to a distance: the interval is shifted back about the value
    shift = float(np.mean(drawn)) - value if metric is frechet else 0.0
    return {
        "value": round(value, 4),
        "low": round(max(min(float(low) - shift, value), 0.0), 4),
        "high": round(max(float(high) - shift, value), 4),
    }


def taught_on_invented(real: Real, invent: Invent, teach: Teach, classes: int, seed: int) -> referee.Referee:
    """A referee that met invented samples alone, each class about equally often."""
    many = min(len(real.learn), MANY)
    labels = np.random.default_rng(seed).integers(0, classes, many).astype(np.int64)
    return teach(invent(labels, seed + 1), labels)


def taught_on_both(
    real: Real, invent: Invent, teach: Teach, *, classes: int, rare: int, seed: int
) -> referee.Referee:
    """A referee that met the real samples, and invented ones of the rare class until it lacks none."""
    most = int(np.bincount(real.learn_labels, minlength=classes).max())
    lack = max(most - int((real.learn_labels == rare).sum()), 0)
    extra = np.full(min(lack, len(real.learn), MANY), rare, dtype=np.int64)
    samples = np.concatenate([real.learn, invent(extra, seed + 2)])
    return teach(samples, np.concatenate([real.learn_labels, extra]))


def usefulness(
    real: Real,
    eye: referee.Referee,
    invent: Invent,
    *,
    classes: int,
    tall: bool,
    rare: int,
    seed: int,
    steps: int = STEPS,
) -> dict[str, Any]:
    """`train_on_synthetic_auc` beside `train_on_real_auc`, and the rare class with invented samples added.

    eye: the referee taught on real samples. rare: the class that lacks samples.
    """
    teach = partial(referee.learn, classes=classes, tall=tall, seed=seed, steps=steps)
    pupils = {
        "real": eye,
        "false": taught_on_invented(real, invent, teach, classes, seed),
        "both": taught_on_both(real, invent, teach, classes=classes, rare=rare, seed=seed),
    }
    told = {name: referee.answers(model, real.test)[0] for name, model in pupils.items()}
    figure = partial(bootstrap, groups=real.groups, draws=300)
    truth, precision = real.test_labels, rare_precision(rare)
    figures = {
        "train_on_synthetic_auc": figure(macro_auc, truth, told["false"]),
        "train_on_real_auc": figure(macro_auc, truth, told["real"]),
        "rare_class_precision_real": figure(precision, truth, told["real"]),
        "rare_class_precision_with_synthetic": figure(precision, truth, told["both"]),
    }
    share = figures["train_on_synthetic_auc"]["value"] / figures["train_on_real_auc"]["value"]
    return {**figures, "share_of_real_auc": round(share, 4)}


def wanted(real: Real, seed: int) -> Labels:
    """The classes of the invented samples that are compared: as often as they were learnt from."""
    count = min(len(real.held), len(real.test), COMPARED)
    found: Labels = np.random.default_rng(seed).permutation(real.learn_labels)[:count]
    return found


def measure(
    real: Real, invent: Invent, *, classes: int, tall: bool, rare: int, seed: int = 0, steps: int = STEPS
) -> dict[str, Any]:
    """Every figure of a generator. invent: (classes wanted, seed) -> samples."""
    eye = referee.learn(real.learn, real.learn_labels, classes=classes, tall=tall, seed=seed, steps=steps)
    asked = wanted(real, seed)
    figures = likeness(real, invent(asked, seed), eye, seed)
    figures |= usefulness(real, eye, invent, classes=classes, tall=tall, rare=rare, seed=seed, steps=steps)
    return {**figures, "n": len(real.test), "invented": len(asked)}
