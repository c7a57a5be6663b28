"""A small torch training loop: seeded, cosine on steps or wall time, averaged weights, bf16 where it pays."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
) -> nn.Module:
    """Train and return the averaged network, in evaluation mode.

    minutes: the run ends by then whatever the epochs; the learning rate anneals on whichever of
    steps and wall time is further. check: a figure (lower is better) of the averaged network after
    each epoch; with `patience` and `keep_best` the best one's weights are returned. Raises
    FloatingPointError when the loss is no longer finite.
    """
    torch.manual_seed(seed)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    average = Average(network, schedule.average)
    started, total = time.monotonic(), schedule.epochs * schedule.steps
    best, best_state, stale, step = math.inf, None, 0, 0
    done = 0.0
    while done < 1:
        network.train()
        running = 0.0
        for _ in range(schedule.steps):
            elapsed = (time.monotonic() - started) / (60 * minutes) if minutes else 0.0
            done = max(step / total, elapsed)
            if done >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate * rate_at(done, schedule.warm)
            inputs, shares = draw()
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16_pays(device)):
                logits = network(inputs.to(device, memory_format=torch.channels_last))
            value = loss(logits.float(), shares.to(device))
            if not torch.isfinite(value):
                raise FloatingPointError(f"loss became {value.item()} at step {step}; lower the rate")
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            average.update(network)
            running += value.item()
            step += 1
        done = max(done, step / total)
        figure = check(average.network) if check else running / schedule.steps
        if progress:
            progress(f"step {step}/{total} loss {running / schedule.steps:.4f} check {figure:.4f}")
        if schedule.patience is not None:
            if figure < best:
                best, stale = figure, 0
                best_state = copy.deepcopy(average.network.state_dict()) if schedule.keep_best else None
            elif (stale := stale + 1) > schedule.patience:
                if progress:
                    progress(f"stopped early: no better check in {schedule.patience} epochs")
                break
    if best_state is not None:
        average.network.load_state_dict(best_state)
    return average.network
