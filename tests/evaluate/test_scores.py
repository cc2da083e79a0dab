"""Scores of a model over its repeats, against plain loops over the same numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.support.predictions import normal_distribution, predictions

from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.sample import Estimates, Sample, split_samples
from leadline.evaluate.scores import (
    Resamples,
    curve_scores,
    dialogue_bins,
    quantile_bins,
    scalar_scores,
)
from leadline.phq9.distribution import Totals

CONFIG = EvaluateConfig()


@pytest.fixture(scope="module")
def sample() -> Sample:
    (one,) = split_samples(predictions(90, labels=2, models={"leadline": 0.6}, repeats=2))
    return one


@pytest.fixture(scope="module")
def model(sample) -> Estimates:
    """Medians and distributions that differ from the mean, so that a mix-up would show."""
    mean = sample.models["leadline"].mean
    rng = np.random.default_rng(0)
    widths = rng.uniform(1.5, 6, mean.shape[1])
    each = tuple(Totals(normal_distribution(row - 0.4, widths[:, None])) for row in mean)
    return Estimates(mean=mean, median=np.round(mean) + 0.5, totals=each)


@pytest.fixture(scope="module")
def whole(sample) -> Resamples:
    return Resamples.of(sample, np.ones((1, len(sample.gold))))


@pytest.fixture(scope="module")
def scalars(sample, model, whole) -> dict[str, float]:
    return {k: float(v[0]) for k, v in scalar_scores(sample, model, whole, CONFIG).items()}


def over(model: Estimates, compute) -> float:
    return float(np.mean([compute(repeat) for repeat in range(model.repeats)]))


def test_errors_in_points_use_the_median_and_the_rest_the_mean(sample, model, scalars) -> None:
    error = np.abs(model.median - sample.gold)
    assert scalars["mae"] == pytest.approx(error.mean())
    rounded = np.abs(np.floor(model.median + 0.5) - sample.gold)
    assert scalars["within_5"] == pytest.approx((rounded <= 5).mean())
    assert scalars["off_by_5"] == pytest.approx((rounded >= 5).mean())
    assert scalars["off_by_10"] == pytest.approx((rounded >= 10).mean())
    assert scalars["mae_of_mean"] == pytest.approx(np.abs(model.mean - sample.gold).mean())
    squared = over(model, lambda r: np.sqrt(np.mean((model.mean[r] - sample.gold) ** 2)))
    assert scalars["rmse"] == pytest.approx(squared)
    ranks = over(model, lambda r: stats.spearmanr(model.mean[r], sample.gold).statistic)
    assert scalars["spearman"] == pytest.approx(ranks)


@pytest.mark.parametrize("level", [50, 80, 90])
def test_coverage_claim_and_width_equal_a_loop(sample, model, scalars, level) -> None:
    tail, inside, claimed, width = (1 - level / 100) / 2, [], [], []
    for totals in model.totals:
        for row, gold in zip(totals.probabilities, sample.gold, strict=True):
            cumulative = np.cumsum(row)
            low = next(k for k in range(28) if cumulative[k] >= tail)
            high = next(k for k in range(28) if cumulative[k] >= 1 - tail - 1e-12)
            inside.append(low <= gold <= high)
            claimed.append(row[low : high + 1].sum())
            width.append(high - low)
    assert scalars[f"coverage_{level}"] == pytest.approx(np.mean(inside))
    assert scalars[f"claimed_{level}"] == pytest.approx(np.mean(claimed))
    assert scalars[f"width_{level}"] == pytest.approx(np.mean(width))
    assert scalars[f"claimed_{level}"] >= level / 100


def test_the_delivered_interval_is_the_one_that_is_scored(sample, model, scalars, whole) -> None:
    """Conformal ends, no whole numbers, and no central interval of the distribution."""
    rng = np.random.default_rng(3)
    lower = np.clip(model.mean - rng.uniform(1, 6, model.mean.shape), 0, 27)
    upper = np.clip(model.mean + rng.uniform(1, 6, model.mean.shape), lower, 27)
    lower[0, 0] = sample.gold[0] + 1e-9  # an end that was made to reach a total reaches it
    delivered = replace(model, lower=lower, upper=upper)
    scores = {k: float(v[0]) for k, v in scalar_scores(sample, delivered, whole, CONFIG).items()}
    inside = (sample.gold >= lower - 1e-6) & (sample.gold <= upper + 1e-6)
    assert inside[0, 0] or upper[0, 0] < sample.gold[0]
    assert scores["coverage_90"] == pytest.approx(inside.mean())
    assert scores["width_90"] == pytest.approx((upper - lower).mean())
    assert scores["claimed_90"] == pytest.approx(0.9)
    assert scores["coverage_90"] != scalars["coverage_90"]
    others = set(scores) - {"coverage_90", "width_90", "claimed_90"}
    assert {name: scores[name] for name in others} == {name: scalars[name] for name in others}


def test_most_certain_half_has_the_narrowest_distributions(sample, model, scalars) -> None:
    def one(repeat: int) -> float:
        order = np.argsort(model.totals[repeat].variance())[: len(sample.gold) // 2]
        return float(np.abs(model.median[repeat] - sample.gold)[order].mean())

    assert scalars["mae_certain_half"] == pytest.approx(over(model, one))


def test_brier_score_and_flags_by_probability(sample, model, scalars) -> None:
    probability = np.stack([totals.probabilities[:, 10:].sum(axis=1) for totals in model.totals])
    above = sample.gold >= 10
    assert scalars["brier_10"] == pytest.approx(((probability - above) ** 2).mean())
    hit = over(model, lambda r: (probability[r] >= 0.5)[above].mean())
    assert scalars["by_probability/sensitivity"] == pytest.approx(hit)
    by_mean = over(model, lambda r: (model.mean[r] < 10)[~above].mean())
    assert scalars["by_mean/specificity"] == pytest.approx(by_mean)
    assert scalars["by_mean/prevalence"] == pytest.approx(above.mean())


def test_a_model_without_distribution_has_no_scores_of_one(sample, model, whole) -> None:
    bare = Estimates(model.mean, model.median, None)
    scores = scalar_scores(sample, bare, whole, CONFIG)
    assert not {"crps", "coverage_90", "brier_10", "mae_certain_half"} & set(scores)
    assert not any(name.startswith("by_probability") for name in scores)
    assert "pit" not in curve_scores(sample, bare, whole, CONFIG)


def test_curves_equal_loops(sample, model, whole) -> None:
    curves = curve_scores(sample, model, whole, CONFIG)
    mild = (sample.gold >= 5) & (sample.gold <= 9)
    error = np.abs(model.median - sample.gold)
    assert curves["bands/mae"][0, 1] == pytest.approx(error[:, mild].mean())
    assert curves["bands/bias"][0, 1] == pytest.approx((model.mean - sample.gold)[:, mild].mean())
    edges = np.quantile(model.mean, np.linspace(0, 1, 9))
    first = model.mean < edges[1]
    outcome = np.broadcast_to(sample.gold, model.mean.shape)[first].mean()
    assert curves["calibration/outcome"][0, 0] == pytest.approx(outcome)
    assert curves["calibration/forecast"][0, 0] == pytest.approx(model.mean[first].mean())
    assert curves["calibration/share"][0].sum() == pytest.approx(1)


def test_scores_of_weights_equal_those_of_the_rebuilt_sample(sample, model) -> None:
    rng = np.random.default_rng(4)
    counts = rng.multinomial(sample.people, np.full(sample.people, 1 / sample.people))
    weights = counts[sample.person].astype(float)
    rows = np.repeat(np.arange(len(weights)), weights.astype(int))
    rebuilt = Sample(
        **{
            **vars(sample),
            "person": sample.person[rows],
            "label": np.arange(len(rows)),
            "gold": sample.gold[rows],
        }
    )
    totals = tuple(one.take(rows) for one in model.totals)
    again = Estimates(model.mean[:, rows], model.median[:, rows], totals)
    weighted = scalar_scores(sample, model, Resamples.of(sample, weights[None, :]), CONFIG)
    ones = Resamples.of(rebuilt, np.ones((1, len(rows))))
    plain = scalar_scores(rebuilt, again, ones, CONFIG)
    assert set(weighted) == set(plain)
    for name in set(plain) - {"mae_certain_half"}:  # its half is fixed across resamples
        assert weighted[name][0] == pytest.approx(plain[name][0]), name


def test_a_fractional_estimate_is_no_nearer_than_the_whole_total_that_it_is_nearest_to(sample):
    """Errors of 4.6 to 4.9 points used to count as fewer than 5, those of whole numbers never."""
    random = np.random.default_rng(1)
    estimate = np.clip(random.normal(11, 4, (1, len(sample.gold))), 0, 27)
    whole_estimate = np.floor(estimate + 0.5)
    resamples = Resamples.of(sample, np.ones((1, len(sample.gold))))
    shares = [
        scalar_scores(sample, Estimates(each, each, None), resamples, CONFIG)
        for each in (estimate, whole_estimate)
    ]
    for name in ("within_5", "off_by_5", "off_by_10"):
        assert shares[0][name] == shares[1][name]
    fractional = (np.abs(estimate[0] - sample.gold) >= 5).mean()
    assert shares[0]["off_by_5"][0] > fractional + 0.02


def test_each_person_may_weigh_the_same(model, sample):
    """The score of one label of each person, averaged over which, is that of equal persons."""
    kept = np.flatnonzero((sample.person % 3 > 0) | (np.arange(len(sample.gold)) % 2 == 0))
    _, person = np.unique(sample.person[kept], return_inverse=True)
    part = replace(
        sample, person=person, label=sample.label[kept], gold=sample.gold[kept], each="person"
    )
    estimates = Estimates(model.mean[:, kept], model.median[:, kept], None)
    counts = np.bincount(person)
    assert set(counts) == {1, 2}
    np.testing.assert_allclose(np.bincount(person, part.weight), len(kept) / len(counts))
    draws = np.array([1.0, 2.0])[:, None] * np.ones((2, len(kept)))
    found = scalar_scores(part, estimates, Resamples.of(part, draws), CONFIG)
    error = np.abs(estimates.median - part.gold).mean(axis=0)
    by_person = np.bincount(person, error) / counts
    assert found["mae"] == pytest.approx([by_person.mean()] * 2)
    by_label = replace(part, each="label")
    assert (by_label.weight == 1).all()
    plain = scalar_scores(by_label, estimates, Resamples.of(by_label, draws), CONFIG)
    assert plain["mae"] == pytest.approx([error.mean()] * 2)
    assert abs(plain["mae"][0] - found["mae"][0]) > 0.001


def test_dialogue_bins_hold_every_label_once_and_leave_out_what_is_constant(sample) -> None:
    found = dialogue_bins(sample, 4)
    assert set(found) == {"user_turns", "user_words"}
    for mask, edges in found.values():
        assert (mask.sum(axis=1) == 1).all()
        assert mask.any(axis=0).all()
        assert len(edges) == mask.shape[1] + 1
    flat = Sample(**{**vars(sample), "user_turns": np.full(len(sample.gold), 6.0)})
    assert set(dialogue_bins(flat, 4)) == {"user_words"}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(2, 8))
@settings(max_examples=100, deadline=None)
def test_quantile_bins_are_ordered_filled_and_keep_ties_together(values, bins) -> None:
    numbers = np.array(values, dtype=float)
    edges, index = quantile_bins(numbers, bins)
    assert len(edges) == index.max() + 2
    assert set(index) == set(range(index.max() + 1))
    assert index.max() < bins
    for value in set(values):
        assert len(set(index[numbers == value])) == 1
    order = np.argsort(numbers, kind="stable")
    assert (np.diff(index[order]) >= 0).all()
