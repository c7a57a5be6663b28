"""Shapley values: exact where they are known by hand, and always summing to the answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.contributions import shapley

Floats = NDArray[np.float64]


def test_a_linear_model_s_are_weight_times_distance_from_the_mean() -> None:
    background = np.array([[0.0, 0.0, 1.0], [2.0, 4.0, 1.0]])
    found = shapley(lambda x: x @ np.array([3.0, -1.0, 7.0]) + 5, [2.0, 1.0, 1.0], background, draws=8)
    # 3 * (2 - 1), -1 * (1 - 2), 7 * (1 - 1)
    np.testing.assert_allclose(found, [3.0, 1.0, 0.0], atol=1e-12)


def test_an_interaction_is_shared_equally() -> None:
    found = shapley(lambda x: x[:, 0] * x[:, 1], [1.0, 1.0, 9.0], np.zeros((1, 3)))
    np.testing.assert_allclose(found, [0.5, 0.5, 0.0])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9999), features=st.integers(1, 7), rows=st.integers(1, 20), draws=st.integers(1, 40)
)
def test_they_sum_to_the_answer_over_the_background_s_mean(
    seed: int, features: int, rows: int, draws: int
) -> None:
    rng = np.random.default_rng(seed)
    row, background = rng.normal(size=features), rng.normal(size=(rows, features))

    def predict(x: Floats) -> Floats:
        return np.asarray(np.tanh(x.sum(1)) + (x**2).prod(1))

    found = shapley(predict, row, background, draws=draws, seed=seed)
    assert found.sum() == pytest.approx(predict(row[None])[0] - predict(background).mean(), abs=1e-9)


def test_the_same_seed_gives_the_same_values() -> None:
    rng = np.random.default_rng(0)
    row, background = rng.normal(size=6), rng.normal(size=(30, 6))
    twice = [shapley(lambda x: np.sin(x).prod(1), row, background, draws=16, seed=3) for _ in range(2)]
    assert (twice[0] == twice[1]).all()


def test_a_feature_that_the_model_ignores_adds_nothing() -> None:
    rng = np.random.default_rng(1)
    row, background = rng.normal(size=4), rng.normal(size=(10, 4))
    assert shapley(lambda x: np.exp(x[:, 0] * x[:, 1] + x[:, 2]), row, background)[3] == 0.0


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2, 4\)"):
        shapley(lambda x: x[:, 0], [1, 2, 3], np.zeros((2, 4)))
