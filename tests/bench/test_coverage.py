"""What delivered intervals hold, measured as the bench measures it."""

import numpy as np
import pytest
from bench.accuracy import coverage


def test_a_frozen_run_holds_new_people_and_is_narrower_than_the_constant(tmp_path):
    row = coverage.frozen_seed("frozen, ridge", 0, tmp_path)["frozen, ridge"]
    for people in ("left out", "new"):
        share, width = row[people]
        assert 0.8 < share <= 1  # one run of 100 people: 90% give or take three times 3 points
        assert width < row["constant"][1]


@pytest.mark.slow
def test_intervals_of_self_trained_and_fused_estimates_hold_90_percent(tmp_path):
    shares = {"fused, ridge": [], "self-trained, ridge": []}
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        for row, figures in coverage.selftrained_seed("", seed, folder).items():
            shares[row].append(figures["new"][0])
    for row, seeds in shares.items():
        assert np.mean(seeds) == pytest.approx(0.9, abs=0.04), row


def test_shares_count_totals_at_the_ends_as_inside():
    import polars as pl

    table = pl.DataFrame({"total": [3.0, 9.0, 4.0], "lower": [3.0, 0.0, 5.0],
                          "upper": [6.0, 9.0, 9.0]})  # fmt: skip
    assert coverage.held(table) == pytest.approx((2 / 3, 16 / 3))
