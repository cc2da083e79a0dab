"""The gap to the limit: the same labels, the same estimator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.support.cohorts import cohort_of, label_row, turn_rows
from tests.support.predictions import predictions

from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.limit import LIMIT_LABELS, gap_to_limit, limit_labels
from leadline.evaluate.sample import split_samples

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def twin(people: int = 120) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A model, and the limit that says the very same of every label."""
    table = predictions(people, models={"leadline": 0.5})
    table = table.with_columns(median=pl.Series(split_median(table)))
    return table, table.select("label", "distribution")


def split_median(table: pl.DataFrame) -> np.ndarray:
    (sample,) = split_samples(table)
    return sample.models["leadline"].totals[0].median()


def mean_of(table: pl.DataFrame) -> pl.DataFrame:
    distribution = np.array(table["distribution"].to_list())
    return table.with_columns(mean=pl.Series(distribution @ np.arange(28)))


def test_a_model_that_says_what_the_limit_says_has_no_gap() -> None:
    table, limit = twin()
    (sample,) = split_samples(mean_of(table))
    gap = gap_to_limit(sample, limit.sample(fraction=1, shuffle=True, seed=1), QUICK)
    assert set(gap.gaps["leadline"]) == {"r", "mae", "rmse", "crps", "auc_10"}
    for score, difference in gap.gaps["leadline"].items():
        assert difference == pytest.approx(0, abs=1e-6), score
    assert gap.explained["leadline"] == pytest.approx(1)
    assert gap.beaten["leadline"] == []


def test_only_labels_that_both_speak_of_are_compared() -> None:
    table, limit = twin()
    (sample,) = split_samples(mean_of(table))
    strangers = limit[100:].with_columns(pl.col("label") + 5000)
    gap = gap_to_limit(sample, pl.concat([limit[20:100], strangers]), QUICK)
    assert gap.figures["labels"] == gap.figures["people"] == 80
    assert gap.gaps["leadline"]["mae"] == pytest.approx(0, abs=1e-6)
    # on all 120 labels the model's MAE is another one
    (whole,) = (np.abs(one - sample.gold).mean() for one in sample.models["leadline"].median)
    assert gap.figures["mae"] != pytest.approx(whole, abs=1e-3)
    assert gap_to_limit(sample, strangers, QUICK) is None
    assert gap_to_limit(sample, None, QUICK) is None


def test_a_model_that_is_better_than_the_limit_is_named() -> None:
    table, limit = twin(200)
    (sample,) = split_samples(mean_of(table))
    known = sample.models["leadline"]
    near = known.mean + 0.6 * (sample.gold - known.mean)
    leaking = replace(sample, models={"leadline": replace(known, mean=near, median=near)})
    gap = gap_to_limit(leaking, limit, QUICK)
    assert {"mae", "rmse", "r"} <= set(gap.beaten["leadline"])
    assert gap.gaps["leadline"]["mae"] < 0


def test_a_few_people_beat_no_limit() -> None:
    table, limit = twin(30)
    (sample,) = split_samples(mean_of(table))
    known = sample.models["leadline"]
    exact = replace(known, mean=sample.gold[None, :], median=sample.gold[None, :])
    gap = gap_to_limit(replace(sample, models={"leadline": exact}), limit, QUICK)
    assert gap.beaten["leadline"] == []


def test_each_person_has_it_for_their_last_phq9(tmp_path) -> None:
    turns = [row for name in "abc" for row in turn_rows(name, [("user", 0)])]
    labels = [label_row("a", 9, 7), label_row("a", 2, 4), label_row("b", 3, 5),
              label_row("b", 8, 2, "phq2"), label_row("c", 1, 9)]  # fmt: skip
    cohort = replace(cohort_of(turns, labels), path=tmp_path)
    assert limit_labels(cohort) is None
    (tmp_path / LIMIT_LABELS).parent.mkdir()
    flat = [1 / 28] * 28
    rows = {"person_id": ["a", "b", "c"], "total": [7.0, 5.0, 3.0], "distribution": [flat] * 3}
    pl.DataFrame(rows).write_parquet(tmp_path / LIMIT_LABELS)
    found = limit_labels(cohort)
    assert found["label"].to_list() == [0, 2]  # c's is of another total: not the same PHQ-9
    assert found.columns == ["label", "distribution"]


def test_a_cohort_in_memory_has_none() -> None:
    assert limit_labels(cohort_of([], [])) is None
