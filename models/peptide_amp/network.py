"""A convolution and an LSTM over the residues (after Veltri 2018), tried beside the served models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.peptide_amp.data import LETTERS
from models.training.loop import Schedule, fit, soft_cross_entropy

LONGEST = 128  #: residues read, the last ones of a longer peptide left out
BATCH, EPOCHS = 64, 12


def one_hot(peptides: Sequence[str]) -> Tensor:
    """(n, 20, 1, 128): one where the amino acid is; a shorter peptide stands at the end."""
    table = np.zeros((len(peptides), len(LETTERS), 1, LONGEST), np.float32)
    for row, peptide in enumerate(peptides):
        for place, letter in enumerate(reversed(peptide[:LONGEST])):
            table[row, LETTERS.index(letter), 0, LONGEST - 1 - place] = 1
    return torch.from_numpy(table)


class Network(nn.Module):
    """64 filters of 16 residues, the highest of each five places, and an LSTM of 64 over those."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            nn.Conv2d(len(LETTERS), 64, (1, 16), padding=(0, 8)), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d((1, 5)), nn.Dropout(0.3),
        )  # fmt: skip
        self.memory = nn.LSTM(64, 64, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.4), nn.Linear(64, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 20, 1, 128) to (batch, 2) logits."""
        states, _ = self.memory(self.filters(x).squeeze(2).transpose(1, 2))
        return torch.as_tensor(self.head(states[:, -1]))


def learn(
    peptides: Sequence[str], labels: NDArray[np.int64], others: Sequence[str], seed: int
) -> NDArray[np.float64]:
    """(m,) log-odds of the other peptides by a network trained on the first."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    inputs, shares = one_hot(peptides), torch.from_numpy(np.eye(2, dtype=np.float32)[labels])

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(random.integers(0, len(labels), BATCH))
        kept = (torch.from_numpy(random.random((BATCH, 1, 1, LONGEST))) > 0.05).float()
        return inputs[rows] * kept, shares[rows]

    schedule = Schedule(epochs=EPOCHS, steps=max(1, len(labels) // BATCH), rate=3e-3, decay=0.02)
    trained = fit(Network(), draw, soft_cross_entropy(0.05), schedule, seed=seed)
    with torch.no_grad():
        logits = trained(one_hot(others)).float()
    return np.asarray(logits[:, 1] - logits[:, 0], np.float64)
