"""What a run is evaluated on is what scoring with a teacher delivers."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from leadline.artefact import sha256
from leadline.cohort.config import WindowConfig
from leadline.runs.estimates import run_of_estimates
from leadline.runs.locked_test import open_locked_test
from leadline.scoring.score import score_cohort
from leadline.selftrain.fused import FUSED, TEACHER_ALONE, fused_locked
from leadline.selftrain.fusion import fuse_file

COLUMNS = ("mean", "median", "lower", "upper")


def rows_of(run, model: str, split: str = "out-of-fold") -> pl.DataFrame:
    table = pl.read_parquet(run / "predictions.parquet")
    return table.filter((pl.col("model") == model) & (pl.col("split") == split))


def test_the_evaluated_fused_estimate_is_the_delivered_one(data, finished, tmp_path):
    folder, cohort, *_ = data
    run, _ = finished
    score_cohort(cohort, run, tmp_path / "scores.parquet")
    assert fuse_file(run, tmp_path / "scores.parquet", folder / "labels") > 0
    made_by = run_of_estimates(tmp_path / "scores.parquet")
    assert made_by["labels.parquet"] == sha256(folder / "labels" / "labels.parquet")
    assert made_by["model"] == sha256(run / "checkpoint" / "model.json")
    delivered = pl.read_parquet(tmp_path / "scores.parquet").filter(pl.col("turn") == 1)
    evaluated = rows_of(run, FUSED)
    both = evaluated.join(delivered, on="person_id", suffix="_delivered")
    assert both.height == evaluated.height > 100
    for column in COLUMNS:
        np.testing.assert_allclose(both[column], both[f"{column}_delivered"], rtol=0, atol=1e-9)
    distributions = (both[name].to_list() for name in ("distribution", "distribution_delivered"))
    np.testing.assert_allclose(*(np.array(rows) for rows in distributions), rtol=0, atol=1e-9)


def test_beside_fused_stands_what_the_teacher_alone_says(finished):
    run, _ = finished
    fused, alone, student = (rows_of(run, name) for name in (FUSED, TEACHER_ALONE, "leadline"))
    assert fused["label"].to_list() == alone["label"].to_list()
    mae = {
        name: (table["mean"] - table["total"]).abs().mean()
        for name, table in (("fused", fused), ("alone", alone), ("student", student))
    }
    assert mae["fused"] < min(mae["alone"], mae["student"])
    # Its bias of 2.5 points and its slope of .6 are taken out.
    assert (alone["mean"] - alone["total"]).mean() == pytest.approx(0.0, abs=0.8)
    inside = alone.select(pl.col("total").is_between("lower", "upper").mean()).item()
    assert 0.84 < inside < 0.97


def test_training_fuses_nobody_who_is_locked(data, finished):
    table = pl.read_parquet(finished[0] / "predictions.parquet")
    fused = table.filter(pl.col("model") == "fused")
    own = table.filter(pl.col("model") == "leadline")
    assert fused.select("repeat", "label").equals(own.select("repeat", "label"))
    assert not set(fused["person_id"]) & data[3]
    assert not np.allclose(fused["mean"], own["mean"])


def test_real_locked_people_have_no_ratings_so_their_test_is_the_students(data, finished, tmp_path):
    folder, cohort, *_ = data
    assert not cohort.simulated
    assert fused_locked(finished[0], cohort, None, WindowConfig(), pl.DataFrame()) is None
    run = shutil.copytree(finished[0], tmp_path / "run")
    open_locked_test(run, folder / "cohort", fused=fused_locked)
    models = set(pl.read_parquet(run / "predictions-locked.parquet")["model"])
    assert "fused" not in models
    assert {"gold only", "raw teacher", "round 1", "leadline"} <= models


def test_a_run_without_label_models_fuses_nothing(data, tmp_path):
    assert fused_locked(tmp_path, data[1], None, WindowConfig(), pl.DataFrame()) is None
