"""Stopping rules and the canary on figures made by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from leadline.phq9.distribution import Totals
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.rules import (
    canary_power,
    canary_test,
    decide,
    is_gain,
    label_errors,
    least_found_gain,
    paired_gain,
    shape_figures,
)

OPEN = {"min_gain": -99.0}


def estimates(count=1500, *, stretch=1.0, noise=3.0, spread=3.0, seed=0) -> pl.DataFrame:
    """Gold is a calibrated estimate plus noise; `stretch` then scales what is reported."""
    random = np.random.default_rng(seed)
    honest = random.normal(13, 3.5, count)
    total = np.clip(np.rint(honest + random.normal(0, noise, count)), 0, 27)
    said = 13 + stretch * (honest - 13)
    totals = Totals.normal(said, np.full(count, spread))
    return pl.DataFrame(
        {
            "label": np.arange(count),
            "person_id": [f"p{i // 2}" for i in range(count)],
            "total": total,
            "mean": said,
            "distribution": totals.rows(),
        }
    )


def test_calibrated_estimates_have_slope_and_variance_ratio_one():
    found = shape_figures(label_errors(estimates()))
    assert found["slope"] == pytest.approx(1.0, abs=0.06)
    assert found["variance_ratio"] == pytest.approx(1.0, abs=0.12)
    assert 0.005 < found["slope_se"] < 0.06


@pytest.mark.parametrize(
    ("stretch", "reason"), [(0.6, "variance is below"), (0.6, "slope lies"), (1.5, "slope lies")]
)
def test_shrunken_and_stretched_estimates_are_not_kept(stretch, reason):
    honest = label_errors(estimates())
    after = label_errors(estimates(stretch=stretch))
    decision = decide(honest, after, SelftrainConfig(**OPEN), None)
    assert not decision["kept"]
    assert any(reason in one for one in decision["reasons"])


def test_a_round_is_not_blamed_for_a_spread_that_the_round_before_had_too():
    narrow = label_errors(estimates(stretch=0.7))
    better = label_errors(estimates(stretch=0.75))
    rules = SelftrainConfig(**OPEN)
    assert decide(narrow, better, rules, None)["kept"]
    worse = decide(narrow, label_errors(estimates(stretch=0.5)), rules, None)
    assert any("variance" in one for one in worse["reasons"])
    assert any("slope" in one for one in worse["reasons"])


def test_a_clear_gain_is_kept_and_none_is_not():
    rough = estimates()
    random = np.random.default_rng(1)
    rough = rough.with_columns(mean=pl.col("mean") + random.normal(0, 2, rough.height))
    before, after = label_errors(rough), label_errors(estimates())
    gain, error = paired_gain(before, after)
    assert gain > 5 * error > 0
    assert decide(before, after, SelftrainConfig(min_slope=0.8), None)["kept"]
    back = decide(after, before, SelftrainConfig(), None)
    assert back["gain"] == pytest.approx(-gain)
    assert "paired gain" in back["reasons"][0]


def round_errors(people, gain, seed, spread=0.85):
    """`label_errors` of a round and of the one after it, whose error is `gain` less on average.

    `spread` is that of the paired difference: 0.7 to 0.95 where a round of 3,111 people helped.
    """
    random = np.random.default_rng([seed, people])
    first = np.abs(random.normal(0, 4, people))
    change = random.normal(gain, spread, people)
    names = {"label": np.arange(people), "person_id": [f"p{i}" for i in range(people)]}
    tables = [pl.DataFrame({**names, "error": errors}) for errors in (first, first - change)]
    return tables[0], tables[1]


def share_kept(people, gain, seeds=800, config=None):
    """How often the rule finds a gain between rounds that differ by `gain`."""
    found = [
        is_gain(*paired_gain(*round_errors(people, gain, seed)), config or SelftrainConfig())
        for seed in range(seeds)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("people", [40, 150, 600])
def test_a_round_that_changes_nothing_is_kept_in_at_most_5_percent_of_cases(people):
    error = 3 * np.sqrt(0.05 * 0.95 / 800)
    assert share_kept(people, 0.0) <= 0.05 + error
    assert share_kept(people, 0.0, config=SelftrainConfig(min_gain=1.0)) > 0.13, "as it was"


def test_estimates_that_did_not_move_are_not_kept_as_a_new_round():
    before = label_errors(estimates())
    decision = decide(before, before, SelftrainConfig(min_slope=0.8), None)
    assert decision["gain"] == decision["gain_se"] == 0
    assert not decision["kept"]


@pytest.mark.parametrize(("gain", "least"), [(0.035, 0.65), (0.047, 0.85), (0.073, 0.99)])
def test_gains_of_the_size_that_pseudolabels_can_give_are_found_among_3111_people(gain, least):
    assert share_kept(3111, gain, seeds=400) >= least


@pytest.mark.parametrize("people", [150, 600])
def test_the_stated_gain_is_found_in_80_percent_of_cases(people):
    config = SelftrainConfig()
    stated = least_found_gain(0.85 / np.sqrt(people), config)
    assert share_kept(people, stated) == pytest.approx(0.8, abs=0.03)


def test_repeats_are_averaged_by_label():
    one = estimates(40)
    both = pl.concat([one, one.with_columns(pl.col("mean") + 2)])
    found = label_errors(both)
    assert found.height == 40
    np.testing.assert_allclose(found["mean"], one["mean"].to_numpy() + 1)


def test_a_fitted_canary_stops_the_round():
    before, after = label_errors(estimates(noise=6.0)), label_errors(estimates())
    decision = decide(before, after, SelftrainConfig(**OPEN), {"p": 0.001})
    assert "canary" in decision["reasons"][-1]


def test_the_canary_sings_at_its_level_without_a_leak_and_stops_with_one():
    random = np.random.default_rng(0)
    p = []
    for seed in range(150):
        true = random.normal(12, 6, 30)
        given = random.permutation(true)
        p.append(canary_test(0.7 * true + random.normal(0, 3, 30), given, seed)["p"])
    assert 0.01 <= np.mean(np.array(p) < 0.1) <= 0.2
    leak = canary_test(0.5 * given + 0.5 * true, given)
    assert leak["p"] < 0.01
    assert leak["r"] > leak["null_95"]


def ridge_hat(features, penalty=20.0):
    """Weights of the labels in a ridge's estimates of its own people, (N, N)."""
    inner = features.T @ features + penalty * np.eye(features.shape[1])
    return features @ np.linalg.solve(inner, features.T)


