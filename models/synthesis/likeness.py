"""Real and invented samples side by side, as plots need them: means, spreads, distances, features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from models.synthesis import measures, referee
from models.synthesis.measures import STEPS, Invent, Real, Table
from models.synthesis.wgan import Floats, Labels

MIDDLE = (10, 90)  #: percentiles between which the middle of a class lies


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Each mapping has the keys "real" and "invented"."""

    samples: Floats  #: (n, rows, columns) invented
    labels: Labels  #: (n,) the classes that they were asked of
    middle: Mapping[str, Floats]  #: (classes, rows, columns) the mean of each class
    spread: Mapping[str, Floats]  #: (classes, 2, rows, columns) the percentiles of MIDDLE
    near: Mapping[str, Table]  #: (n,) the distance to the nearest sample learnt from
    features: Mapping[str, Table]  #: (n, features) as a referee taught on real samples sees them
    truth: Labels  #: (m,) the classes of real samples that nothing here learnt from
    taught: Mapping[str, Table]  #: (m, classes) what referees say of these: by what they were taught on


def portrait(
    real: Real, invent: Invent, *, classes: int, tall: bool, seed: int = 0, steps: int = STEPS
) -> Likeness:
    """The generator beside what it learnt from; seeds and counts are those of `measures.measure`."""
    teach = partial(referee.learn, classes=classes, tall=tall, seed=seed, steps=steps)
    eye, asked = teach(real.learn, real.learn_labels), measures.wanted(real, seed)
    made = invent(asked, seed)
    seen = measures.compared(real, made, eye, seed)
    pupil = measures.taught_on_invented(real, invent, teach, classes, seed)
    sets = {"real": (real.learn, real.learn_labels), "invented": (made, asked)}
    return Likeness(
        samples=made,
        labels=asked,
        middle={name: np.stack([x[y == c].mean(0) for c in range(classes)]) for name, (x, y) in sets.items()},
        spread={name: _spread(x, y, classes) for name, (x, y) in sets.items()},
        near={"real": seen.near["held"], "invented": seen.near["invented"]},
        features={"real": seen.features["held"], "invented": seen.features["invented"]},
        truth=real.test_labels,
        taught={
            "real": referee.answers(eye, real.test)[0],
            "invented": referee.answers(pupil, real.test)[0],
        },
    )


def _spread(samples: Floats, labels: Labels, classes: int) -> Floats:
    ends = [np.percentile(samples[labels == c], MIDDLE, axis=0) for c in range(classes)]
    return np.stack(ends).astype(np.float32)
