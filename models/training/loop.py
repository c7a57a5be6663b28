"""A small torch training loop: seeded, cosine on steps or wall time, averaged weights, bf16 where it pays."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.training.checkpoint import Checkpoint, Generator

Draw = Callable[[], tuple[Tensor, Tensor]]  #: one augmented batch: inputs, class shares (batch, classes)
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how hard to train."""

    epochs: int
    steps: int  #: batches an epoch
    rate: float  #: highest learning rate
    decay: float  #: AdamW weight decay
    average: float = 0.99  #: exponential moving average of the weights, per step
    warm: float = 0.15  #: share of the run in which the learning rate rises
    patience: int | None = None  #: epochs without a better check before stopping; None runs to the end
    keep_best: bool = True  #: return the best epoch's weights; else the last's, which were picked by no check


class Average:
    """Exponential moving average of a network's weights and running statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network; early on it follows faster, so that it forgets the start."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        source = network.state_dict()
        for name, held in self.network.state_dict().items():
            if held.is_floating_point():
                held.lerp_(source[name], weight)
            else:
                held.copy_(source[name])


def rate_at(done: float, warm: float) -> float:
    """Share of the highest learning rate when `done` (0..1) of the run is over: linear up, cosine down."""
    if done < warm:
        return max(done / warm, 0.02)
    return max(0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm))), 1e-3)


def bf16_pays(device: str) -> bool:
    """Whether the device multiplies bfloat16 natively; elsewhere autocast on a CPU only slows."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


def soft_cross_entropy(smoothing: float) -> Loss:
    """Cross-entropy against class shares, with label smoothing."""
    return nn.CrossEntropyLoss(label_smoothing=smoothing)


@dataclass(kw_only=True)
class Run:
    """A training under way: what goes on changing from epoch to epoch."""

    network: nn.Module
    average: Average
    optimiser: torch.optim.Optimizer
    step: int = 0
    done: float = 0.0  #: share of the run that is over, by steps or wall time, whichever is further
    best: float = math.inf
    best_state: dict[str, Tensor] | None = None
    stale: int = 0  #: epochs since the best check
    stopped: bool = False
    seconds: float = 0.0  #: spent on the epochs before


def _epoch(
    run: Run, draw: Draw, loss: Loss, schedule: Schedule, device: str, spent: Callable[[], float]
) -> float:
    """Trains for one epoch, or to the end of the time; gives the mean loss. spent: share of the time."""
    run.network.train()
    total, running = schedule.epochs * schedule.steps, 0.0
    for _ in range(schedule.steps):
        run.done = max(run.step / total, spent())
        if run.done >= 1:
            break
        for group in run.optimiser.param_groups:
            group["lr"] = schedule.rate * rate_at(run.done, schedule.warm)
        inputs, shares = draw()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16_pays(device)):
            logits = run.network(inputs.to(device, memory_format=_format(inputs)))
        value = loss(logits.float(), shares.to(device))
        if not torch.isfinite(value):
            raise FloatingPointError(f"loss became {value.item()} at step {run.step}; lower the rate")
        run.optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
        run.optimiser.step()
        run.average.update(run.network)
        running += value.item()
        run.step += 1
    run.done = max(run.done, run.step / total)
    return running / schedule.steps


def _format(inputs: Tensor) -> torch.memory_format:
    """Channels last for images; other shapes have no such format."""
    return torch.channels_last if inputs.ndim == 4 else torch.preserve_format


def _judge(run: Run, schedule: Schedule, figure: float) -> None:
    """Keeps the best epoch's weights, and stops a run that has gone stale."""
    if schedule.patience is None:
        return
    if figure < run.best:
        run.best, run.stale = figure, 0
        run.best_state = copy.deepcopy(run.average.network.state_dict()) if schedule.keep_best else None
    else:
        run.stale += 1
        run.stopped = run.stale > schedule.patience


def _begun(network: nn.Module, schedule: Schedule, seed: int, device: str) -> Run:
    """A run at its first step, the network on its device."""
    torch.manual_seed(seed)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    return Run(network=network, average=Average(network, schedule.average), optimiser=optimiser)


def fit(
    network: nn.Module,
    draw: Draw,
    loss: Loss,
    schedule: Schedule,
    *,
    seed: int,
    device: str = "cpu",
    minutes: float | None = None,
    check: Callable[[nn.Module], float] | None = None,
    progress: Callable[[str], None] | None = None,
    resume: Path | None = None,
    generators: Sequence[Generator] = (),
) -> nn.Module:
    """Train and return the averaged network, in evaluation mode.

    minutes: the run ends by then whatever the epochs; the learning rate anneals on whichever of
    steps and wall time is further. check: a figure (lower is better) of the averaged network after
    each epoch; with `patience` and `keep_best` the best one's weights are returned.
    resume: a file, `out/checkpoints/NAME.safetensors`, that keeps the run's state after each epoch; a run
    that was killed goes on from there to the same result, a finished one is not repeated. For that `draw`
    may draw from torch's generator and from `generators` alone. Raises FloatingPointError when the loss
    is no longer finite, ValueError when the file is another run's.
    """
    told = progress or (lambda _: None)
    run = _begun(network, schedule, seed, device)
    kept = Checkpoint(resume, {"seed": seed, **asdict(schedule)}, device, generators) if resume else None
    if kept and kept.restore(run):
        told(f"going on from step {run.step}")
    begun = time.monotonic() - run.seconds

    def spent() -> float:
        return (time.monotonic() - begun) / (60 * minutes) if minutes else 0.0

    while run.done < 1 and not run.stopped:
        mean = _epoch(run, draw, loss, schedule, device, spent)
        figure = check(run.average.network) if check else mean
        told(f"step {run.step}/{schedule.epochs * schedule.steps} loss {mean:.4f} check {figure:.4f}")
        _judge(run, schedule, figure)
        if run.stopped:
            told(f"stopped early: no better check in {schedule.patience} epochs")
        if kept:
            run.seconds = time.monotonic() - begun
            kept.save(run)
    if run.best_state is not None:
        run.average.network.load_state_dict(run.best_state)
    return run.average.network
