"""The table of labels as it is read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.teacher.test_label import make_cohort, texts

from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import UTC_TIME
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels

START = datetime(2025, 3, 1, tzinfo=UTC)


def add_truth(cohort, people, *, draws=3, total=lambda n, draw: n + draw, **change):
    rows = []
    for number in range(people):
        for later, add in ((timedelta(days=-40), 20), (timedelta(hours=1), 0)):
            for draw in range(draws):
                when = START + timedelta(days=number) + later
                items = [(number + draw) % 4] * 9
                person = f"user-{number:04d}-quokka"
                rows.append((person, when, draw, *items, total(number, draw) + add))
    schema = {
        "person_id": pl.String(),
        "time": UTC_TIME,
        "draw": pl.Int16(),
        **{item: pl.Int8() for item in ITEM_COLUMNS},
        "total": pl.Float64(),
        **change,
    }
    (cohort / "truth").mkdir()
    table = pl.DataFrame(rows, schema=schema, orient="row")
    table.write_parquet(cohort / "truth" / "teacher.parquet")
    return table


def test_unfinished_or_malformed_labels_are_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3))
    add_truth(cohort, 3)
    label_cohort(cohort, tmp_path / "l", LabelConfig(limit=1))
    table = read_labels(tmp_path / "l")
    assert table["person_id"].n_unique() == 1
    table.drop("weight").write_parquet(tmp_path / "l" / "labels.parquet")
    with pytest.raises(LeadlineError, match="'weight'"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "labels.parquet").write_bytes(b"no")
    with pytest.raises(LeadlineError, match="cannot be read"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        read_labels(tmp_path / "l")
