"""Temperatures and operating points, against figures worked out by hand."""

import numpy as np
import pytest

from models.calibration import (
    expected_calibration_error,
    fit_shifted_temperature,
    fit_temperature,
    threshold_at_specificity,
)


def draw_logits(temperature: float, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(z), and the logits z * temperature that a too sure network would give."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(rows, 3)) * 2
    gumbel = rng.gumbel(size=z.shape)
    return z * temperature, (z + gumbel).argmax(1)


@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_temperature_that_made_the_logits_is_found(truth: float) -> None:
    logits, labels = draw_logits(truth)
    assert fit_temperature(logits, labels) == pytest.approx(truth, rel=0.05)


def test_binary_logit_has_the_same_temperature_as_its_two_classes() -> None:
    logits, labels = draw_logits(2.0)
    keep = labels < 2
    two = logits[keep][:, :2]
    assert fit_temperature(two[:, 1] - two[:, 0], labels[keep]) == pytest.approx(
        fit_temperature(two, labels[keep]), rel=1e-4
    )


def test_shift_that_made_the_logit_is_found() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000) * 2
    labels = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
    temperature, shift = fit_shifted_temperature(3 * z - 1.5, labels)
    assert temperature == pytest.approx(3, rel=0.06)
    assert shift == pytest.approx(1.5, abs=0.15)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [([[0.0, np.nan]], [1]), ([[0.0, 1.0]], [2]), ([[0.0, 1.0]], [0, 1]), (np.zeros((0, 2)), [])],
)
def test_temperature_of_nonsense_is_refused(logits: object, labels: object) -> None:
    with pytest.raises(ValueError, match="logits"):
        fit_temperature(np.array(logits), np.array(labels, dtype=int))


def test_calibration_error_by_hand() -> None:
    # bin .2-.3: two rows of .25, half positive: |.5 - .25| = .25; bin .9-1: two of .95, both: .05
    error = expected_calibration_error(np.array([0.25, 0.25, 0.95, 0.95]), np.array([0, 1, 1, 1]))
    assert error == pytest.approx((0.25 + 0.05) / 2)


def test_calibration_error_of_classes_takes_the_surest() -> None:
    table = np.array([[0.8, 0.2], [0.8, 0.2]])
    assert expected_calibration_error(table, np.array([0, 1])) == pytest.approx(0.3)


def test_specificity_threshold_keeps_that_share_of_the_healthy_below() -> None:
    scores, labels = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.8]), np.array([0, 0, 0, 0, 1, 1])
    assert threshold_at_specificity(scores, labels, 0.75) == pytest.approx(0.35)  # between .3 and .4


def test_full_specificity_lies_above_every_healthy_score() -> None:
    scores, labels = np.array([0.1, 0.9, 0.5]), np.array([0, 0, 1])
    assert threshold_at_specificity(scores, labels, 1.0) > 0.9


def test_specificity_without_healthy_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="negatives"):
        threshold_at_specificity(np.array([0.5]), np.array([1]), 0.9)
