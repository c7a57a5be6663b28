"""Training the gate: films of the folds against their counterfeits; limits from the films left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from models.chest_xray.augment import Augmentation
from models.chest_xray.counterfeits import counterfeits
from models.chest_xray.gate import ShapeModel, margins, shapes, small
from models.chest_xray.member import train_member
from models.chest_xray.network import GATE, ResidualNetwork, pack
from models.training.loop import Schedule

CHANGES = Augmentation(
    rotation_degrees=8,
    zoom=(0.85, 1.15),
    aspect=0.15,
    shift=0.08,
    cutout=0.2,
    mixup=0.0,
    noise=0.05,
    padding="zeros",
)
COMPONENTS = 48
EDGE = 0.995  #: quantile of good validation films from which the limits are set
EPOCHS, BATCH = 12, 64
DRAWN = 120  #: pictures of each drawn kind a fold


def _member(films: NDArray[np.float32], seed: int, minutes: float | None) -> ResidualNetwork:
    """One network that tells these films from their counterfeits."""
    rng = np.random.default_rng(seed)
    false = counterfeits(films, max(4, min(DRAWN, len(films))), GATE.side, rng)
    true = small(torch.from_numpy(films)[:, None], GATE.side)
    images = torch.cat([true, torch.from_numpy(false)[:, None]])
    labels = np.repeat([0, 1], [len(true), len(false)])
    steps = max(1, len(labels) // (2 * BATCH))
    schedule = Schedule(epochs=EPOCHS, steps=steps, rate=2e-3, decay=2e-2, average=0.99)
    return train_member(
        images, labels, GATE, schedule, CHANGES, smoothing=0.02, batch=BATCH, seed=seed,
        minutes=minutes, progress=None,
    )  # fmt: skip


def train_gate(
    films: Tensor,
    fold: NDArray[np.int64],
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write `gate.safetensors` from prepared films (n, 1, s, s) and their fold by person.

    Each fold's films are judged by parts that never saw their persons; the limits lie beyond EDGE of
    them. Returns the limits and the share of these films refused by either.
    """
    rows = shapes(films)
    count = min(COMPONENTS, len(rows) // 3)
    strange, distance = torch.zeros(len(films)), torch.zeros(len(films)).double()
    members: list[torch.nn.Module] = []
    parts = int(fold.max()) + 1
    for index in range(parts):
        learn, held = np.flatnonzero(fold != index), np.flatnonzero(fold == index)
        member = _member(films[learn, 0].numpy(), seed * 100 + index, minutes / parts if minutes else None)
        with torch.inference_mode():
            strange[held] = margins([member], films[held])
            distance[held] = ShapeModel.learn(rows[learn], count).distance(rows[held])
        members.append(member)
        if progress:
            progress(
                f"gate {index}: strangest film {strange[held].max():.2f}, farthest {distance[held].max():.2f}"
            )
    shape = ShapeModel.learn(rows, count)
    edges = [float(np.quantile(v.double().numpy(), EDGE)) for v in (strange, distance)]
    # Films of other hospitals lie farther out than ours: half way to even odds, and twice as far.
    limits = [edges[0] / 2 if edges[0] < 0 else edges[0], 2 * edges[1]]
    network = {f"network.{name}": tensor for name, tensor in pack(members).items()}
    found = {
        "shape.mean": shape.mean.float(),
        "shape.components": shape.components.float().contiguous(),
        "shape.variances": shape.variances.float(),
        "shape.noise": torch.tensor(shape.noise),
        "limit.strangeness": torch.tensor(limits[0]),
        "limit.distance": torch.tensor(limits[1]),
    }
    save_file(network | found, out / "gate.safetensors")
    refused = (strange.numpy() > limits[0]) | (distance.numpy() > limits[1])
    return {"strangeness": limits[0], "distance": limits[1], "films_refused": float(refused.mean())}
