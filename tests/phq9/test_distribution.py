"""The laws of distributions over 0..27, and second implementations of what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from scipy.optimize import brentq

from leadline.phq9.distribution import Totals, total_probability

SCALE = np.arange(28)
MEANS = st.floats(-30, 60)
DEVIATIONS = st.floats(0.05, 40)
LEVELS = st.floats(0, 1)


def scaled(weights: np.ndarray) -> Totals:
    return Totals(weights / weights.sum(axis=1, keepdims=True))


def some_totals(rows: int = 3, least: float = 0.001) -> st.SearchStrategy[Totals]:
    """Any shape, points and gaps included where `least` is 0."""
    weights = arrays.arrays(np.float64, (rows, 28), elements=st.floats(least, 1))
    if least == 0:
        weights = weights.filter(lambda w: (w.sum(axis=1) > 0.01).all())
    return weights.map(scaled)


GOLD = arrays.arrays(np.float64, 3, elements=st.integers(0, 27).map(float))


# Where they come from


@given(MEANS, DEVIATIONS)
def test_a_normal_is_rounded_and_bounded(mean, sd):
    (p,) = Totals.normal(np.array([mean]), np.array([sd])).probabilities
    law = stats.norm(mean, sd)
    np.testing.assert_allclose(p[1:-1], np.diff(law.cdf(np.arange(1, 28) - 0.5)), atol=1e-12)
    assert p[0] == pytest.approx(law.cdf(0.5), abs=1e-12)
    assert p[27] == pytest.approx(law.sf(26.5), abs=1e-12)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert (p >= 0).all()


@given(MEANS, DEVIATIONS)
def test_the_probability_of_one_total_is_its_entry_in_the_distribution(mean, sd):
    where, wide = np.full(28, mean), np.full(28, sd)
    (p,) = Totals.normal(where[:1], wide[:1]).probabilities
    np.testing.assert_array_equal(total_probability(where, wide, np.arange(28.0)), p)


@pytest.mark.parametrize("shape", [(28,), (2, 27), (1, 2, 28)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="28"):
        Totals(np.zeros(shape))


@given(some_totals(least=0))
def test_rows_of_a_table_come_back_as_they_were(totals):
    np.testing.assert_array_equal(Totals.of_rows(totals.rows()).probabilities, totals.probabilities)
    assert len(Totals.of_rows([])) == 0


# What is said of them


@given(some_totals(least=0))
def test_mean_variance_and_tails_are_those_of_scipy(totals):
    for row, p in enumerate(totals.probabilities):
        law = stats.rv_discrete(values=(SCALE, p))
        assert totals.mean()[row] == pytest.approx(law.mean(), abs=1e-9)
        assert totals.variance()[row] == pytest.approx(law.var(), abs=1e-7)
        assert totals.variance()[row] >= 0
        np.testing.assert_allclose(totals.cumulative()[row], law.cdf(SCALE), atol=1e-12)
        for k in (0, 1, 10, 27):
            assert totals.at_least(k)[row] == pytest.approx(law.sf(k - 1), abs=1e-9)


@given(some_totals(least=0))
def test_the_mean_is_the_sum_of_the_chances_to_reach_each_total(totals):
    np.testing.assert_allclose(totals.mean(), sum(totals.at_least(k) for k in range(1, 28)))
    assert (totals.at_least(0) <= 1).all()


@given(some_totals(), st.sampled_from([0.03, 0.5, 0.9]))
def test_quantiles_are_those_of_the_piecewise_even_density(totals, level):
    for row, p in enumerate(totals.probabilities):

        def excess(x, p=p):
            return (p * np.clip(x - (SCALE - 0.5), 0, 1)).sum() - level

        expected = np.clip(brentq(excess, -0.5, 27.5), 0, 27)
        assert totals.quantile(level)[row] == pytest.approx(expected, abs=1e-6)


@given(some_totals(least=0), LEVELS, LEVELS)
def test_quantiles_grow_with_the_level_and_stay_on_the_scale(totals, level, other):
    low, high = (totals.quantile(at) for at in sorted((level, other)))
    assert (low <= high).all()
    assert (low >= 0).all()
    assert (high <= 27).all()
    np.testing.assert_array_equal(totals.median(), totals.quantile(0.5))


def test_quantiles_take_one_level_a_row():
    totals = Totals.normal(np.array([-5.0, 12.0, 40.0]), np.array([1.0, 3.0, 1.0]))
    low, middle, high = totals.quantile(np.array([0.01, 0.5, 0.99]))
    assert (low, high) == (0.0, 27.0)
    assert middle == pytest.approx(12.0, abs=0.01)
    assert totals.take(slice(0)).median().shape == (0,)


@given(some_totals(), st.floats(0.01, 0.99))
def test_a_central_interval_holds_its_mass_and_leaves_as_much_on_either_side(totals, width):
    lower, upper = totals.interval(width)
    assert (lower <= totals.median()).all()
    assert (totals.median() <= upper).all()
    for row, p in enumerate(totals.probabilities):
        below, upto = (
            (p * np.clip(x - (SCALE - 0.5), 0, 1)).sum() for x in (lower[row], upper[row])
        )
        if lower[row] > 0 and upper[row] < 27:
            assert upto - below == pytest.approx(width, abs=1e-9)
            assert below == pytest.approx(1 - upto, abs=1e-9)
    each = totals.interval(np.full(len(totals), width))
    np.testing.assert_array_equal(each, (lower, upper))


@given(some_totals(least=0), GOLD)
def test_crps_is_the_energy_form(totals, gold):
    p = totals.probabilities
    pairs = np.abs(np.subtract.outer(SCALE, SCALE))
    spread = np.einsum("li,lj,ij->l", p, p, pairs)
    energy = (p * np.abs(SCALE - gold[:, None])).sum(axis=1) - 0.5 * spread
    np.testing.assert_allclose(totals.crps(gold), energy, atol=1e-9)
    assert (totals.crps(gold) <= np.abs(totals.mean() - gold) + spread).all()


def test_crps_is_that_of_scoringrules_for_many_draws():
    random = np.random.default_rng(3)
    gold = random.integers(0, 28, 150).astype(float)
    totals = Totals.normal(0.6 * gold + 4 + 4 * random.normal(size=150), np.full(150, 4.0))
    # 500 values in exact proportion to the distribution are an ensemble with the same CRPS
    levels = (np.arange(500) + 0.5) / 500
    ensemble = np.array([np.searchsorted(row, levels) for row in totals.cumulative()])
    theirs = scoringrules.crps_ensemble(
        gold, ensemble.astype(float), estimator="nrg", backend="numpy"
    )
    np.testing.assert_allclose(totals.crps(gold), theirs, atol=0.03)


def test_crps_of_a_certain_distribution_is_the_absolute_error():
    certain = Totals(np.eye(28)[[4, 9, 27]])
    np.testing.assert_allclose(certain.crps(np.array([4.0, 12, 20])), [0, 3, 7])
    assert certain.mean().tolist() == certain.median().tolist() == [4, 9, 27]
    assert certain.variance().tolist() == [0, 0, 0]


@given(some_totals(rows=1), some_totals(rows=1))
def test_the_true_distribution_has_the_best_expected_crps(true, other):
    gold = SCALE.astype(float)
    assume(not np.allclose(true.probabilities, other.probabilities))

    def expected(totals):
        return true.probabilities[0] @ totals.take(np.zeros(28, dtype=int)).crps(gold)

    assert expected(true) < expected(other) + 1e-12


# Several together


@given(some_totals(rows=4), st.lists(st.integers(0, 3), max_size=6))
def test_rows_are_taken_and_put_one_by_one(totals, rows):
    at = np.array(rows, dtype=int)
    np.testing.assert_array_equal(totals.take(at).probabilities, totals.probabilities[at])
    assert len(totals.take(at)) == len(rows)
    before = totals.probabilities.copy()
    certain = totals.put(at, Totals(np.eye(28)[at]))
    for row in range(4):
        expected = np.eye(28)[row] if row in rows else totals.probabilities[row]
        np.testing.assert_array_equal(certain.probabilities[row], expected)
    np.testing.assert_array_equal(totals.probabilities, before)


@given(some_totals(rows=3), some_totals(rows=2))
def test_an_average_is_over_the_models_that_have_a_say(everyone, some):
    rows = np.array([2, 0])
    both = Totals.average(3, [(np.arange(3), everyone), (rows, some)])
    np.testing.assert_allclose(both.mean()[rows], (everyone.mean()[rows] + some.mean()) / 2)
    np.testing.assert_array_equal(both.probabilities[1], everyone.probabilities[1])
    np.testing.assert_allclose(both.probabilities.sum(axis=1), 1)


def test_a_row_that_nobody_may_speak_of_has_no_average():
    point = Totals(np.eye(28)[[3]])
    with pytest.raises(AssertionError, match="may speak"):
        Totals.average(2, [(np.array([1]), point)])
    assert len(Totals.average(0, [])) == 0


def test_no_delivered_interval_is_narrower_than_the_questionnaire_errs():
    certain = Totals(np.eye(28)[[0, 1, 7, 26, 27]])
    lower, upper = certain.delivered_interval(0.9)
    assert lower.tolist() == pytest.approx([0, 0, 4.5, 23.5, 24.5])
    assert upper.tolist() == pytest.approx([2.5, 3.5, 9.5, 27, 27])
    wide = Totals.normal(np.array([4.0, 13.0]), np.array([5.0, 5.0]))
    np.testing.assert_array_equal(wide.delivered_interval(0.9), wide.interval(0.9))
