"""What the machines are compared with, on the same folds: regression, random forest, CNN and RNN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.splice_site.kernel import WINDOW, Codes
from models.training.loop import Schedule, fit, soft_cross_entropy

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Learner = Callable[
    [Codes, Labels, Codes, int], Floats
]  #: training codes, labels, other codes, seed: log-chances
EPOCHS, BATCH = 15, 64


def one_hot(codes: Codes) -> NDArray[np.float32]:
    """(n, 4, 60): one where the base is, all zero at an ambiguity code."""
    return np.asarray(codes[:, None, :] == np.arange(4)[None, :, None], np.float32)


def regression(codes: Codes, labels: Labels, others: Codes, seed: int) -> Floats:
    """Logistic regression on one-hot bases."""
    from sklearn.linear_model import LogisticRegression

    flat = [one_hot(part).reshape(len(part), -1) for part in (codes, others)]
    fitted = LogisticRegression(C=0.1, max_iter=1000).fit(flat[0], labels)
    return np.asarray(fitted.predict_log_proba(flat[1]))


def forest(codes: Codes, labels: Labels, others: Codes, seed: int) -> Floats:
    """Random forest of 300 trees on one-hot bases."""
    from sklearn.ensemble import RandomForestClassifier

    flat = [one_hot(part).reshape(len(part), -1) for part in (codes, others)]
    fitted = RandomForestClassifier(300, random_state=seed, n_jobs=1).fit(flat[0], labels)
    return np.asarray(np.log(np.clip(fitted.predict_proba(flat[1]), 1e-3, 1.0)))


class Convolutions(nn.Module):
    """Two convolutions over the bases, the second one's map kept in place, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(4, 64, (1, 7), padding=(0, 3)), nn.BatchNorm2d(64), nn.ReLU(), nn.Dropout(0.3),
            nn.Conv2d(64, 32, (1, 5), padding=(0, 2)), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(32 * WINDOW, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 4, 1, 60) to (batch, 3) logits."""
        return torch.as_tensor(self.head(self.maps(x).flatten(1)))


class Recurrent(nn.Module):
    """A two-way GRU over the bases; its states just before and behind the junction are read."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Conv1d(4, 32, 5, padding=2)
        self.gru = nn.GRU(32, 48, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(0.4), nn.Linear(4 * 48, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 4, 1, 60) to (batch, 3) logits."""
        lifted = torch.relu(self.lift(x.squeeze(2).contiguous()))
        states, _ = self.gru(lifted.transpose(1, 2))
        middle = states[:, WINDOW // 2 - 1 : WINDOW // 2 + 1].flatten(1)
        return torch.as_tensor(self.head(middle))


def network(build: Callable[[], nn.Module]) -> Learner:
    """The learner that trains such a network, one base in twenty hidden at each draw."""

    def learn(codes: Codes, labels: Labels, others: Codes, seed: int) -> Floats:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        random = np.random.default_rng(seed)
        inputs = torch.from_numpy(one_hot(codes))[:, :, None]
        shares = torch.from_numpy(np.eye(3, dtype=np.float32)[labels])

        def draw() -> tuple[Tensor, Tensor]:
            rows = torch.from_numpy(random.integers(0, len(labels), BATCH))
            kept = (torch.from_numpy(random.random((BATCH, 1, 1, WINDOW))) > 0.05).float()
            return inputs[rows] * kept, shares[rows]

        steps = max(1, len(labels) // BATCH)
        schedule = Schedule(epochs=EPOCHS, steps=steps, rate=3e-3, decay=0.02)
        trained = fit(build(), draw, soft_cross_entropy(0.02), schedule, seed=seed)
        with torch.no_grad():
            logits = trained(torch.from_numpy(one_hot(others))[:, :, None])
        return np.asarray(torch.log_softmax(logits.float(), 1), np.float64)

    return learn


LEARNERS: dict[str, Learner] = {
    "logistic regression, one-hot": regression,
    "random forest, one-hot": forest,
    "CNN": network(Convolutions),
    "RNN (two-way GRU)": network(Recurrent),
}
