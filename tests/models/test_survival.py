"""Hazards, curves and their measures, held to arithmetic done by hand and to a published library."""

import numpy as np
import pytest

from models.survival import curve, network, trees
from models.survival.hazards import cumulative, residuals, ridge
from models.survival.measure import c_index, censoring, integrated_brier
from models.survival.study import Blend, Cohort

# torchsurv scripts some of its functions as it is imported, which torch has come to deprecate
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


def cohort(n: int = 200, seed: int = 0) -> Cohort:
    """Exponential times whose log hazard is the first column; a third are censored."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    t, c = rng.exponential(np.exp(-x[:, 0])), rng.exponential(2.0, n)
    return Cohort(x=x, t=np.minimum(t, c), e=(t <= c).astype(np.int64), person=np.arange(n))


# pairs with a known order: (1,2) (1,3) (1,4) (3,4); 2 is censored; scores put (1,3) wrong and tie (3,4)
def test_c_index_counts_known_pairs_and_halves_ties() -> None:
    t, e = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 0, 1, 1])
    assert c_index(t, e, np.array([2.0, 1.0, 3.0, 3.0])) == pytest.approx((1 + 0 + 0 + 0.5) / 4)


def test_c_index_agrees_with_torchsurv() -> None:
    import torch
    from torchsurv.metrics.cindex import ConcordanceIndex

    rows = cohort()
    score = rows.x[:, 0] + np.random.default_rng(1).normal(size=len(rows.t))
    found = ConcordanceIndex()(torch.tensor(score), torch.tensor(rows.e.astype(bool)), torch.tensor(rows.t))
    assert c_index(rows.t, rows.e, score) == pytest.approx(float(found), abs=1e-6)


# Nelson-Aalen by hand: 1/4 at 1, 1/2 at 3 (two at risk), 1/1 at 4
def test_baseline_without_covariates_is_nelson_aalen() -> None:
    t, e = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 0, 1, 1])
    found = cumulative(t, e, np.zeros(4), np.array([0.5, 1.0, 3.0, 9.0]))
    assert found == pytest.approx([0.0, 0.25, 0.75, 1.75])


def test_martingale_residuals_sum_to_zero() -> None:
    rows = cohort()
    left, _ = residuals(rows.t, rows.e, rows.x[:, 0])
    assert left.sum() == pytest.approx(0, abs=1e-9)


def test_ridge_finds_the_log_hazard_ratio() -> None:
    rows = cohort(2000)
    assert ridge(rows.x, rows.t, rows.e, 0.0) == pytest.approx([1, 0, 0], abs=0.1)


def test_ridge_is_where_torchsurv_s_partial_likelihood_is_flat() -> None:
    import torch
    from torchsurv.loss.cox import neg_partial_log_likelihood

    rows = cohort()
    beta = torch.tensor(ridge(rows.x, rows.t, rows.e, 0.0), requires_grad=True)
    loss = neg_partial_log_likelihood(
        torch.tensor(rows.x) @ beta, torch.tensor(rows.e.astype(bool)), torch.tensor(rows.t)
    )
    loss.backward()
    assert beta.grad is not None
    assert beta.grad.numpy() == pytest.approx(np.zeros(3), abs=1e-6)


# censored at 2 of three still watched: 2/3 from then on
def test_censoring_is_kaplan_meier_of_the_censored() -> None:
    t, e = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 0, 1, 1])
    assert censoring(t, e, np.array([1.0, 2.0, 2.5])) == pytest.approx([1, 1, 2 / 3])


# nobody censored: the plain squared error of 0.5 against 0 or 1
def test_brier_of_a_coin_is_a_quarter() -> None:
    t, e, times = np.arange(1.0, 9.0), np.ones(8, dtype=np.int64), np.array([2.5, 4.5])
    assert integrated_brier(t, e, times, np.full((8, 2), 0.5)) == pytest.approx(0.25)


def test_a_curve_falls_and_lies_in_its_band() -> None:
    rows = cohort()
    fitted = curve.fit(rows.x[:, 0], rows, 2.0, spread=0.1)
    told, (low, high) = fitted.survival(np.array([0.3]))[0], fitted.band(0.3)
    assert (np.diff(told) <= 0).all()
    assert (low <= told + 1e-9).all()
    assert (told <= high + 1e-9).all()


def test_a_stored_curve_is_the_same_curve() -> None:
    rows = cohort()
    fitted = curve.fit(rows.x[:, 0], rows, 2.0)
    again = curve.restored(fitted.arrays())
    assert again.survival(np.array([0.1])) == pytest.approx(fitted.survival(np.array([0.1])))


@pytest.mark.parametrize("grow", [trees.forest, trees.boosting])
def test_packed_trees_put_hazards_in_order(grow) -> None:  # type: ignore[no-untyped-def]
    from models.estimators import unpack

    blend = Blend(linear=0, network=0, boosting=0, forest=0, trees=30, boosts=40)
    learn, other = cohort(400), cohort(300, seed=1)
    packed = grow(learn.x, learn.t, learn.e, blend, 0)
    answer = unpack(packed, prefix="forest." if grow is trees.forest else "boosting.").predict(other.x)
    assert c_index(other.t, other.e, answer) > 0.65


def test_a_network_s_numpy_answer_is_torch_s() -> None:
    import torch

    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s).astype(np.float32) for s in ((4, 3), (4,), (1, 4), (1,))]
    z = rng.normal(size=(5, 3))
    hidden = torch.selu(torch.tensor(z) @ torch.tensor(weights[0]).double().T + torch.tensor(weights[1]))
    expected = hidden @ torch.tensor(weights[2]).double().T + torch.tensor(weights[3])
    assert network.answer(weights, z) == pytest.approx(expected[:, 0].numpy(), abs=1e-9)
