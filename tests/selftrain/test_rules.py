"""Stopping rules and the canary on figures made by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from leadline.phq9.distribution import Totals
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.rules import canary_test, decide, label_errors, paired_gain, shape_figures

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
