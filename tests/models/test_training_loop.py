"""The shared training loop: a run that goes stale stops early."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from models.training import loop
from models.training.loop import Schedule, fit, soft_cross_entropy


@pytest.fixture(autouse=True)
def _single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arithmetic that repeats itself: two runs in bfloat16 may differ in their last bits."""
    monkeypatch.setattr(loop, "bf16_pays", lambda device: False)


def _draw() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    inputs = torch.randn(8, 2, 1, 1)
    return inputs, nn.functional.one_hot((inputs[:, 0, 0, 0] > 0).long(), 2).float()


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2))


def _checks(values: list[float]) -> tuple[Callable[[nn.Module], float], list[float]]:
    """A check that says these values in turn, and what it has said."""
    left: Iterator[float] = iter(values)
    said: list[float] = []

    def check(_: nn.Module) -> float:
        said.append(next(left))
        return said[-1]

    return check, said


def _schedule(*, patience: int, keep_best: bool) -> Schedule:
    return Schedule(epochs=9, steps=2, rate=0.1, decay=0.0, patience=patience, keep_best=keep_best)


@pytest.mark.parametrize("keep_best", [True, False])
def test_a_run_stops_when_the_check_has_not_fallen_for_the_patience(keep_best: bool) -> None:
    check, said = _checks([1.0, 0.5, 0.6, 0.7, 0.8, 0.1, 0.1, 0.1, 0.1])
    schedule = _schedule(patience=2, keep_best=keep_best)
    fit(_network(), _draw, soft_cross_entropy(0.0), schedule, seed=0, check=check)
    assert said == [1.0, 0.5, 0.6, 0.7, 0.8]  # the best at the second; 0.6 and 0.7 are borne, 0.8 is not


def test_a_run_that_goes_on_learning_is_not_stopped() -> None:
    check, said = _checks([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    schedule = _schedule(patience=2, keep_best=True)
    fit(_network(), _draw, soft_cross_entropy(0.0), schedule, seed=0, check=check)
    assert len(said) == 9


def test_the_check_picks_an_epoch_only_when_the_best_is_to_be_kept() -> None:
    weights = {}
    for keep_best in (True, False):
        check, _ = _checks([0.1, 1.0, 1.0])
        schedule = _schedule(patience=1, keep_best=keep_best)
        network = fit(_network(), _draw, soft_cross_entropy(0.0), schedule, seed=0, check=check)
        weights[keep_best] = torch.cat([p.flatten() for p in network.parameters()])
    one_epoch = Schedule(epochs=9, steps=2, rate=0.1, decay=0.0, patience=0, keep_best=True)
    check, _ = _checks([0.1, 1.0])
    first = fit(_network(), _draw, soft_cross_entropy(0.0), one_epoch, seed=0, check=check)
    assert torch.equal(weights[True], torch.cat([p.flatten() for p in first.parameters()]))
    assert not torch.equal(weights[False], weights[True])
