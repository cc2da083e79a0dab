"""Intervals against published figures, against exact laws and against simulation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from bench.accuracy.small_samples import coverage
from scipy.stats import binomtest
from tests.support.predictions import predictions

from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.intervals import (
    Basis,
    auc_interval,
    difference_interval,
    interval,
    is_share,
    p_value,
    predictive_interval,
    quantile_interval,
    share_interval,
)
from leadline.evaluate.results import evaluate_predictions

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def test_five_of_five_flagged_is_no_certainty() -> None:
    table = predictions(40, models={"leadline": 0.3})
    rank = pl.col("total").rank("ordinal")
    table = table.with_columns(total=pl.when(rank > 35).then(12.0).otherwise(4.0))
    table = table.with_columns(mean=pl.col("total"), median=pl.col("total"))
    (found,) = evaluate_predictions(table, QUICK)["sets"]
    rule = found["models"]["leadline"]["screening"]["by_mean"]
    sensitivity, ppv = rule["sensitivity"], rule["ppv"]["0.1"]
    assert (sensitivity["value"], sensitivity["high"]) == (1, 1)
    assert sensitivity["low"] == pytest.approx(0.025 ** (1 / 5))  # Clopper and Pearson: .478
    assert ppv["value"] == 1
    assert ppv["low"] < 0.5
    area = found["models"]["leadline"]["scores"]["auc_10"]
    assert area["value"] == 1
    assert 0.6 < area["low"] < 0.95


@pytest.mark.parametrize(("hits", "labels"), [(0, 5), (3, 17), (17, 17), (80, 263)])
def test_a_share_of_one_label_a_person_has_the_exact_interval(hits: int, labels: int) -> None:
    basis = Basis(labels, (float(labels),), (float(labels),))
    ours = share_interval(hits / labels, None, basis, 0.95)
    exact = binomtest(hits, labels).proportion_ci(0.95, method="exact")
    assert ours == pytest.approx((exact.low, exact.high))


def test_labels_that_repeat_a_person_count_as_one() -> None:
    basis = Basis(20, (60.0,), (20.0,))
    repeated = np.random.default_rng(0).normal(0.3, np.sqrt(0.21 / 20), 4000)
    independent = np.random.default_rng(0).normal(0.3, np.sqrt(0.21 / 60), 4000)
    one = share_interval(0.3, None, Basis(20, (20.0,), (20.0,)), 0.95)
    assert share_interval(0.3, repeated, basis, 0.95) == pytest.approx(one, abs=0.01)
    assert share_interval(0.3, None, basis, 0.95) == pytest.approx(one)
    low, high = share_interval(0.3, independent, basis, 0.95)
    assert high - low < 0.7 * (one[1] - one[0])


def test_a_quantile_lies_between_two_order_statistics() -> None:
    # Conover: of 16 values the median lies between the 4th and the 13th (97.9%)
    errors = np.arange(1, 17, dtype=float)[None, :]
    assert quantile_interval(errors, 0.5, Basis(16, (16.0,), (16.0,))) == (4, 13)
    for share, least in ((0.9, 36), (0.95, 72)):  # .9 ** 36 is the first below .025
        for people in (least - 1, least):
            errors = np.arange(people, dtype=float)[None, :]
            ends = quantile_interval(
                errors, share, Basis(people, (float(people),), (float(people),))
            )
            assert (ends is None) == (people < least)
    twice = np.repeat(np.arange(1, 17, dtype=float), 2)[None, :]
    assert quantile_interval(twice, 0.5, Basis(16, (32.0,), (16.0,))) == (4, 13)


def test_auc_agrees_with_newcombe() -> None:
    # Newcombe 2006, part 2: method 5 has limits inside 0..1 at an area of 1
    basis = Basis(30, (15.0, 15.0), (15.0, 15.0))
    low, high = auc_interval(1.0, np.ones(100), basis, 0.95)
    assert high == 1
    assert 0.75 < low < 0.95
    for area in (0.6, 0.85):
        ends = auc_interval(area, None, basis, 0.95)
        mirrored = auc_interval(1 - area, None, basis, 0.95)
        assert ends == pytest.approx((1 - mirrored[1], 1 - mirrored[0]))
        assert 0 < ends[0] < area < ends[1] < 1


def test_the_auc_of_labels_that_repeat_a_person_is_as_uncertain_as_that_of_people() -> None:
    spread = np.random.default_rng(0).normal(0.8, 0.1, 2000)
    several = Basis(30, (45.0, 45.0), (15.0, 15.0))
    people = auc_interval(0.8, None, Basis(30, (15.0, 15.0), (15.0, 15.0)), 0.95)
    assert auc_interval(0.8, spread, several, 0.95) == pytest.approx(people, abs=0.02)
    assert auc_interval(0.8, None, several, 0.95) == pytest.approx(people)


def test_predictive_values_hold_the_truth_of_two_independent_shares() -> None:
    rng, hits = np.random.default_rng(3), np.zeros(2)
    true = np.array([0.8 * 0.1 / (0.8 * 0.1 + 0.25 * 0.9), 0.75 * 0.9 / (0.75 * 0.9 + 0.2 * 0.1)])
    for _ in range(400):
        shares = []
        for size, share in ((8, 0.8), (12, 0.75)):
            value = rng.binomial(size, share) / size
            basis = Basis(size, (float(size),), (float(size),))
            shares.append((value, share_interval(value, None, basis, 0.95)))
        for index, positive in enumerate((True, False)):
            ends = predictive_interval(0.1, (shares[0], shares[1]), positive=positive)
            hits[index] += ends is not None and ends[0] <= true[index] <= ends[1]
    assert (hits / 400 >= 0.93).all(), hits / 400


def test_nobody_flagged_rightly_leaves_the_whole_range_below() -> None:
    nobody, most = (0.0, (0.0, 0.4)), (0.9, (0.7, 1.0))
    low, high = predictive_interval(0.1, (nobody, most), positive=True)
    assert low == 0
    assert 0 < high <= 1
    assert predictive_interval(0.1, ((0.0, (0.0, 0.0)), most), positive=True) is None


def test_p_value_agrees_with_the_interval() -> None:
    rng = np.random.default_rng(1)
    for shift in np.linspace(0, 1, 21):
        replicates = rng.normal(shift, 0.3, 1000)
        for metric in ("mae", "rmse"):
            low, high = difference_interval(metric, shift, replicates, 20)
            assert (p_value(metric, shift, replicates, 20) < 0.05) == (low > 0 or high < 0)
    assert p_value("mae", 0.0, np.zeros(9), 20) == 1


def test_an_interval_holds_its_value_on_every_scale() -> None:
    rng = np.random.default_rng(2)
    values = {"mae": 3.0, "rmse": 0.0, "pearson": 1.0, "kappa": -0.2, "bias": -2.0}
    values |= {"variance_explained": -1.5, "sd_ratio": 0.9}
    for name, value in values.items():
        replicates = np.clip(value + 0.1 * rng.normal(size=200), -1.9 if value < 0 else 0, 9)
        ends = interval(name, value, np.minimum(replicates, 0.99), Basis(40))
        assert ends is not None
        assert ends[0] <= value <= ends[1]


def test_which_scores_are_shares() -> None:
    shares = ("off_by_5", "coverage_90", "by_mean/flagged", "by_probability/ppv/sample")
    assert all(is_share(name) for name in shares)
    assert not any(is_share(name) for name in ("mae", "brier_10", "by_mean/ppv/0.1", "claimed_90"))


@pytest.mark.parametrize("labels", [1, 3])
def test_intervals_hold_what_they_say_from_15_people(labels: int) -> None:
    scores = coverage("mixture", 15, labels, 40)
    holds = np.mean([score["holds"] for score in scores.values()])
    before = np.mean([score["percentile"] for score in scores.values()])
    assert holds >= 0.94
    assert before < 0.92  # what the quantiles of the same resamples held
    for name, score in scores.items():
        assert score["sets"] < 30 or score["holds"] >= 0.8, name
