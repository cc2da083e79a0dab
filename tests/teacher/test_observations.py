"""Labels of several teachers as one table of observations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.teacher.test_label import make_cohort, texts

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import UTC_TIME
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels
from leadline.teacher.observations import ratings

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


def test_ratings_line_up_several_teachers_student_and_gold(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(5), locked=0)
    add_truth(cohort, 5, draws=2)
    label_cohort(cohort, tmp_path / "l", LabelConfig(draws=2))
    one = read_labels(tmp_path / "l")
    other = one.filter(pl.col("draw") == 0).with_columns(model=pl.lit("a"), total=pl.lit(1.0))
    keys = ["person_id", "time", "first", "last"]
    readings = one.filter(pl.col("draw") == 0).select(keys).reverse()
    student = readings.head(3).with_columns(mean=pl.int_range(3).cast(pl.Float64))
    gold = label_readings(read_cohort(cohort), WindowConfig())
    rows, seen = ratings(pl.concat([one, other]), gold, student)
    assert rows["person_id"].to_list() == [f"user-{n:04d}-quokka" for n in range(5)]
    assert seen.names == ("a", "simulated", "student")
    assert seen.draws[1].tolist() == [[n, n + 1] for n in range(5)]
    assert seen.draws[0].tolist() == [[1.0]] * 5
    assert seen.draws[2][:, 0] == pytest.approx([np.nan, np.nan, 2, 1, 0], nan_ok=True)
    assert seen.gold == pytest.approx([0, np.nan, 2, np.nan, 4], nan_ok=True)
    alone = ratings(one.clear(), gold, student)[1]
    assert alone.names == ("student",)
    with pytest.raises(LeadlineError, match="two ratings"):
        ratings(pl.concat([one, one]), gold)
    with pytest.raises(LeadlineError, match="nothing to learn"):
        ratings(one.clear(), gold)