def people_and_estimates(count, width=40, seed=0):
    """Features, totals, and a ridge's estimates: honest (leave one out) and of its own people."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, width))
    gold = np.clip(
        np.rint(12 + features[:, :4].sum(axis=1) * 2 + random.normal(0, 4, count)), 0, 27
    )
    hat = ridge_hat(features)
    own = hat @ (gold - 12) + 12
    leverage = np.diag(hat)
    return features, gold, gold - (gold - own) / (1 - leverage), own


@pytest.mark.parametrize(("people", "count"), [(150, 8), (150, 15), (150, 30), (600, 30)])
def test_the_stated_power_is_the_share_of_real_leaks_that_are_noticed(people, count):
    features, gold, honest, own = people_and_estimates(people)
    stated = canary_power(honest, own, gold, count, 0.01)["power"]
    random, hat = np.random.default_rng(1), ridge_hat(features)
    noticed = []
    for _ in range(120):
        chosen = random.choice(people, count, replace=False)
        told = gold.copy()
        told[chosen] = gold[random.permutation(chosen)]
        estimate = hat @ (told - 12) + 12  # a student that saw everyone: a full leak
        noticed.append(canary_test(estimate[chosen], told[chosen])["p"] < 0.01)
    assert np.mean(noticed) == pytest.approx(stated, abs=0.12)


def test_a_canary_of_four_people_has_no_power_and_says_what_would():
    _, gold, honest, own = people_and_estimates(75)
    figures = canary_power(honest, own, gold, 4, 0.01)
    assert not figures["can_tell"]
    assert figures["power"] == 0, "24 orders of four totals cannot reach p < .01"
    larger = figures["enough_share"]
    assert canary_power(honest, own, gold, round(larger * 75), 0.01)["power"] >= 0.8
    assert "enough_share" not in canary_power(honest, own, gold, 37, 0.01)


def test_a_head_that_follows_no_label_leaves_the_canary_without_power():
    _, gold, honest, _ = people_and_estimates(300)
    figures = canary_power(honest, honest, gold, 15, 0.01)
    assert figures["leak"] == 0
    assert figures["power"] <= 0.05
    assert "enough_share" not in figures
