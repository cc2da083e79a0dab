import json

import numpy as np
import pytest

from leadline.heads.calibration import (
    WIDTH_LEVELS,
    Calibrated,
    Calibration,
    central_ranks,
    fit_calibration,
)
from leadline.phq9.distribution import Totals

PLAIN = Calibration(centre=10, stretch=1, half_words=5, widen=1, few_words=10)


def test_the_rank_of_a_total_is_the_level_of_the_interval_that_just_reaches_it():
    random = np.random.default_rng(0)
    totals = Totals.normal(random.uniform(4, 23, 50), random.uniform(1, 4, 50))
    total = random.integers(1, 27, 50).astype(float)
    low, high = totals.interval(central_ranks(totals, total))
    distance = np.minimum(np.abs(low - total), np.abs(high - total))
    reached = np.abs(2 * (totals.cumulative()[range(50), total.astype(int)]) - 1) < 1 - 1e-9
    assert distance[reached].max() < 1e-6


def simulate(people, seed, *, stretch=1.0, widen=1.0, half_words=0.01, few_words=0.01):
    """Estimates that need just this calibration, and the totals that go with them."""
    random = np.random.default_rng(seed)
    words = np.exp(random.uniform(0, 6, people))
    mean = random.normal(13, 3, people)
    sd = random.uniform(2, 3, people)
    truth = Calibration(13.0, stretch, half_words, widen, few_words)
    location, scale = truth.location_scale(mean, sd, words)
    total = np.clip(np.rint(random.normal(location, scale)), 0, 27)
    return mean, sd, words, total


def fit(mean, sd, words, total):
    ones = np.ones(len(mean))
    return fit_calibration(mean, sd, words, total, ones, ones.astype(bool))


@pytest.mark.parametrize(
    "truth",
    [
        {"stretch": 1.3, "widen": 1.5},
        {"stretch": 0.8, "widen": 0.6},
        {"half_words": 30.0},
        {"few_words": 20.0, "widen": 1.2},
    ],
)
def test_the_fit_recovers_the_calibration_that_made_the_data(truth):
    fitted = fit(*simulate(4000, 1, **truth))
    for name, value in truth.items():
        close = 0.25 if name in ("half_words", "few_words") else 0.08
        assert abs(np.log(getattr(fitted, name) / value)) < close, name


def test_few_people_leave_the_calibration_near_where_it_starts():
    fitted = fit(*simulate(3, 2))
    assert 0.8 < fitted.stretch < 1.25
    assert 0.4 < fitted.widen < 2.5


def test_central_intervals_cover_as_many_unseen_people_as_they_say():
    """Also where the head's own deviation is far off and no normal."""
    hits = {level: [] for level in (0.5, 0.8, 0.9)}
    for seed in range(12):
        random = np.random.default_rng(seed)
        mean = random.normal(13, 4, 700)
        total = np.clip(np.rint(mean + 2.0 * random.standard_t(3, 700)), 0, 27)
        words = np.full(700, 200.0)
        sd = np.full(700, 6.0)
        fitted = fit(mean[:100], sd[:100], words[:100], total[:100])
        totals = fitted.distribution(mean[100:], sd[100:], words[100:])
        for level, found in hits.items():
            low, high = totals.interval(fitted.width(level))
            found.append(np.mean((low <= total[100:]) & (total[100:] <= high)))
    for level, found in hits.items():
        assert level - 0.02 < np.mean(found) < level + 0.06, level


def test_too_few_people_to_vouch_for_a_level_give_the_whole_scale():
    fitted = fit(*simulate(8, 3))
    assert fitted.width(0.9) == 1.0
    assert fitted.width(0.5) < 1.0
    totals = fitted.distribution(np.array([5.0]), np.array([2.0]), np.array([50.0]))
    assert totals.interval(fitted.width(0.9)) == (0.0, 27.0)


def test_widths_grow_with_the_level():
    fitted = fit(*simulate(300, 4))
    assert list(fitted.widths) == sorted(fitted.widths)
    assert fitted.width(0.0) == 0.0
    assert fitted.width(1.0) == 1.0
    assert fitted.width(WIDTH_LEVELS[3]) == fitted.widths[3]


def test_an_estimate_leaves_the_centre_and_narrows_with_words():
    words = np.array([0.0, 1.0, 3.0, 10.0, 100.0, 1e5])
    location, scale = PLAIN.location_scale(np.full(6, 20.0), np.full(6, 3.0), words)
    assert (np.diff(location) >= 0).all()
    assert (np.diff(scale) <= 0).all()
    assert location[-1] == pytest.approx(20, abs=0.01)
    assert scale[-1] == pytest.approx(3, abs=0.01)
    assert location[0] == location[1], "no words count as one"
    half, extra = PLAIN.location_scale(np.array([20.0]), np.array([3.0]), np.array([5.0]))
    assert half == pytest.approx(15.0), "half of the distance is kept at half_words"
    assert extra == pytest.approx(3 * np.sqrt(1 + 10 / 5))


