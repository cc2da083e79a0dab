"""Parameters from a run: of people whom its models never saw, and never of the locked ones."""

import polars as pl
import pytest

from leadline.errors import LeadlineError
from leadline.monitor.parameters import run_histories, run_parameters
from leadline.monitor.statespace import CourseParameters


def test_histories_are_of_labelled_people_who_are_not_locked(monitor_run):
    histories = run_histories(monitor_run)
    predictions = pl.read_parquet(monitor_run / "predictions.parquet")
    mine = predictions.filter((pl.col("model") == "leadline") & (pl.col("split") == "out-of-fold"))
    assert len(histories) == mine["person_id"].n_unique()
    totals = sorted(one.total for history in histories for one in history.answers)
    assert totals == sorted(mine.unique(["person_id", "label"])["total"].to_list())
    estimates = pl.read_parquet(monitor_run / "estimates.parquet")
    names = mine["person_id"].unique()
    expected = estimates.filter(pl.col("person_id").is_in(names.to_list())).height
    assert sum(len(history.estimates) for history in histories) == expected
    assert all(one.variance > 0 for history in histories for one in history.estimates)


def test_a_locked_person_is_left_alone(monitor_run, tmp_path):
    predictions = pl.read_parquet(monitor_run / "predictions.parquet")
    first = predictions["person_id"][0]
    locked = predictions.with_columns(
        split=pl.when(pl.col("person_id") == first).then(pl.lit("locked")).otherwise("split")
    )
    locked.write_parquet(tmp_path / "predictions.parquet")
    pl.read_parquet(monitor_run / "estimates.parquet").write_parquet(tmp_path / "estimates.parquet")
    assert len(run_histories(tmp_path)) == len(run_histories(monitor_run)) - 1


def test_few_people_leave_the_defaults(monitor_run):
    assert run_parameters(monitor_run) == CourseParameters()


def test_a_run_whose_tables_are_gone_is_refused(tmp_path):
    with pytest.raises(LeadlineError, match="cannot be read"):
        run_histories(tmp_path)
