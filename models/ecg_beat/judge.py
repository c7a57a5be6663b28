"""The beat classes' probabilities: forest and networks blended, held back in fibrillation, calibrated."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from models.ecg_beat import rhythm, windows
from models.ecg_beat.beats import CLASSES
from models.ecg_beat.signals import RATE, Floats
from models.ecg_beat.windows import CHANNELS, POINTS, Beats
from models.estimators import Predictor

if TYPE_CHECKING:
    from torch import Tensor

Table = NDArray[np.float64]
SEGMENT = (
    1800  #: seconds of a long recording that are judged on their own, as the training records' half hour
)
FLOOR = 1e-3  #: the least probability that a forest's leaf is believed
LEAST = 1e-30  #: a probability that is as good as none


@dataclass(frozen=True, kw_only=True)
class Blend:
    """How the two answers become one."""

    network: float  #: weight of the networks' log-probabilities; the forest has 1 - network
    temperature: float  #: over which the blended log-probabilities are divided
    held_back: float  #: by which log p(S) falls where the rhythm is as in atrial fibrillation
    called_from: float = 0.5  #: chance of S or of V, against N, from which a beat is called so


def blend(forest: Table, network: Table, fibrillating: NDArray[np.bool_], how: Blend) -> Table:
    """(beats, 4) calibrated probabilities. forest: probabilities; network: logits.

    What S loses in fibrillation is N's: an early beat there is one of an irregular rhythm, no likelier of
    the ventricles than its shape says.
    """
    known = np.log(np.maximum(forest, FLOOR))
    mixed = (1 - how.network) * log_softmax(known, axis=1) + how.network * log_softmax(network, axis=1)
    chances = softmax(mixed, axis=1)
    lost = chances[:, 1] * fibrillating * (1 - np.exp(-how.held_back))
    chances[:, 0] += lost
    chances[:, 1] -= lost
    return np.asarray(softmax(np.log(np.maximum(chances, LEAST)) / how.temperature, axis=1))


def called(chances: Table, called_from: float) -> NDArray[np.int64]:
    """(beats,) the class that each beat is called by its probabilities (beats, 4).

    The likeliest, where called_from is one half. S and V are called from that chance against N on: a missed
    early beat costs more than a false one, which whoever confirms the marks passes over.
    """
    early = (1 - called_from) / called_from
    return np.asarray((chances * [1.0, early, early, 1.0]).argmax(1), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Every beat of a recording, judged."""

    probabilities: Table  #: (beats, 4), calibrated: N, S, V, F
    fibrillating: NDArray[np.bool_]  #: (beats,)
    numbers: Floats  #: (beats, len(windows.NAMES))
    classes: NDArray[np.int64]  #: (beats,) as called


class Judge:
    """The opened weights."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from safetensors.numpy import load_file as load_arrays

        from models.ecg_beat.network import Together, load
        from models.estimators import unpack

        settings = tomllib.loads((folder / "blend.toml").read_text("utf-8"))
        self.how = Blend(**settings)
        self.forest: Predictor = unpack(load_arrays(folder / "forest.safetensors"))
        self.networks = Together(load(folder / "networks.safetensors", device)).eval()
        self.device = device
        self._compute: Callable[[Tensor], Tensor] = self.networks

    def use(self, backend: str) -> None:
        """Computes the networks by another back-end; the forest has one way."""
        import torch

        from models.backends import build

        self._compute = build(backend, self.networks, torch.zeros(2, CHANNELS, 1, POINTS, device=self.device))

    def judge(self, signals: Floats, places: NDArray[np.int64]) -> Judged:
        """signals: (2, samples), cleaned, 360 Hz; places: its QRS complexes, ascending."""
        parts = [self._segment(windows.describe(signals, part)) for part in segments(places)]
        return Judged(
            probabilities=np.concatenate([p.probabilities for p in parts]),
            fibrillating=np.concatenate([p.fibrillating for p in parts]),
            numbers=np.concatenate([p.numbers for p in parts]),
            classes=np.concatenate([p.classes for p in parts]),
        )

    def _segment(self, beats: Beats) -> Judged:
        from models.ecg_beat.network import logits

        inputs = beats.inputs()
        each = logits(self._compute, inputs, self.device).reshape(len(inputs), -1, len(CLASSES))
        network = log_softmax(each, axis=2).mean(axis=1)
        # a forest that was trained on other data may have met fewer classes
        forest = np.zeros((len(beats.numbers), len(CLASSES)))
        forest[:, self.forest.classes] = self.forest.predict_proba(beats.numbers.astype(np.float64))
        atrial = rhythm.fibrillating(beats.numbers)
        probabilities = blend(forest, network, atrial, self.how)
        return Judged(
            probabilities=probabilities,
            fibrillating=atrial,
            numbers=beats.numbers,
            classes=called(probabilities, self.how.called_from),
        )


def segments(places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The complexes of each SEGMENT, all about equally long; one part where there is little, none where
    there are no complexes."""
    if not len(places):
        return [places]
    parts = max(1, round((places[-1] - places[0]) / (SEGMENT * RATE)))
    edges = np.linspace(places[0], places[-1] + 1, parts + 1)[1:-1]
    return [part for part in np.split(places, np.searchsorted(places, edges)) if len(part)]