def test_weights_and_readings_that_are_not_final():
    mean, sd, words, total = simulate(400, 5, stretch=1.2)
    final = np.arange(400) < 200
    both = fit_calibration(mean, sd, words, total, np.where(final, 1.0, 1e-9), final)
    alone = fit(mean[:200], sd[:200], words[:200], total[:200])
    assert both.stretch == pytest.approx(alone.stretch, abs=0.02)
    assert both.centre == alone.centre == total[:200].mean()


def test_estimates_of_a_head_that_saw_others_too_are_moved_back_to_people_with_gold():
    random = np.random.default_rng(5)
    truth = random.normal(11, 5, 400)
    total = np.clip(np.rint(truth + random.normal(0, 2, 400)), 0, 27)
    mean, sd, words = truth + 1.7, np.full(400, 2.0), np.full(400, 500.0)
    given = (mean, sd, words, total, np.ones(400), np.ones(400, bool))
    moved, left = fit_calibration(*given, recentre=True), fit_calibration(*given)
    assert left.shift == 0
    assert moved.shift == pytest.approx(np.mean(mean - total))
    gaps = [c.distribution(mean, sd, words).mean() - total for c in (moved, left)]
    assert abs(gaps[0].mean()) < 0.1 < 1.2 < gaps[1].mean()


def test_a_calibration_is_read_back():
    calibration = Calibration(12.5, 1.1, 3.0, 0.9, 7.0, widths=tuple(np.linspace(0.1, 1, 19)))
    again = Calibration.from_plain(json.loads(json.dumps(calibration.to_plain())))
    assert again == calibration


def histograms_of(means, deviation):
    return Totals.normal(means, np.full(len(means), deviation))


def test_the_likelihood_of_a_histogram_is_the_entry_of_what_is_delivered():
    random = np.random.default_rng(0)
    shapes = Totals(random.dirichlet(np.full(28, 0.3), 60))
    mean, sd = shapes.mean(), np.sqrt(shapes.variance())
    words, total = np.exp(random.uniform(0, 6, 60)), random.integers(0, 28, 60).astype(float)
    calibration = Calibration(12.0, 1.2, 3.0, 0.7, 4.0, shift=0.5)
    for given in (None, shapes):
        estimates = calibration.calibrated(mean, sd, words, given)
        totals = estimates.totals()
        assert totals.probabilities.min() >= 0
        np.testing.assert_allclose(totals.probabilities.sum(axis=1), 1)
        entries = totals.probabilities[np.arange(60), total.astype(int)]
        np.testing.assert_allclose(estimates.likelihood(total), entries, atol=1e-12)


@pytest.mark.parametrize("spread", [0.8, 2.0, 6.0])
def test_a_histogram_gets_the_calibrated_mean_and_deviation_and_keeps_its_form(spread):
    means = np.full(3, 13.0)
    half = 0.5 * histograms_of(means - 3, 0.8).probabilities
    shapes = Totals(half + 0.5 * histograms_of(means + 3, 0.8).probabilities)
    totals = Calibrated(means, np.full(3, spread), shapes, 1.0).totals()
    assert totals.mean() == pytest.approx(means, abs=0.02)
    # Rounding to whole totals adds a twelfth; the ends of the scale take a little off 6.
    assert np.sqrt(totals.variance()) == pytest.approx(np.sqrt(spread**2 + 1 / 12), abs=0.25)
    middle, side = totals.probabilities[0, 13], totals.probabilities[0, 10]
    assert (side > 2 * middle) == (spread == 2.0), "as wide as the two sides stand apart"


def test_a_histogram_that_is_a_normal_is_calibrated_as_a_normal():
    mean = np.linspace(8, 19, 12)
    shapes, words = histograms_of(mean, 2.0), np.full(12, 40.0)
    sd = np.sqrt(shapes.variance())
    for widen in (0.7, 1.0, 2.0):
        calibration = Calibration(13.0, 1.1, 2.0, widen, 3.0)
        plain = calibration.distribution(mean, sd, words).probabilities
        formed = calibration.calibrated(mean, sd, words, shapes).totals().probabilities
        assert np.abs(plain - formed).max() < 0.01


def test_an_overfitted_histogram_is_widened_by_what_it_was_wrong_about():
    random = np.random.default_rng(3)
    truth = random.normal(13, 5, 600)
    total = np.clip(np.rint(truth), 0, 27)
    shapes = histograms_of(truth + random.normal(0, 4, 600), 1.5)
    mean, sd, ones = shapes.mean(), np.sqrt(shapes.variance()), np.ones(600)
    words = np.exp(random.uniform(2, 8, 600))
    fitted = fit_calibration(mean, sd, words, total, ones, ones > 0, histograms=shapes)
    delivered = fitted.calibrated(mean, sd, words, shapes).totals()
    assert fitted.stretch < 0.85, "an estimate that errs by 4 of 5 points says less than it seems"
    assert np.sqrt(delivered.variance()).mean() == pytest.approx(3.1, abs=0.4)
    assert delivered.crps(total).mean() < 0.9 * shapes.crps(total).mean()
