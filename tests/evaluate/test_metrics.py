"""Each metric against a second implementation, and over resamples against a rebuilt sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from tests.support.predictions import normal_distribution

from leadline.evaluate import metrics
from leadline.phq9.distribution import Totals


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    gold = rng.integers(0, 28, 150).astype(float)
    return gold, np.round(0.6 * gold + 4 + 4 * rng.normal(size=150), 1)


@pytest.fixture(scope="module")
def drawn(sample) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.multinomial(150, np.full(150, 1 / 150), size=6).astype(float)


def rebuilt(values: np.ndarray, row: np.ndarray) -> np.ndarray:
    return np.repeat(values, row.astype(int))


def lin(x: np.ndarray, y: np.ndarray) -> float:
    return 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


MOMENTS = {
    "rmse": lambda g, e: sk.root_mean_squared_error(g, e),
    "bias": lambda g, e: np.mean(e - g),
    "pearson": lambda g, e: stats.pearsonr(g, e).statistic,
    "concordance": lin,
    "slope": lambda g, e: stats.linregress(e, g).slope,
    "intercept": lambda g, e: stats.linregress(e, g).intercept,
    "variance_ratio": lambda g, e: np.std(e) / np.std(g),
    "variance_explained": lambda g, e: sk.r2_score(g, e),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_equal_second_implementation_in_every_resample(name, sample, drawn) -> None:
    gold, estimate = sample
    ours = getattr(metrics.Moments.of(gold, estimate, drawn), name)()
    theirs = [MOMENTS[name](rebuilt(gold, w), rebuilt(estimate, w)) for w in drawn]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_mean_absolute_error_equals_sklearn(sample, drawn) -> None:
    gold, estimate = sample
    ours = metrics.weighted_mean(np.abs(gold - estimate), drawn)
    theirs = [sk.mean_absolute_error(gold, estimate, sample_weight=w) for w in drawn]
    np.testing.assert_allclose(ours, theirs)


def test_quantiles_equal_numpy_inverted_distribution(sample, drawn) -> None:
    error = np.abs(sample[0] - sample[1])
    ours = metrics.weighted_quantiles(error, (0.5, 0.9, 0.95), drawn)
    for q, row in zip((0.5, 0.9, 0.95), ours, strict=True):
        theirs = [np.quantile(rebuilt(error, w), q, method="inverted_cdf") for w in drawn]
        np.testing.assert_allclose(row, theirs)


def test_spearman_equals_scipy_with_ties(sample, drawn) -> None:
    gold, estimate = sample
    ranks = metrics.midranks(gold, drawn), metrics.midranks(estimate, drawn)
    theirs = [stats.spearmanr(rebuilt(gold, w), rebuilt(estimate, w)).statistic for w in drawn]
    np.testing.assert_allclose(metrics.spearman(*ranks, drawn), theirs)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_equals_sklearn_at_every_threshold(sample, drawn, ties) -> None:
    gold, estimate = sample
    score = np.round(estimate / 3) if ties else estimate + np.arange(150) * 1e-6
    ours = metrics.auc(gold, score, tuple(range(3, 25)), drawn)
    for threshold, row in zip(range(3, 25), ours, strict=True):
        theirs = [sk.roc_auc_score(gold >= threshold, score, sample_weight=w) for w in drawn]
        np.testing.assert_allclose(row, theirs)


def test_auc_equals_counting_pairs() -> None:
    gold, score = np.array([3.0, 12, 9, 15, 10]), np.array([4.0, 9, 9, 8, 13])
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in score[gold >= 10]
        for n in score[gold < 10]
    ]
    assert metrics.auc(gold, score, (10,), np.ones((1, 5)))[0, 0] == pytest.approx(np.mean(wins))


def test_screening_and_predictive_values_equal_confusion_matrix(sample, drawn) -> None:
    gold, estimate = sample
    above, flagged = gold >= 10, estimate >= 10
    sensitivity, specificity, share = metrics.screening(above, flagged, drawn)
    for i, w in enumerate(drawn):
        matrix = sk.confusion_matrix(above, flagged, sample_weight=w)
        (tn, fp), (fn, tp) = matrix
        assert sensitivity[i] == pytest.approx(tp / (tp + fn))
        assert specificity[i] == pytest.approx(tn / (tn + fp))
        assert share[i] == pytest.approx((tp + fp) / w.sum())
        ppv, npv = metrics.predictive_values(
            sensitivity[i : i + 1], specificity[i : i + 1], (tp + fn) / w.sum()
        )
        assert ppv[0] == pytest.approx(tp / (tp + fp))
        assert npv[0] == pytest.approx(tn / (tn + fn))


def test_kappa_equals_sklearn(sample, drawn) -> None:
    gold, estimate = (np.clip(values // 5, 0, 4).astype(int) for values in sample)
    ours = metrics.weighted_kappa(gold, estimate, 5, drawn)
    theirs = [
        sk.cohen_kappa_score(
            gold, estimate, weights="quadratic", labels=list(range(5)), sample_weight=w
        )
        for w in drawn
    ]
    np.testing.assert_allclose(ours, theirs)


def test_central_interval_equals_discrete_quantiles_of_scipy() -> None:
    binomial = stats.binom(27, [0.1, 0.5, 0.93])
    distribution = np.array([stats.binom(27, p).pmf(np.arange(28)) for p in (0.1, 0.5, 0.93)])
    for level in (0.5, 0.8, 0.9):
        lower, upper = metrics.central_interval(Totals(distribution), level)
        np.testing.assert_array_equal(lower, binomial.ppf((1 - level) / 2))
        np.testing.assert_array_equal(upper, binomial.ppf((1 + level) / 2))


def test_pit_is_flat_for_the_true_distribution_and_a_valley_for_a_narrow_one() -> None:
    rng = np.random.default_rng(0)
    mean = rng.uniform(6, 20, 20_000)
    wide = normal_distribution(mean, 4.0)
    gold = (np.cumsum(wide, axis=1) < rng.uniform(size=(len(mean), 1))).sum(axis=1).astype(float)
    weights = np.ones((1, len(mean)))
    flat = metrics.pit_histogram(Totals(wide), gold, 10, weights)[0]
    np.testing.assert_allclose(flat, 0.1, atol=0.008)
    narrow = Totals(normal_distribution(mean, 2.0))
    valley = metrics.pit_histogram(narrow, gold, 10, weights)[0]
    assert valley[0] > 0.15
    assert valley[-1] > 0.15
    assert valley[4] < 0.08


def test_pit_of_one_label_spreads_over_its_own_step() -> None:
    distribution = np.zeros((1, 28))
    distribution[0, [3, 8]] = 0.5
    histogram = metrics.pit_histogram(Totals(distribution), np.array([8.0]), 4, np.ones((1, 1)))
    np.testing.assert_allclose(histogram[0], [0, 0, 0.5, 0.5])


@given(
    st.lists(st.tuples(st.integers(0, 27), st.floats(0, 27)), min_size=2, max_size=40),
    st.integers(1, 26),
)
@settings(max_examples=80, deadline=None)
def test_bounds_hold_for_any_sample(pairs, threshold) -> None:
    gold, estimate = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    weights = np.ones((1, len(gold)))
    moments = metrics.Moments.of(gold, estimate, weights)
    for value in (moments.pearson()[0], moments.concordance()[0]):
        assert np.isnan(value) or -1 - 1e-9 <= value <= 1 + 1e-9
    assert moments.rmse()[0] + 1e-9 >= np.abs(gold - estimate).mean()
    area = metrics.auc(gold, estimate, (threshold,), weights)[0, 0]
    opposite = metrics.auc(gold, -estimate, (threshold,), weights)[0, 0]
    assert (np.isnan(area) and np.isnan(opposite)) or area + opposite == pytest.approx(1)


def test_undefined_is_nan_and_never_an_error() -> None:
    gold, flat, weights = np.array([1.0, 5, 9]), np.full(3, 0.1 + 0.2), np.ones((1, 3))
    moments = metrics.Moments.of(gold, flat, weights)
    assert np.isnan(moments.pearson()[0])
    assert np.isnan(moments.slope()[0])
    assert moments.concordance()[0] == pytest.approx(0)
    assert np.isnan(metrics.auc(gold, flat, (20,), weights)[0, 0])
    assert metrics.auc(gold, flat, (5,), weights)[0, 0] == 0.5
    empty = metrics.grouped_means(gold, np.array([[True, False]] * 3), weights)
    assert empty[0, 0] == 5
    assert np.isnan(empty[0, 1])
