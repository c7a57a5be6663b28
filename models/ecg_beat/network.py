"""A 1-D network that sees a beat, what stands around it, and its timing; and how its pictures are varied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.ecg_beat.beats import CLASSES
from models.ecg_beat.signals import Floats
from models.ecg_beat.windows import NAMES, POINTS
from models.training.loop import Schedule, fit, soft_cross_entropy

#: beats of each class drawn for one epoch, with repetition where there are fewer (N, S, V, F)
DRAWN = (14_000, 3_000, 5_000, 600)
BATCH = 128
SMOOTHING = 0.05
SCHEDULE = Schedule(epochs=6, steps=sum(DRAWN) // BATCH, rate=2e-3, decay=2e-2, average=0.995)


class Block(nn.Module):
    """Two convolutions along time with a short cut; halves the length."""

    def __init__(self, before: int, after: int, kernel: int = 7) -> None:
        super().__init__()
        pad = (0, kernel // 2)
        # convolutions along time are written as rows of height one: that is what the CPU kernels are fast at
        self.first = nn.Conv2d(before, after, (1, kernel), (1, 2), pad, bias=False)
        self.second = nn.Conv2d(after, after, (1, kernel), 1, pad, bias=False)
        self.short = nn.Conv2d(before, after, 1, (1, 2), bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, 1, length) to (batch, after, 1, length / 2)."""
        deep = self.norms[1](self.second(torch.relu(self.norms[0](self.first(x)))))
        return torch.relu(deep + self.norms[2](self.short(x)))


class BeatNetwork(nn.Module):
    """Logits (batch, 4) of the AAMI classes from inputs (batch, CHANNELS, 1, POINTS)."""

    def __init__(self, mean: Tensor | None = None, spread: Tensor | None = None) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(len(NAMES)) if mean is None else mean)
        self.register_buffer("spread", torch.ones(len(NAMES)) if spread is None else spread)
        self.beat = nn.Sequential(Block(4, 24), Block(24, 48), Block(48, 64))
        self.around = nn.Sequential(Block(2, 16), Block(16, 32), Block(32, 32))
        self.numbers = nn.Sequential(nn.Linear(len(NAMES), 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(64 * 2 + 32 * 4 + 32, 64), nn.ReLU())
        self.out = nn.Sequential(nn.Dropout(0.3), nn.Linear(64, len(CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        """x: the waves, the surroundings, and the numbers in the last channel."""
        beat = self.beat(x[:, :4])
        around = self.around(x[:, 4:6])
        numbers = (x[:, 6, 0, : len(NAMES)].float() - self.mean) / self.spread
        parts = [
            beat.mean((2, 3)),
            beat.amax((2, 3)),
            nn.functional.adaptive_avg_pool2d(around, (1, 4)).flatten(1),  # where in time matters here
            self.numbers(numbers.clamp(-5, 5)),
        ]
        logits: Tensor = self.out(self.head(torch.cat(parts, 1)))
        return logits


class Together(nn.Module):
    """Networks side by side as one, for a back-end to compute."""

    def __init__(self, networks: list[BeatNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, CHANNELS, 1, POINTS) to the logits of each, (batch, networks * 4)."""
        return torch.cat([network(x) for network in self.networks], 1)


def vary(waves: Tensor, generator: torch.Generator) -> Tensor:
    """The batch with other gains, a drifting baseline, noise and, for some, one lead gone.

    waves: (batch, CHANNELS, POINTS). The numbers get a little noise; those of a lost lead become zero.
    """
    count = len(waves)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    gain = torch.exp(0.15 * normal(count, 2, 1)).repeat(1, 3, 1)
    time = torch.linspace(0, 1, POINTS)
    phase = normal(count, 6, 1)
    drift = 0.04 * normal(count, 6, 1) * torch.sin(2 * torch.pi * (time * normal(count, 6, 1) + phase))
    noise = 0.02 * normal(count, 6, POINTS) * torch.rand(count, 6, 1, generator=generator)
    out = waves.clone()
    out[:, :6] = out[:, :6] * gain + drift + noise
    kept = (torch.rand(count, 2, 1, generator=generator) > torch.tensor([0.03, 0.2])[None, :, None]).float()
    kept[kept.sum(1).squeeze(1) == 0] = 1.0  # never both
    out[:, :6] *= kept.repeat(1, 3, 1)
    out[:, 6, : len(NAMES)] += 0.02 * normal(count, len(NAMES))
    for lead in (0, 1):
        columns = [i for i, name in enumerate(NAMES) if name.endswith(f" {lead + 1}")]
        out[:, 6, columns] *= kept[:, lead]
    return out


def draws(inputs: Floats, labels: NDArray[np.int64], seed: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Batches with the classes as often as DRAWN says. inputs: (beats, CHANNELS, POINTS)."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    members = [np.flatnonzero(labels == c) for c in range(len(CLASSES))]
    there = np.array([share if len(m) else 0 for share, m in zip(DRAWN, members, strict=True)], dtype=float)
    one_hot = torch.eye(len(CLASSES))

    def draw() -> tuple[Tensor, Tensor]:
        classes = rng.choice(len(CLASSES), BATCH, p=there / there.sum())
        rows = np.array([members[c][rng.integers(len(members[c]))] for c in classes])
        batch = vary(torch.from_numpy(inputs[rows].astype(np.float32)), generator)
        return batch[:, :, None], one_hot[torch.from_numpy(classes)]

    return draw


def train_network(
    inputs: Floats,
    labels: NDArray[np.int64],
    *,
    seed: int,
    schedule: Schedule = SCHEDULE,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> BeatNetwork:
    """The averaged network after the schedule, on beats whose label is known."""
    torch.manual_seed(seed)
    numbers = torch.from_numpy(inputs[:, 6, : len(NAMES)].astype(np.float32))
    network = BeatNetwork(numbers.mean(0), numbers.std(0).clamp_min(1e-3))
    fitted = fit(
        network,
        draws(inputs, labels, seed),
        soft_cross_entropy(SMOOTHING),
        schedule,
        seed=seed,
        minutes=minutes,
        progress=progress,
    )
    assert isinstance(fitted, BeatNetwork)  # noqa: S101 - the loop gives back what it was given
    return fitted


@torch.inference_mode()
def logits(network: Callable[[Tensor], Tensor], inputs: Floats, device: str = "cpu") -> NDArray[np.float64]:
    """(beats, 4) of a network, 512 at a time; of several together, (beats, networks * 4)."""
    parts = [
        network(torch.from_numpy(inputs[i : i + 512].astype(np.float32))[:, :, None].to(device)).float().cpu()
        for i in range(0, len(inputs), 512)
    ]
    return torch.cat(parts).numpy().astype(np.float64) if parts else np.zeros((0, len(CLASSES)))


def save(networks: list[BeatNetwork], path: Path) -> None:
    """The networks in half precision in one safetensors file, each under its number."""
    from safetensors.torch import save_file

    held = {
        f"{i}.{name}": (value.half() if value.is_floating_point() else value).contiguous()
        for i, network in enumerate(networks)
        for name, value in network.state_dict().items()
    }
    save_file(held, path)


def load(path: Path, device: str = "cpu") -> list[BeatNetwork]:
    """The networks of a file that `save` wrote, ready to answer."""
    from safetensors.torch import load_file

    held = load_file(path)
    found = []
    for number in sorted({name.split(".")[0] for name in held}, key=int):
        network = BeatNetwork()
        prefix = f"{number}."
        network.load_state_dict({k[len(prefix) :]: v for k, v in held.items() if k.startswith(prefix)})
        found.append(network.float().eval().to(device))
    return found
