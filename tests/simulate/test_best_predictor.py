"""The Bayes predictor: against exact enumeration, and calibrated on what the model draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadline.artefact import MANIFEST
from leadline.errors import LeadlineError
from leadline.simulate.best_predictor import (
    Effort,
    bayes_limit,
    summary,
)
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset


def test_the_limit_is_written_beside_the_truth(tmp_path: Path) -> None:
    cohort = simulate_cohort(tmp_path / "c", preset("small", people=80, gold=30, locked=30))
    entry = bayes_limit(tmp_path / "c", effort=Effort(200), contributions=1)
    manifest = json.loads((tmp_path / "c" / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["limit"] == entry
    assert manifest["settings"] == cohort.manifest["settings"]
    assert entry["people"] == 30
    assert 0.4 < entry["r"] <= 1
    turns = pl.read_parquet(tmp_path / "c" / "truth" / "limit.parquet")
    locked = cohort.people.filter("locked")["person_id"]
    user = cohort.turns.filter(
        pl.col("role") == "user", pl.col("person_id").is_in(locked.implode())
    )
    assert turns.height == user.height
    for column in ("conversation_id", "turn", "time"):
        assert turns[column].to_list() == user[column].to_list()
    sums = np.array(turns["distribution"].to_list()).sum(axis=1)
    assert sums == pytest.approx(np.ones(turns.height))
    assert 0 < turns["contribution"].drop_nulls().len() < turns.height
    labels = pl.read_parquet(tmp_path / "c" / "truth" / "limit_labels.parquet")
    given = cohort.phq9.filter(pl.col("person_id").is_in(locked.implode()))
    final = given.group_by("person_id", maintain_order=True).last()
    assert labels["total"].to_list() == final["total"].to_list()


def test_the_limit_of_people_who_were_not_simulated_is_refused(tmp_path: Path) -> None:
    simulate_cohort(tmp_path / "c", preset("small", people=40, gold=20, locked=10))
    path = tmp_path / "c" / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "simulated": False}), encoding="utf-8")
    with pytest.raises(LeadlineError, match="simulated cohorts only"):
        bayes_limit(tmp_path / "c")


def test_a_cohort_of_another_version_is_refused(tmp_path: Path) -> None:
    simulate_cohort(tmp_path / "c", preset("small", people=40, gold=20, locked=10))
    path = tmp_path / "c" / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["settings"]["seed"] = 9
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(LeadlineError, match="another version"):
        bayes_limit(tmp_path / "c")


def test_summary_of_a_certain_and_right_prediction_is_perfect() -> None:
    total = np.array([3.0, 12.0, 17.0, 22.0])
    result = summary(np.eye(28)[total.astype(int)], total)
    assert result["r"] == pytest.approx(1)
    assert result["mae"] == result["rmse"] == result["crps"] == 0
    assert result["auc_10"] == result["auc_20"] == 1
    assert result["coverage_90"] == 1


def test_crps_of_a_flat_prediction_is_what_arithmetic_says() -> None:
    flat = np.full((2, 28), 1 / 28)
    steps = np.arange(1, 29) / 28
    by_hand = (steps[:10] ** 2).sum() + ((1 - steps[10:]) ** 2).sum()
    result = summary(np.concatenate([flat[:1], np.eye(28)[[3]]]), np.array([10.0, 3.0]))
    assert result["crps"] == pytest.approx(by_hand / 2)
