"""The simulator's teacher, and what the clients share."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from tests.support.teacher_cohort import add_truth
from tests.teacher.test_label import make_cohort, texts

from leadline.cohort.config import WindowConfig
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.teacher.audit import audit
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_model import Observations, fit, posterior
from leadline.teacher.label_table import read_labels

START = datetime(2025, 3, 1, tzinfo=UTC)


def test_labels_are_the_simulated_draws_at_the_nearest_time(tmp_path):
    cohort = make_cohort(tmp_path / "c", ["same words"] * 7, locked=2)
    add_truth(cohort, 7)
    report = label_cohort(cohort, tmp_path / "l", LabelConfig(teacher="simulated", draws=3))
    labels = read_labels(tmp_path / "l").sort("person_id", "draw")
    assert report["states"]["done"] == labels.height == 15
    assert labels["total"].to_list() == [float(n + draw) for n in range(5) for draw in range(3)]
    assert labels["item_9"].to_list() == [(n + draw) % 4 for n in range(5) for draw in range(3)]
    assert labels["model"].unique().to_list() == ["simulated"]
    assert report["usage"]["spent_usd"] == 0


def test_the_whole_course_on_a_simulated_cohort(tmp_path):
    """Label, audit and label model find what the simulator built into its teacher."""
    cohort = simulate_cohort(tmp_path / "c", preset("small", people=700, gold=350, locked=80))
    report = label_cohort(tmp_path / "c", tmp_path / "l", LabelConfig(who="all", draws=3))
    labels = read_labels(tmp_path / "l")
    locked = set(cohort.people.filter(pl.col("locked"))["person_id"])
    assert not locked & set(labels["person_id"])
    assert report["people"] == 700 - 80
    assert report["states"]["failed"] == 0
    found = audit(labels, cohort, WindowConfig(), groups=["gender"])["simulated"]
    low, high = found["total"]["slope"]["interval"]
    assert low < 0.6 < high + 0.1
    assert found["total"]["bias"]["value"] > 1.0
    assert 0.5 < found["reliability"]["icc"] < 1.0
    gold = label_readings(cohort, WindowConfig()).filter(~pl.col("locked"))
    last = labels.pivot("draw", index=["person_id", "last"], values="total").sort(
        "person_id", "last"
    )
    rows = last.unique("person_id", keep="last", maintain_order=True).join(
        gold.select("person_id", "last", gold="total"), on=["person_id", "last"], how="left"
    )
    draws = rows.select("0", "1", "2").to_numpy()
    assert draws.shape == (620, 3)
    observed = Observations(rows["gold"].to_numpy(), (draws,), ("simulated",))
    assert np.isfinite(observed.gold).sum() == 350
    believed = posterior(fit(observed), observed).mean
    truth = pl.read_parquet(tmp_path / "c" / "truth" / "phq9_all.parquet")
    hidden = (
        rows.with_columns(believed=believed, raw=observed.means[:, 0])
        .filter(np.isnan(observed.gold))
        .join(truth.filter(pl.col("repeat") == 0).unique("person_id", keep="last"), on="person_id")
    )
    assert hidden.height > 100
    errors = hidden.select(
        (pl.col("believed") - pl.col("total")).abs().mean().alias("believed"),
        (pl.col("raw") - pl.col("total")).abs().mean().alias("raw"),
    ).row(0, named=True)
    assert errors["believed"] < errors["raw"]


def test_totals_are_kept_within_the_scale_and_missing_draws_fail(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    add_truth(cohort, 3, draws=2, total=lambda n, draw: 40 if draw else -5)
    report = label_cohort(cohort, tmp_path / "l", LabelConfig(teacher="simulated", draws=3))
    assert report["states"]["failed"] == 3 * 1 + 3  # third draws, and a person without any
    assert report["errors"] == {"no simulated answer": 3, "no such draw": 3}
    assert set(read_labels(tmp_path / "l")["total"]) == {0.0, 27.0}


def test_a_cohort_without_simulated_teacher_is_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3))
    with pytest.raises(LeadlineError, match="no simulated teacher"):
        label_cohort(cohort, tmp_path / "l", LabelConfig())
    table = add_truth(cohort, 3)
    table.drop("draw").write_parquet(cohort / "truth" / "teacher.parquet")
    with pytest.raises(LeadlineError, match="lacks the columns draw"):
        label_cohort(cohort, tmp_path / "l", LabelConfig())


def test_the_simulated_teacher_of_another_version_is_asked_again(tmp_path):
    cohort = make_cohort(tmp_path / "c", ["same words"] * 7, locked=2)
    add_truth(cohort, 7)
    settings = LabelConfig(teacher="simulated", draws=3)
    label_cohort(cohort, tmp_path / "l", settings)
    before = read_labels(tmp_path / "l")
    with sqlite3.connect(tmp_path / "l" / "requests.sqlite") as store:
        other = "UPDATE requests SET reply = (SELECT reply FROM requests WHERE id = 1)"
        assert store.execute(other).rowcount == 15
        store.execute("DELETE FROM meta WHERE name LIKE 'code that asked%'")  # an earlier version
    assert label_cohort(cohort, tmp_path / "l", settings)["labels"] == 15
    assert read_labels(tmp_path / "l").equals(before)
