"""One member of an ensemble: how it is trained, and what members answer together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.chest_xray.augment import Augmentation, augment, mix
from models.chest_xray.films import Film, pixels
from models.chest_xray.network import THUMBNAIL, Architecture, ResidualNetwork, average_logits, standardise
from models.chest_xray.prepare import prepare
from models.training.loop import Schedule, fit, soft_cross_entropy

Progress = Callable[[str], None]
ZOOMS = (1.0, 1.1)  #: the views a thumbnail is averaged over, beside their mirrors


def train_member(
    images: Tensor,
    labels: NDArray[np.int64],
    architecture: Architecture,
    schedule: Schedule,
    changes: Augmentation,
    *,
    smoothing: float,
    batch: int,
    seed: int,
    minutes: float | None,
    progress: Progress | None,
    held: tuple[Tensor, NDArray[np.int64]] | None = None,
) -> ResidualNetwork:
    """One network trained on images (n, 1, rows, columns) in 0..1; every class drawn equally often.

    held: images and labels of persons who are not in training; with the schedule's `patience` a run
    whose loss on them no longer falls is stopped early.
    """
    counts = np.bincount(labels, minlength=architecture.classes)
    weights = torch.from_numpy(1.0 / np.maximum(counts, 1)[labels])
    truth = nn.functional.one_hot(torch.from_numpy(labels), architecture.classes).float()

    def draw() -> tuple[Tensor, Tensor]:
        pick = torch.multinomial(weights, batch, replacement=True)
        changed = standardise(augment(images[pick], architecture.side, changes))
        return mix(changed, truth[pick], changes)

    torch.manual_seed(seed)
    network = ResidualNetwork(architecture)
    loss = soft_cross_entropy(smoothing)
    check = None if held is None else partial(_held_loss, images=held[0], labels=held[1])
    trained = fit(network, draw, loss, schedule, seed=seed, minutes=minutes, check=check, progress=progress)
    assert isinstance(trained, ResidualNetwork)  # noqa: S101 - fit returns a copy of what it was given
    return trained


def _held_loss(network: nn.Module, images: Tensor, labels: NDArray[np.int64]) -> float:
    """Mean cross-entropy on the held-out persons."""
    assert isinstance(network, ResidualNetwork)  # noqa: S101 - fit hands back what it was given
    logits = torch.from_numpy(scores([network], images, (1.0,)))
    return float(nn.functional.cross_entropy(logits, torch.from_numpy(labels)))


def scores(members: list[ResidualNetwork], images: Tensor, zooms: tuple[float, ...]) -> NDArray[np.float64]:
    """Mean logits of the members over the views, in batches: (n, classes)."""
    with torch.inference_mode():
        found = [average_logits(members, part, zooms) for part in torch.split(images, 64)]
    return torch.cat(found).double().numpy()


def load_films(found: Sequence[Film], side: int) -> Tensor:
    """The films prepared for the network: (n, 1, side, side)."""
    return torch.from_numpy(np.stack([prepare(pixels(f.path), side).pixels for f in found]))[:, None]


def enlarge(images: NDArray[np.float32]) -> Tensor:
    """Thumbnails (n, 28, 28) at the network's size: (n, 1, 32, 32)."""
    side = (THUMBNAIL.side, THUMBNAIL.side)
    return nn.functional.interpolate(torch.from_numpy(images)[:, None], side, mode="bilinear")
