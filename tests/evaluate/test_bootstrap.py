"""The bootstrap against plain loops, and what becomes of its replicates."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.support.predictions import MEAN, RELIABILITY, SD, estimate_of, gold_totals, predictions

from leadline.evaluate.bootstrap import (
    person_weights,
    resampled_scores,
    sample_scores,
    summary,
)
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.intervals import Basis, p_value
from leadline.evaluate.metrics import Moments, weighted_mean
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


def test_paired_test_has_the_false_positive_rate_that_it_states() -> None:
    rng = np.random.default_rng(5)
    person, found, narrower = np.arange(120), 0, 0
    for trial in range(300):
        truth = rng.normal(size=120)
        gold = gold_totals(truth, rng)
        errors = [np.abs(gold - estimate_of(truth, 0.7, rng)) for _ in range(2)]
        drawn = [weighted_mean(e, weights_of(person, 300, trial)) for e in errors]
        gap = float(errors[0].mean() - errors[1].mean())
        found += p_value("mae", gap, drawn[0] - drawn[1], 120) < 0.05
        narrower += np.std(drawn[0] - drawn[1]) < np.hypot(*(np.std(d) for d in drawn))
    assert 0.02 <= found / 300 <= 0.09
    assert narrower > 290


def test_paired_test_finds_a_real_difference() -> None:
    table = predictions(300, models={"leadline": 0.4, "worse": 1.2})
    results = evaluate_predictions(table, QUICK)
    for entry in results["sets"][0]["comparisons"]:
        worse_is_higher = entry["metric"] in ("mae", "rmse", "crps")
        assert (entry["low"] > 0) if worse_is_higher else (entry["high"] < 0)
        assert entry["p"] < 0.01


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
    entry = summary("mae", 0.5, replicates, Basis(40))
    assert entry["value"] == 0.5
    assert entry["low"] is None
    assert "5%" in entry["reason"]
    assert summary("mae", float("nan"), replicates, Basis(40))["value"] is None


def test_summary_gives_no_interval_of_a_mean_over_fewer_than_15_people() -> None:
    replicates = np.random.default_rng(0).normal(4, 1, 200)
    assert summary("mae", 4.0, replicates, Basis(15))["low"] < 4
    assert summary("mae", 4.0, replicates, Basis(14))["low"] is None
    share = summary("off_by_5", 0.5, None, Basis(10, (10.0,), (10.0,)))
    assert 0 < share["low"] < 0.5 < share["high"] < 1


def test_results_are_the_same_twice_and_valid_json() -> None:
    table = predictions(50, models={"leadline": 0.5, "constant": None}, repeats=2)
    first, second = (
        json.dumps(evaluate_predictions(table, QUICK), allow_nan=False) for _ in range(2)
    )
    assert first == second
