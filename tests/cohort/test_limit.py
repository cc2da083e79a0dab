"""What the best possible predictor says, put beside the PHQ-9s of the cohort."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from tests.support.cohorts import cohort_of, label_row, turn_rows

from leadline.cohort.limit import LIMIT_LABELS, limit_labels


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
