"""A small classifier that learns on real or on invented samples: its features and its AUC are the measure."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.synthesis.wgan import Floats, Labels
from models.training.loop import Schedule, fit, soft_cross_entropy

FEATURES = 48  #: numbers that stand for a sample in the Frechet distance
BATCH = 64


class Referee(nn.Module):
    """Logits (batch, classes) of samples (batch, 1, rows, columns)."""

    def __init__(self, classes: int, tall: bool) -> None:
        super().__init__()
        kernel, pad, stride = ((3, 3), (1, 1), (2, 2)) if tall else ((1, 7), (0, 3), (1, 2))
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, FEATURES)):
            layers += [
                nn.Conv2d(before, after, kernel, stride, pad, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.look = nn.Sequential(*layers)
        self.name = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * FEATURES, classes))

    def features(self, samples: Tensor) -> Tensor:
        """(batch, FEATURES): the mean over the picture, on which the Frechet distance is taken."""
        seen: Tensor = self.look(samples).mean((2, 3))
        return seen

    def forward(self, samples: Tensor) -> Tensor:
        """Mean and maximum over the picture, then the classes."""
        seen = self.look(samples)
        logits: Tensor = self.name(torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1))
        return logits


def learn(samples: Floats, labels: Labels, *, classes: int, tall: bool, seed: int, steps: int) -> Referee:
    """A referee taught on these samples, each class drawn equally often."""
    rng = np.random.default_rng(seed)
    members = [m for c in range(classes) if len(m := np.flatnonzero(labels == c))]
    kinds = [int(labels[m[0]]) for m in members]
    held, one_hot = torch.from_numpy(samples)[:, None], torch.eye(classes)

    def draw() -> tuple[Tensor, Tensor]:
        which = rng.integers(0, len(members), BATCH)
        rows = np.array([members[c][rng.integers(len(members[c]))] for c in which])
        noise = torch.from_numpy(rng.standard_normal((BATCH, *held.shape[1:])).astype(np.float32))
        batch = held[rows] + 0.03 * noise
        shift = int(rng.integers(-2, 3))
        return torch.roll(batch, shift, 3), one_hot[[kinds[c] for c in which]]

    torch.manual_seed(seed)
    schedule = Schedule(epochs=1, steps=steps, rate=2e-3, decay=1e-2, average=0.98)
    taught = fit(Referee(classes, tall), draw, soft_cross_entropy(0.02), schedule, seed=seed)
    assert isinstance(taught, Referee)  # noqa: S101 - the loop gives back what it was given
    return taught


@torch.inference_mode()
def answers(referee: Referee, samples: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, classes) probabilities and (n, FEATURES) features."""
    given = [torch.from_numpy(samples[i : i + 512])[:, None] for i in range(0, len(samples), 512)]
    chances = torch.cat([referee(part).softmax(1) for part in given]).double().numpy()
    features = torch.cat([referee.features(part) for part in given]).double().numpy()
    return chances, features
