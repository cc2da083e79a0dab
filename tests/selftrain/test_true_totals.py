"""The true totals of simulated people."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.runs.config import TrainConfig
from leadline.selftrain.roster import open_roster
from leadline.selftrain.true_totals import ANSWERS, true_totals
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import SimulateConfig


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    path = tmp_path_factory.mktemp("true") / "cohort"
    config = SimulateConfig(people=60, gold=25, locked=10, user_turns=8.0)
    simulate_cohort(path, config)
    cohort = read_cohort(path)
    train = TrainConfig(reader="numbers", adapt="lora", folds=4)
    return cohort, open_roster(cohort, None, None, train, WindowConfig())[0]


def test_everyone_without_gold_and_nobody_else_has_one(simulated):
    cohort, roster = simulated
    totals = true_totals(cohort, roster)
    free = ~roster.has_gold & ~roster.locked
    assert np.isfinite(totals).tolist() == free.tolist()
    truth = pl.read_parquet(cohort.path / ANSWERS).filter(
        (pl.col("repeat") == 0) & ~pl.col("given")
    )
    row = int(np.flatnonzero(free)[0])
    own = truth.filter(pl.col("person_id") == roster.ids[row]).sort("time")
    assert totals[row] == own["total"][-1]


def test_a_cohort_without_its_truth_is_refused(simulated):
    cohort, roster = simulated
    (cohort.path / ANSWERS).rename(cohort.path / "elsewhere")
    with pytest.raises(LeadlineError, match="truth"):
        true_totals(cohort, roster)
    (cohort.path / "elsewhere").rename(cohort.path / ANSWERS)
