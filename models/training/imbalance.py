"""Rare classes: weights, drawing them more or the others less, SMOTE, and a loss that minds the hard ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from models.training.loop import Loss

Rows = NDArray[np.intp]


def _counted(labels: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(n,) class numbers in the order of the sorted labels, and (classes,) how many there are of each."""
    names, numbers, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if not len(names):
        raise ValueError("there are no rows to balance")
    return numbers.reshape(-1), counts


def class_weights(labels: ArrayLike, power: float = 1.0) -> NDArray[np.float64]:
    """(classes,) in the order of the sorted labels, inverse to frequency, 1 on the mean of the rows.

    power: 1 balances fully, 0 not at all, .5 half-way on a log scale.
    """
    numbers, counts = _counted(labels)
    weights = (len(numbers) / (len(counts) * counts)) ** power
    return np.asarray(weights / weights[numbers].mean())


def oversample(labels: ArrayLike, seed: int = 0) -> Rows:
    """Rows, in drawn order, with every class as often as the commonest: the rarer ones repeat evenly."""
    numbers, counts = _counted(labels)
    rng, most = np.random.default_rng(seed), int(counts.max())
    picked = []
    for label in range(len(counts)):
        own = np.flatnonzero(numbers == label)
        whole, rest = divmod(most, len(own))
        picked.append(np.concatenate([np.tile(own, whole), rng.permutation(own)[:rest]]))
    return np.asarray(rng.permutation(np.concatenate(picked)))


def undersample(labels: ArrayLike, seed: int = 0) -> Rows:
    """Rows, in drawn order, with every class as seldom as the rarest; none twice."""
    numbers, counts = _counted(labels)
    rng = np.random.default_rng(seed)
    picked = [rng.permutation(np.flatnonzero(numbers == i))[: counts.min()] for i in range(len(counts))]
    return np.asarray(rng.permutation(np.concatenate(picked)))


def batches(labels: ArrayLike, size: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Batches without end, each class with equal chance, for training networks step by step."""
    numbers, counts = _counted(labels)
    chance = 1 / (len(counts) * counts[numbers])
    while True:
        yield rng.choice(len(numbers), size, p=chance)


def smote(
    x: ArrayLike, y: ArrayLike, seed: int = 0, neighbours: int = 5
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """(rows, features) and labels with made-up rows between neighbours of the rarer classes.

    SMOTE (Chawla 2002), on finite numbers of comparable scale; for training rows only, inside a fold. A
    class too small for the neighbours has fewer. Raises ValueError of a class with a single row.
    """
    from imblearn.over_sampling import SMOTE

    _, counts = _counted(y)
    if counts.min() < 2:
        raise ValueError("SMOTE needs two rows of every class; use oversample")
    maker = SMOTE(random_state=seed, k_neighbors=min(neighbours, int(counts.min()) - 1))
    made, labels = maker.fit_resample(np.asarray(x, dtype=np.float64), np.asarray(y))
    return np.asarray(made), np.asarray(labels)


def focal_loss(gamma: float = 2.0, weights: ArrayLike | None = None, smoothing: float = 0.0) -> Loss:
    """Focal loss (Lin 2017) against class shares: what is already right counts (1 - p)^gamma as much.

    weights: (classes,), as of `class_weights`. gamma 0 is cross-entropy.
    """
    import torch

    scale = None if weights is None else torch.as_tensor(np.asarray(weights), dtype=torch.float32)

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        shares = shares * (1 - smoothing) + smoothing / shares.shape[1]
        told = torch.log_softmax(logits, dim=1)
        terms = shares * (1 - told.exp()).clamp_min(1e-6) ** gamma * told
        if scale is not None:
            terms = terms * scale.to(logits.device)
        return -terms.sum(1).mean()

    return loss
