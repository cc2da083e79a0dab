import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from leadline.finetune.head import LinearHead, hl_gauss
from leadline.phq9.distribution import Totals


@given(st.floats(0, 27), st.floats(0.3, 5))
def test_targets_are_the_truncated_normal_of_scipy(total, sigma):
    (mass,) = hl_gauss(torch.tensor([total]), sigma)
    expected = np.diff(norm.cdf(np.arange(29) - 0.5, total, sigma))
    np.testing.assert_allclose(mass, expected / expected.sum(), atol=1e-5)


def test_targets_without_smoothing_are_one_bin():
    assert hl_gauss(torch.tensor([0.0, 27.0]), 0)[[0, 1], [0, 27]].tolist() == [1, 1]


@pytest.mark.parametrize(("kind", "loss"), [("distribution", "mse"), ("scalar", "huber")])
def test_a_head_computes_in_float32_also_under_autocast(kind, loss):
    head = LinearHead(kind, 8, loss=loss)
    states = torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = head(states)
    assert out.dtype == torch.float32
    assert torch.equal(out, head(states))
    assert head.losses(out, torch.tensor([3.0, 0, 27])).shape == (3,)


def test_fit_finds_what_ridge_finds():
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(60, 10, generator=generator) * 3 + 1
    totals = (states @ torch.randn(10, generator=generator)).clamp(-10, 10) + 12
    head = LinearHead("scalar", 10)
    head.standardise(states)
    head.fit(states, totals, torch.ones(60), l2=0.5)
    x = ((states - states.mean(0)) / states.std(0, correction=0)).numpy()
    y = totals.numpy()
    weights = np.linalg.solve(x.T @ x + 0.5 * 60 * np.eye(10), x.T @ (y - y.mean()))
    np.testing.assert_allclose(head.linear.weight[0].detach(), weights, atol=2e-2)
    np.testing.assert_allclose(head(states).detach(), x @ weights + y.mean(), atol=5e-2)


def test_fit_of_a_distribution_separates_low_from_high():
    states = torch.cat([torch.full((20, 2), -1.0), torch.full((20, 2), 1.0)])
    totals = torch.tensor([3.0] * 20 + [20.0] * 20)
    head = LinearHead("distribution", 2)
    head.fit(states, totals, torch.ones(40), l2=1e-3)
    estimate = Totals(head.estimates(head(states)).detach().numpy()).mean()
    assert abs(estimate[0] - 3) < 1.5
    assert abs(estimate[-1] - 20) < 1.5


def test_weights_count():
    states, totals = torch.zeros(2, 2), torch.tensor([0.0, 20.0])
    head = LinearHead("scalar", 2)
    head.fit(states, totals, torch.tensor([3.0, 1.0]), l2=1.0)
    assert head(states)[0].item() == pytest.approx(5, abs=1e-2)


@given(st.lists(st.tuples(st.floats(0, 27), st.floats(0, 6)), min_size=1, max_size=6))
def test_an_uncertain_label_is_a_wider_target(labels):
    totals, sds = torch.tensor(labels).T
    sds = torch.where(sds < 0.1, 0.0, sds)
    for row, total, sd in zip(hl_gauss(totals, 1.5, sds), totals, sds, strict=True):
        spread = math.hypot(1.5, float(sd))
        expected = np.diff(norm.cdf(np.arange(29) - 0.5, float(total), spread))
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-5)


def test_certain_labels_have_the_targets_that_they_had():
    totals = torch.linspace(0, 27, 23)
    for sigma in (0.0, 0.7, 1.5):
        plain = hl_gauss(totals, sigma)
        assert torch.equal(plain, hl_gauss(totals, sigma, torch.zeros(23)))
        mixed = hl_gauss(totals, sigma, torch.where(totals > 14, 2.0, 0.0))
        torch.testing.assert_close(mixed[totals <= 14], plain[totals <= 14])
        assert (mixed[totals > 14].amax(1) < plain[totals > 14].amax(1)).all()


def test_an_uncertain_label_pulls_the_first_fit_less():
    states = torch.tensor([[-1.0]] * 20 + [[1.0]] * 20)
    totals, sds = torch.tensor([4.0] * 20 + [22.0] * 20), torch.tensor([0.0] * 20 + [6.0] * 20)
    spread = {}
    for name, deviations in (("certain", torch.zeros(40)), ("uncertain", sds)):
        head = LinearHead("distribution", 1)
        head.fit(states, totals, torch.ones(40), l2=1e-3, sds=deviations)
        estimates = Totals(head.estimates(head(states)).detach().numpy())
        spread[name] = np.sqrt(estimates.variance())[[0, -1]]
    assert spread["uncertain"][1] > spread["certain"][1] + 1.5
    assert abs(spread["uncertain"][0] - spread["certain"][0]) < 0.3
