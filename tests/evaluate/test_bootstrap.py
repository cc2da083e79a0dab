"""The bootstrap against simulation: coverage of its intervals, false positives of its tests."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.support.predictions import MEAN, RELIABILITY, SD, estimate_of, gold_totals, predictions

from leadline.evaluate.bootstrap import (
    p_value,
    person_weights,
    resampled_scores,
    sample_scores,
    summary,
)
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.metrics import Moments, auc, weighted_mean
from leadline.evaluate.results import evaluate_predictions
from leadline.evaluate.sample import split_samples

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def weights_of(person: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    people = int(person.max()) + 1
    return np.concatenate(list(person_weights(person, people, resamples, seed)))


def test_weights_draw_whole_persons_and_are_seeded() -> None:
    person = np.repeat(np.arange(40), 3)
    weights = weights_of(person, 300, 7)
    assert weights.shape == (300, 120)
    assert (weights[:, 0::3] == weights[:, 1::3]).all()
    assert (weights[:, 0::3].sum(axis=1) == 40).all()
    np.testing.assert_array_equal(weights, weights_of(person, 300, 7))
    assert (weights != weights_of(person, 300, 8)).any()


def test_interval_equals_that_of_a_plain_loop_over_rebuilt_samples() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(60), 2)
    truth = rng.normal(size=60)[person]
    gold, estimate = gold_totals(truth, rng), estimate_of(truth, 0.6, rng)
    weights = weights_of(person, 4000, 1)
    ours = np.quantile(weighted_mean(np.abs(gold - estimate), weights), (0.025, 0.975))
    loop = []
    for _ in range(4000):
        drawn = np.concatenate([np.flatnonzero(person == p) for p in rng.integers(0, 60, 60)])
        loop.append(np.abs(gold[drawn] - estimate[drawn]).mean())
    np.testing.assert_allclose(ours, np.quantile(loop, (0.025, 0.975)), atol=0.04)


@pytest.mark.parametrize("labels", [1, 3])
def test_intervals_cover_the_truth(labels) -> None:
    rng = np.random.default_rng(11)

    def draw(people: int) -> tuple[np.ndarray, np.ndarray]:
        truth = np.repeat(rng.normal(size=people), labels)
        # an error that a person repeats: labels of one person are not independent
        stable = np.repeat(estimate_of(truth[::labels], 0.7, rng), labels)
        return gold_totals(truth, rng), stable

    def scores(gold: np.ndarray, estimate: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                weighted_mean(np.abs(gold - estimate), weights),
                Moments.of(gold, estimate, weights).pearson(),
                auc(gold, estimate, (10,), weights)[0],
            ]
        )

    true = scores(*draw(300_000 // labels), np.ones((1, 300_000 // labels * labels)))[:, 0]
    person = np.repeat(np.arange(120), labels)
    hits = np.zeros(3)
    for trial in range(250):
        drawn = scores(*draw(120), weights_of(person, 250, trial))
        low, high = np.quantile(drawn, (0.025, 0.975), axis=1)
        hits += (low <= true) & (true <= high)
    coverage = hits / 250
    assert (coverage >= 0.90).all(), coverage
    assert (coverage <= 0.985).all(), coverage


def test_paired_test_has_the_false_positive_rate_that_it_states() -> None:
    rng = np.random.default_rng(5)
    person, found, narrower = np.arange(120), 0, 0
    for trial in range(300):
        truth = rng.normal(size=120)
        gold = gold_totals(truth, rng)
        errors = [np.abs(gold - estimate_of(truth, 0.7, rng)) for _ in range(2)]
        drawn = [weighted_mean(e, weights_of(person, 300, trial)) for e in errors]
        found += p_value(drawn[0] - drawn[1]) < 0.05
        narrower += np.std(drawn[0] - drawn[1]) < np.hypot(*(np.std(d) for d in drawn))
    assert 0.02 <= found / 300 <= 0.09
    assert narrower > 290


def test_paired_test_finds_a_real_difference() -> None:
    table = predictions(300, models={"leadline": 0.4, "worse": 1.2})
    results = evaluate_predictions(table, QUICK)
    for entry in results["sets"][0]["comparisons"]:
        worse_is_higher = entry["metric"] in ("mae", "rmse", "crps")
        assert (entry["low"] > 0) if worse_is_higher else (entry["high"] < 0)
        assert entry["p"] == pytest.approx(2 / 201)


def test_identical_models_do_not_differ() -> None:
    table = predictions(60, models={"leadline": 0.4})
    both = table.vstack(table.with_columns(model=table["model"].str.replace("leadline", "twin")))
    for entry in evaluate_predictions(both, QUICK)["sets"][0]["comparisons"]:
        assert (entry["value"], entry["low"], entry["high"], entry["p"]) == (0, 0, 0, 1)


def test_repeats_are_averaged_inside_each_resample() -> None:
    table = predictions(80, models={"leadline": 0.6}, repeats=3)
    (sample,) = split_samples(table)
    scalars, _ = resampled_scores(sample, QUICK)
    weights = weights_of(sample.person, 200, QUICK.seed)
    each = [
        Moments.of(sample.gold, mean, weights).pearson() for mean in sample.models["leadline"].mean
    ]
    np.testing.assert_allclose(scalars["leadline"]["pearson"], np.mean(each, axis=0))
    whole, _ = sample_scores(sample, QUICK)
    singles = [
        evaluate_predictions(table.filter(table["repeat"] == repeat), QUICK)["sets"][0]["models"][
            "leadline"
        ]["scores"]["mae"]["value"]
        for repeat in range(3)
    ]
    assert whole["leadline"]["mae"][0] == pytest.approx(np.mean(singles))


def test_best_linear_estimates_have_the_moments_of_theory() -> None:
    rng = np.random.default_rng(9)
    truth = rng.normal(size=100_000)
    noise = np.sqrt(1 - RELIABILITY) * rng.normal(size=len(truth))
    gold = MEAN + SD * (np.sqrt(RELIABILITY) * truth + noise)  # neither rounded nor cut off
    moments = Moments.of(gold, estimate_of(truth, 0.5, rng), np.ones((1, len(truth))))
    share = RELIABILITY / (1 + 0.5**2)
    assert moments.pearson()[0] == pytest.approx(np.sqrt(share), abs=0.005)
    assert moments.slope()[0] == pytest.approx(1, abs=0.01)
    assert moments.intercept()[0] == pytest.approx(0, abs=0.1)
    assert moments.variance_ratio()[0] == pytest.approx(np.sqrt(share), abs=0.005)
    assert moments.variance_explained()[0] == pytest.approx(share, abs=0.01)


def test_summary_gives_no_interval_that_few_resamples_define() -> None:
    replicates = np.where(np.arange(100) < 10, np.nan, 0.5)
    entry = summary(0.5, replicates)
    assert entry["value"] == 0.5
    assert entry["low"] is None
    assert "5%" in entry["reason"]
    assert summary(float("nan"), replicates)["value"] is None


def test_p_value_counts_both_tails() -> None:
    assert p_value(np.r_[np.full(10, -1.0), np.full(89, 1.0)]) == pytest.approx(2 * 11 / 100)
    assert p_value(np.zeros(99)) == 1.0


def test_results_are_the_same_twice_and_valid_json() -> None:
    table = predictions(50, models={"leadline": 0.5, "constant": None}, repeats=2)
    first, second = (
        json.dumps(evaluate_predictions(table, QUICK), allow_nan=False) for _ in range(2)
    )
    assert first == second
