"""Draws of a simulated teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset


def test_teacher_draws_are_as_reliable_and_as_biased_as_set(tmp_path: Path) -> None:
    config = preset("small", people=1500, teacher_r=0.64)
    simulate_cohort(tmp_path / "c", config)
    draws = pl.read_parquet(tmp_path / "c" / "truth" / "teacher.parquet")
    truth = pl.read_parquet(tmp_path / "c" / "truth" / "phq9_all.parquet")
    truth = truth.filter(pl.col("repeat") == 0).select("person_id", "time", true="total")
    both = draws.join(truth, on=["person_id", "time"])
    assert both.height == truth.height * config.teacher_draws
    assert np.corrcoef(both["total"], both["true"])[0, 1] == pytest.approx(0.64, abs=0.05)
    slope = np.cov(both["total"], both["true"])[0, 1] / both["true"].var()
    assert slope == pytest.approx(0.6, abs=0.06)
    assert (both["total"] - both["true"]).mean() == pytest.approx(2.5, abs=0.5)
    assert (both.select(ITEM_COLUMNS).to_numpy().sum(axis=1) == both["total"].to_numpy()).all()
    error = both.with_columns(error=pl.col("total") - pl.col("true"))
    draw = [error.filter(pl.col("draw") == k)["error"].to_numpy() for k in range(2)]
    assert np.corrcoef(*draw)[0, 1] > 0.5
