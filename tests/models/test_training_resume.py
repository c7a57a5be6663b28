"""A training that was killed goes on to the same weights; augmentation, cleaning and bar do as they say."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.training import loop, prepare
from models.training.augment import Images, Signals
from models.training.loop import Schedule, fit, soft_cross_entropy
from models.training.progress import bar

SCHEDULE = Schedule(epochs=5, steps=4, rate=0.05, decay=0.01, patience=4)


@pytest.fixture(autouse=True)
def _single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arithmetic that repeats itself: two runs in bfloat16 may differ in their last bits."""
    monkeypatch.setattr(loop, "bf16_pays", lambda device: False)


class KilledError(Exception):
    pass


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(36 * 4, 2)
    )


def _train(kept: Path | None, *, dies_at: int | None = None, seed: int = 3) -> Tensor:
    rng, drawn = np.random.default_rng(1), 0

    def draw() -> tuple[Tensor, Tensor]:
        nonlocal drawn
        drawn += 1
        if drawn == dies_at:
            raise KilledError
        x = torch.randn(8, 1, 8, 8) + torch.from_numpy(rng.normal(size=(8, 1, 1, 1))).float()
        return x, nn.functional.one_hot((x.mean((1, 2, 3)) > 0).long(), 2).float()

    def check(network: nn.Module) -> float:
        return float(next(network.parameters()).detach().abs().mean())  # any figure that moves

    found = fit(
        _network(),
        draw,
        soft_cross_entropy(0.1),
        SCHEDULE,
        seed=seed,
        check=check,
        resume=kept,
        generators=[rng],
    )
    return torch.cat([t.flatten().double() for t in found.state_dict().values()])


@pytest.mark.parametrize("dies_at", [1, 5, 11, 20])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, dies_at: int) -> None:
    whole, kept = _train(None), tmp_path / "checkpoints" / "net.safetensors"
    with pytest.raises(KilledError):
        _train(kept, dies_at=dies_at)
    assert torch.equal(_train(kept), whole)


def test_keeping_the_state_changes_nothing(tmp_path: Path) -> None:
    assert torch.equal(_train(tmp_path / "net.safetensors"), _train(None))


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    kept = tmp_path / "net.safetensors"
    whole = _train(kept)
    assert torch.equal(_train(kept, dies_at=1), whole)


def test_another_run_s_state_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "net.safetensors"
    _train(kept)
    with pytest.raises(ValueError, match="other settings"):
        _train(kept, seed=4)


def test_signals_may_be_trained_on_as_they_are() -> None:
    def draw() -> tuple[Tensor, Tensor]:
        x = torch.randn(8, 2, 16)  # (batch, leads, samples)
        return x, nn.functional.one_hot((x[:, 0].mean(1) > 0).long(), 2).float()

    said: list[str] = []
    network = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(56, 2))
    fit(network, draw, soft_cross_entropy(0.0), SCHEDULE, seed=0, progress=said.append)
    assert said[-1].startswith("step 20/20")


OFF_IMAGES = Images(
    flip=0, rotation_degrees=0, crop=0, shift=0, gamma=0, contrast=0, brightness=0, noise=0, erase=0
)  # fmt: skip
OFF_SIGNALS = Signals(gain=0, flip=0, drop=0, shift=0, stretch=0, drift=0, noise=0)


def test_images_are_left_alone_where_every_change_is_off() -> None:
    x = torch.rand(3, 1, 6, 9)
    torch.testing.assert_close(OFF_IMAGES(x), x.clamp(1e-4, 1), atol=1e-5, rtol=0)


def test_a_flip_is_left_for_right() -> None:
    x = torch.rand(2, 1, 5, 8)
    off = dict.fromkeys(Images.__dataclass_fields__, 0)
    torch.testing.assert_close(Images(**{**off, "flip": 1.0})(x), x.flip(3).clamp(1e-4, 1), atol=1e-5, rtol=0)


def test_a_turn_keeps_the_shape_of_what_is_shown() -> None:
    """A disc stays a disc on a picture twice as wide as high."""
    down, across = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(80.0) - 39.5, indexing="ij")
    disc = ((down**2 + across**2) < 12**2).float()[None, None]
    off = dict.fromkeys(Images.__dataclass_fields__, 0)
    torch.manual_seed(5)
    turned = Images(**{**off, "rotation_degrees": 80})(disc.repeat(6, 1, 1, 1))
    assert ((turned - disc).abs().mean((1, 2, 3)) < 0.01).all()


def test_signals_are_left_alone_where_every_change_is_off() -> None:
    x = torch.randn(3, 2, 50)
    torch.testing.assert_close(OFF_SIGNALS(x), x, atol=1e-4, rtol=0)


def test_leads_are_dropped_but_never_all() -> None:
    off = dict.fromkeys(Signals.__dataclass_fields__, 0)
    x = Signals(**{**off, "drop": 1.0})(torch.ones(40, 3, 10))
    assert (x.abs().sum(2) > 0).sum(1).tolist() == [1] * 40


@pytest.mark.parametrize(
    ("change", "shape"), [(Images(flip=0.5, erase=0.3), (4, 1, 12, 16)), (Signals(drop=0.2), (4, 2, 30))]
)
def test_a_seeded_change_repeats_and_keeps_the_shape(
    change: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    x, twice = torch.rand(shape), []
    for _ in range(2):
        torch.manual_seed(9)
        twice.append(change(x))
    assert torch.equal(*twice)
    assert twice[0].shape == x.shape
    assert (twice[0] != x).any()


def test_a_slip_of_the_pen_becomes_unknown() -> None:
    found = prepare.plausible([[36.6, 120], [366, np.nan]], [30, 0], [45, 300])
    np.testing.assert_array_equal(found, [[36.6, 120], [np.nan, np.nan]])


def test_outliers_are_pulled_in_and_the_unknown_stays() -> None:
    x = np.append(np.arange(99.0), [1e6, np.nan])[:, None]
    found = prepare.winsorised(x, percent=2)
    assert np.nanmax(found) < 100_000
    assert np.isnan(found[-1, 0])


def test_standardised_has_mean_nought_and_deviation_one_and_flat_stays_flat() -> None:
    found = prepare.standardised([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    np.testing.assert_allclose(found, [[-(1.5**0.5), 0, 1.5**0.5], [0, 0, 0]])


def test_doubles_are_told_by_their_first_row() -> None:
    x = np.array([[1, np.nan], [2, 3], [1, np.nan], [1, 3]])
    assert prepare.first_of_equals(x, ["a", "b", "a", "a"]).tolist() == [0, 1, 3]


def test_the_bar_is_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with bar(stream) as say:
        say("step 1/20 loss 0.5 [check]")
    assert stream.getvalue() == "step 1/20 loss 0.5 [check]\n"


def test_the_bar_moves_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = _Terminal()
    with bar(stream, title="fold") as say:
        say("fold one")
        say("step 7/20 loss 0.5")
        say("step 2/20 loss 0.4")
    assert "fold one" in stream.getvalue()
    assert "2/20" in stream.getvalue()
