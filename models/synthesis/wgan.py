"""A small class-conditional Wasserstein GAN with gradient penalty, for pictures and for signals alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.loop import Average, rate_at

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
SOFT_TAPS = 11  #: of the filter that a signal is passed through
Alter = Callable[[Tensor, Tensor], Tensor]  #: (batch, shifts 0..1 of shape (batch, 4)) -> the batch, altered


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The shapes of the pair, and how it is trained."""

    classes: int
    start: tuple[int, int]  #: rows and columns that the generator starts from
    widths: tuple[int, ...]  #: its channels, one a doubling; a signal's rows are not doubled
    tall: bool  #: a picture; else a signal, one row high
    noise: int = 64  #: numbers that are drawn for one sample
    steps: int = 3000  #: of the generator
    critics: int = 1  #: steps of the critic for each
    batch: int = 64
    rate: float = 2e-4  #: of the generator
    faster: float = 3.0  #: the critic's rate in the generator's (two time scales: Heusel 2017)
    penalty: float = 10.0  #: weight of the gradient penalty (Gulrajani 2017)
    #: the penalty is taken at every so manieth step of the critic (Karras 2020), as much heavier
    lazy: int = 2
    average: float = 0.998  #: of the generator's weights, per step

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of a sample."""
        grown = 2 ** (len(self.widths) - 1)
        return (self.start[0] * grown if self.tall else self.start[0], self.start[1] * grown)


def low_pass(taps: int) -> Tensor:
    """(1, 1, 1, taps) a windowed sinc that passes the lower half of what the points can hold.

    Signals are sampled at four times the highest frequency that they hold (40 Hz at 160 Hz): what an
    invented one holds above the half of that is no signal.
    """
    at = torch.arange(taps) - taps // 2
    kernel = torch.sinc(at / 2) * torch.hamming_window(taps, periodic=False)
    return (kernel / kernel.sum()).view(1, 1, 1, taps)


class Generator(nn.Module):
    """Samples (batch, 1, rows, columns) from noise (batch, noise) and classes (batch,).

    The noise first draws along each class's principal components, which alone gives the right mean and
    spread (a Gaussian of the class); the convolutions see that draft and learn what it lacks. So the
    adversarial training starts from something like, and a short one does.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        first = plan.widths[0]
        self.enter = nn.Linear(plan.noise + plan.classes, first * plan.start[0] * plan.start[1])
        kernel, stride, pad = ((4, 4), (2, 2), (1, 1)) if plan.tall else ((1, 4), (1, 2), (0, 1))
        layers: list[nn.Module] = [nn.BatchNorm2d(first), nn.ReLU()]
        for before, after in zip(plan.widths, plan.widths[1:], strict=False):
            layers += [
                nn.ConvTranspose2d(before, after, kernel, stride, pad, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.grow = nn.Sequential(*layers)
        near, edge = ((3, 3), (1, 1)) if plan.tall else ((1, 9), (0, 4))
        last = plan.widths[-1]
        self.mend = nn.Sequential(
            nn.Conv2d(last + 1, last, near, 1, edge), nn.LeakyReLU(0.2), nn.Conv2d(last, 1, near, 1, edge)
        )
        self.middle: Tensor
        self.components: Tensor
        area = plan.side[0] * plan.side[1]
        self.soft: Tensor
        self.register_buffer("soft", low_pass(SOFT_TAPS), persistent=False)
        self.register_buffer("middle", torch.zeros(plan.classes, area))
        self.register_buffer("components", torch.zeros(plan.classes, plan.noise, area))

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        """noise: (batch, noise), classes: (batch,) numbers."""
        told = torch.cat([noise, F.one_hot(classes, self.plan.classes).to(noise.dtype)], 1)
        planted = self.enter(told).view(len(told), self.plan.widths[0], *self.plan.start)
        drafts = self.middle[:, None] + noise @ self.components  # (classes, batch, area)
        draft = drafts[classes, torch.arange(len(told))]
        drawn = draft.view(len(told), 1, *self.plan.side)
        sample: Tensor = drawn + self.mend(torch.cat([self.grow(planted), drawn], 1))
        if self.plan.tall:
            return sample
        reach = SOFT_TAPS // 2
        return F.conv2d(F.pad(sample, (reach, reach, 0, 0), mode="replicate"), self.soft)


class Critic(nn.Module):
    """Scores (batch,): how real a sample looks for its class (projection: Miyato and Koyama 2018)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        kernel, stride, pad = ((4, 4), (2, 2), (1, 1)) if plan.tall else ((1, 8), (1, 2), (0, 3))
        layers: list[nn.Module] = []
        before = 1
        for after in plan.widths[-2::-1]:  # at each size a step wider than the generator
            layers += [nn.Conv2d(before, after, kernel, stride, pad), nn.LeakyReLU(0.2)]
            before = after
        self.look = nn.Sequential(*layers)
        area = plan.start[0] * plan.start[1]
        self.join = nn.Sequential(nn.Linear((before + 1) * area, 96), nn.LeakyReLU(0.2))
        self.judge = nn.Linear(96, 1)
        self.kinds = nn.Embedding(plan.classes, 96)

    def forward(self, samples: Tensor, classes: Tensor) -> Tensor:
        """samples: (batch, 1, rows, columns). The batch's own spread is one of the features (Karras 2018)."""
        seen = self.look(samples)
        spread = (seen.var(0, unbiased=False) + 1e-6).sqrt().mean()
        seen = torch.cat([seen, spread.expand(len(seen), 1, *seen.shape[2:])], 1).flatten(1)
        joined = self.join(seen)
        score: Tensor = self.judge(joined).squeeze(1) + (joined * self.kinds(classes)).sum(1)
        return score


@torch.no_grad()
def sketch(generator: Generator, samples: Floats, labels: Labels) -> None:
    """Give the generator each class's mean and principal components, scaled by their spread."""
    for number in range(generator.plan.classes):
        rows = samples[labels == number].reshape(-1, generator.middle.shape[1]).astype(np.float64)
        if not len(rows):
            continue
        middle = rows.mean(0)
        values, directions = np.linalg.eigh(np.cov(rows, rowvar=False))
        count = min(generator.plan.noise, len(rows) - 1, len(values))
        spread = np.sqrt(np.maximum(values[::-1][:count, None], 0))
        directions = directions.T[::-1]
        generator.middle[number] = torch.from_numpy(middle)
        generator.components[number, :count] = torch.from_numpy(spread * directions[:count])


def gradient_penalty(critic: Critic, real: Tensor, invented: Tensor, classes: Tensor, mix: Tensor) -> Tensor:
    """The mean squared distance from 1 of the critic's slope between real and invented samples.

    mix: (batch,) where between them each pair is looked at.
    """
    share = mix[:, None, None, None]
    between = (share * real + (1 - share) * invented).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between, classes).sum(), between, create_graph=True)
    cost: Tensor = ((slope.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
    return cost


class Pair:
    """Generator and critic with their optimisers, and the averaged generator that is kept."""

    def __init__(self, plan: Plan, seed: int, alter: Alter | None) -> None:
        torch.manual_seed(seed)
        self.plan, self.alter = plan, alter
        self.generator, self.critic = Generator(plan), Critic(plan)
        for network in (self.generator, self.critic):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.generator, plan.average)
        self.chance = torch.Generator().manual_seed(seed)
        make = torch.optim.Adam
        self.judged = 0  #: steps of the critic so far
        self.making = make(self.generator.parameters(), lr=plan.rate, betas=(0.0, 0.9))
        self.judging = make(self.critic.parameters(), lr=plan.faster * plan.rate, betas=(0.0, 0.9))

    def invent(self, classes: Tensor) -> Tensor:
        """As many samples as there are classes given."""
        noise = torch.randn(len(classes), self.plan.noise, generator=self.chance)
        made: Tensor = self.generator(noise, classes)
        return made

    def _altered(self, samples: Tensor) -> Tensor:
        if self.alter is None:
            return samples
        return self.alter(samples, torch.rand(len(samples), 4, generator=self.chance))

    def sharpen(self, real: Tensor, classes: Tensor) -> float:
        """One step of the critic; gives its estimate of the Wasserstein distance."""
        with torch.no_grad():
            invented = self.invent(classes)
        real, invented = self._altered(real), self._altered(invented)
        apart = self.critic(real, classes).mean() - self.critic(invented, classes).mean()
        cost = -apart
        if self.judged % self.plan.lazy == 0:
            mix = torch.rand(len(real), generator=self.chance)
            slope = gradient_penalty(self.critic, real, invented, classes, mix)
            cost = cost + self.plan.lazy * self.plan.penalty * slope
        self.judged += 1
        self.judging.zero_grad(set_to_none=True)
        cost.backward()
        self.judging.step()
        return float(apart.item())

    def improve(self, classes: Tensor) -> None:
        """One step of the generator."""
        cost = -self.critic(self._altered(self.invent(classes)), classes).mean()
        self.making.zero_grad(set_to_none=True)
        cost.backward()
        self.making.step()
        self.average.update(self.generator)


def fit(
    samples: Floats,
    labels: Labels,
    plan: Plan,
    *,
    seed: int,
    minutes: float | None = None,
    alter: Alter | None = None,
    progress: Callable[[str], None] | None = None,
) -> Generator:
    """The averaged generator after plan.steps, or when the minutes are up.

    samples: (n, rows, columns) within -1..1; labels: (n,). Each class is drawn equally often. Raises
    FloatingPointError when the critic's estimate is no longer finite.
    """
    pair, rng = Pair(plan, seed, alter), np.random.default_rng(seed)
    members = [np.flatnonzero(labels == c) for c in range(plan.classes)]
    for network in (pair.generator, pair.average.network):
        sketch(cast(Generator, network), samples, labels)
    held = torch.from_numpy(samples)[:, None]
    for group in (*pair.making.param_groups, *pair.judging.param_groups):
        group["initial_lr"] = group["lr"]
    began, done, step, apart = time.monotonic(), 0.0, 0, 0.0
    while done < 1:
        for group in (*pair.making.param_groups, *pair.judging.param_groups):
            group["lr"] = group["initial_lr"] * max(rate_at(done, 0.02), 0.05)
        for _ in range(plan.critics):
            classes = rng.integers(0, plan.classes, plan.batch)
            rows = np.array([members[c][rng.integers(len(members[c]))] for c in classes])
            apart = pair.sharpen(held[rows], torch.from_numpy(classes))
        pair.improve(torch.from_numpy(rng.integers(0, plan.classes, plan.batch)))
        step += 1
        elapsed = (time.monotonic() - began) / (60 * minutes) if minutes else 0.0
        done = max(step / plan.steps, elapsed)
        if not np.isfinite(apart):
            raise FloatingPointError(f"the critic's estimate became {apart} at step {step}; lower the rate")
        if progress and (step % 100 == 0 or done >= 1):
            progress(f"step {step}/{plan.steps} apart {apart:.3f} ({time.monotonic() - began:.0f} s)")
    kept = pair.average.network
    assert isinstance(kept, Generator)  # noqa: S101 - it is a copy of one
    return kept.eval()


@torch.inference_mode()
def invent(generator: Generator, labels: Labels, seed: int) -> Floats:
    """(n, rows, columns) invented samples of these classes, the same for the same seed."""
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(labels), generator.plan.noise, generator=chance)
    classes = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    parts = [generator(noise[i : i + 256], classes[i : i + 256]) for i in range(0, len(labels), 256)]
    return torch.cat(parts)[:, 0].clamp(-1, 1).numpy().astype(np.float32)


def save(generator: Generator, folder: Path, facts: dict[str, Any]) -> None:
    """generator.safetensors in half precision and plan.json with the plan and further facts."""
    from safetensors.torch import save_file

    state = generator.state_dict()
    held = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    save_file(held, folder / "generator.safetensors")
    text = json.dumps({"plan": asdict(generator.plan), **facts}, indent=2)
    (folder / "plan.json").write_text(text + "\n", "utf-8")


def load(folder: Path) -> tuple[Generator, dict[str, Any]]:
    """The generator of a folder, ready to invent, and the facts beside its plan."""
    from safetensors.torch import load_file

    facts = json.loads((folder / "plan.json").read_text("utf-8"))
    told = facts.pop("plan")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    plan = Plan(**values)
    generator = Generator(plan)
    generator.load_state_dict(load_file(folder / "generator.safetensors"))
    return generator.float().eval(), facts
