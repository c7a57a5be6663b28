"""The measures of invented samples, against closed forms, and the adversarial pair's parts."""

import numpy as np
import pytest
import torch

from models.synthesis import measures, referee, wgan
from models.synthesis.likeness import portrait

PLAN = wgan.Plan(classes=2, start=(1, 8), widths=(8, 6, 4), tall=False, noise=8, steps=3, batch=8)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def test_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((200_000, 2))
    second = 2 * rng.standard_normal((200_000, 2)) + np.array([3.0, 0.0])
    # |mean|^2 + trace(I + 4 I - 2 (4 I)^(1/2)) = 9 + 2 * (1 + 4 - 4) = 11
    assert measures.frechet(first, second) == pytest.approx(11, abs=0.1)
    assert measures.frechet(first, first) == pytest.approx(0, abs=1e-9)


def test_nearest_distances_are_those_of_a_full_search() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, 1, 5)).astype(np.float32) for n in (20, 30))
    full = np.sqrt(((a[:, None] - b[None]) ** 2).sum((2, 3))).min(1)
    np.testing.assert_allclose(measures.nearest(a, b), full, rtol=1e-5)


def test_copies_have_a_neighbour_ratio_of_nearly_nothing_and_fresh_draws_of_one() -> None:
    rng = np.random.default_rng(0)
    learn, held, fresh = (rng.standard_normal((400, 1, 6)).astype(np.float32) for _ in range(3))
    real = measures.nearest(held, learn)
    assert measures.ratio(measures.nearest(learn[:200] + 1e-3, learn), real) < 0.01
    assert measures.ratio(measures.nearest(fresh, learn), real) == pytest.approx(1, abs=0.15)


def test_the_sketch_alone_has_the_mean_and_spread_of_its_class() -> None:
    rng = np.random.default_rng(0)
    waves = np.outer(np.arange(1, 6), np.arange(32) + 0.5)
    mixing = np.cos(np.pi * waves / 32)  # slow ones: what beats do not hold is filtered out
    samples = (0.1 * rng.standard_normal((3000, 5)) @ mixing + 0.2).astype(np.float32).reshape(-1, 1, 32)
    labels = np.zeros(3000, dtype=np.int64)
    generator = wgan.Generator(PLAN).eval()
    wgan.sketch(generator, samples, labels)
    for parameter in generator.mend.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.inference_mode():
        noise = torch.randn(40_000, 8, generator=torch.Generator().manual_seed(1))
        drawn = generator(noise, torch.zeros(40_000, dtype=torch.long)).numpy().reshape(40_000, 32)
    np.testing.assert_allclose(drawn.mean(0), samples.reshape(-1, 32).mean(0), atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(samples.reshape(-1, 32).T), atol=0.03)


def test_the_gradient_penalty_of_a_slope_of_three_is_four() -> None:
    class Steep(wgan.Critic):
        def forward(self, samples: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
            return 3 * samples.flatten(1)[:, 0]

    real, invented = torch.zeros(4, 1, 1, 32), torch.ones(4, 1, 1, 32)
    cost = wgan.gradient_penalty(Steep(PLAN), real, invented, torch.zeros(4, dtype=torch.long), torch.rand(4))
    assert cost.item() == pytest.approx((3 - 1) ** 2)


def test_training_repeats_itself_and_moves_the_weights() -> None:
    rng = np.random.default_rng(0)
    samples = (0.3 * rng.standard_normal((40, 1, 32))).astype(np.float32)
    labels = np.arange(40) % 2
    first, again = (wgan.fit(samples, labels, PLAN, seed=1) for _ in range(2))
    asked = np.array([0, 1, 1])
    np.testing.assert_array_equal(wgan.invent(first, asked, 3), wgan.invent(again, asked, 3))
    torch.manual_seed(1)
    assert not torch.equal(first.enter.weight, wgan.Generator(PLAN).enter.weight)


def test_a_referee_taught_on_samples_alike_to_real_ones_knows_the_real_ones() -> None:
    rng = np.random.default_rng(0)

    def draw(labels: np.ndarray, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).standard_normal((len(labels), 1, 32))
        bump = np.exp(-0.5 * ((np.arange(32) - 16) / 3) ** 2)
        return np.asarray(0.2 * noise + labels[:, None, None] * bump, dtype=np.float32)

    labels = [rng.integers(0, 2, n) for n in (300, 80, 80)]
    real = measures.Real(
        learn=draw(labels[0], 1), learn_labels=labels[0],
        held=draw(labels[1], 2), held_labels=labels[1],
        test=draw(labels[2], 3), test_labels=labels[2],
    )  # fmt: skip
    figures = measures.measure(real, draw, classes=2, tall=False, rare=1, steps=40)
    assert figures["train_on_synthetic_auc"]["value"] > 0.95
    assert 0.8 < figures["nearest_neighbour_ratio"]["value"] < 1.2
    assert figures["frechet_distance"]["low"] <= figures["frechet_distance"]["value"]
    told = portrait(real, draw, classes=2, tall=False, steps=40)
    assert measures.ratio(told.near["invented"], told.near["real"]) == pytest.approx(
        figures["nearest_neighbour_ratio"]["value"], abs=1e-4
    )
    assert measures.macro_auc(told.truth, told.taught["invented"]) == pytest.approx(
        figures["train_on_synthetic_auc"]["value"], abs=1e-4
    )
    np.testing.assert_allclose(told.middle["real"][1], real.learn[labels[0] == 1].mean(0))
    features = referee.answers(referee.Referee(2, False).eval(), real.test)[1]
    assert features.shape == (80, referee.FEATURES)
