"""Estimates and what a teacher said, made one."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from tests.support.evaluated import hash_again
from tests.support.people import make_cohort, make_labels
from tests.support.rounds import SIZES, TRAIN

from leadline.artefact import MANIFEST, read_json, read_manifest, write_json
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.heads.calibration import WIDTH_LEVELS, conformal_widths, width_at
from leadline.phq9.distribution import Totals
from leadline.scoring.score import score_cohort
from leadline.selftrain.fusion import (
    FUSION_FILE,
    Fusion,
    check_fusion,
    fuse_estimates,
    fuse_file,
    fused_widths,
    load_fusion,
)
from leadline.teacher.label import window_identity
from leadline.teacher.label_table import read_labels


def test_scoring_fuses_where_a_teacher_spoke_and_nowhere_else(data, finished, tmp_path):
    _, cohort, truth, locked = data
    run, _ = finished
    score_cohort(cohort, run, tmp_path / "scores.parquet")
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    make_labels(tmp_path / "all", truth, set(), noise=1.0)
    labels = read_labels(tmp_path / "all").filter(pl.col("person_id") != "p0000")
    fused, count = fuse_estimates(run, scores, labels)
    assert count == len(truth) - 1
    assert fused.schema == scores.schema
    for table in (scores, fused):
        added = table.with_columns(pl.col("increment").cum_sum().over("person_id"))
        start = (added["mean"] - added["increment"]).to_numpy()
        centre = (
            table.with_columns(start=start)
            .group_by("person_id")
            .agg(pl.col("start").max() - pl.col("start").min())
        )
        assert centre["start"].max() < 1e-9, "increments add up"
    same = fused["mean"] == scores["mean"]
    untouched = fused.filter(same)
    assert set(untouched.filter(pl.col("turn") == 1)["person_id"]) <= {"p0000"}
    ends = scores.with_columns(fused=fused["mean"]).filter(
        (pl.col("turn") == 1) & pl.col("person_id").is_in(list(locked))
    )
    true = np.array([truth[name] for name in ends["person_id"]])
    assert np.abs(ends["fused"] - true).mean() < np.abs(ends["mean"] - true).mean() - 0.2
    assert (fused["lower"] <= fused["median"]).all()
    assert (fused["median"] <= fused["upper"]).all()
    assert set(load_fusion(run).models) == {(0, fold) for fold in range(TRAIN.folds)}


def test_a_file_of_estimates_is_fused_in_place_as_a_table_is(data, finished, tmp_path):
    _, cohort, truth, _ = data
    run, _ = finished
    path = tmp_path / "scores.parquet"
    score_cohort(cohort, run, path)
    scores = pl.read_parquet(path)
    make_labels(tmp_path / "all", truth, set(), noise=1.0, cohort=cohort)
    check_fusion(run, tmp_path / "all", cohort.path)
    expected, count = fuse_estimates(run, scores, read_labels(tmp_path / "all"))
    assert fuse_file(run, path, tmp_path / "all") == count == len(truth)
    assert pl.read_parquet(path).equals(expected)
    assert not expected["mean"].equals(scores["mean"])
    assert sorted(found.name for found in tmp_path.iterdir()) == ["all", "scores.parquet"]
    with pytest.raises(LeadlineError, match="no label models"):
        check_fusion(tmp_path, tmp_path / "all", cohort.path)


def test_fusing_with_another_teacher_or_run_is_a_users_error(data, finished, tmp_path):
    folder, *_ = data
    scores = pl.read_parquet(finished[0] / "estimates.parquet")
    strange = read_labels(folder / "labels").with_columns(model=pl.lit("someone else"))
    with pytest.raises(LeadlineError, match="None of these labels"):
        fuse_estimates(finished[0], scores, strange)
    with pytest.raises(LeadlineError, match="no label models"):
        fuse_estimates(tmp_path, scores, strange)


def test_labels_of_another_cohort_or_window_are_not_fused(data, finished, tmp_path):
    folder, cohort, truth, _ = data
    check_fusion(finished[0], folder / "labels", cohort.path)
    make_cohort(tmp_path / "other", **SIZES, seed=1)
    with pytest.raises(LeadlineError, match="other turns"):
        check_fusion(finished[0], folder / "labels", tmp_path / "other")
    make_labels(tmp_path / "l", truth, set(), cohort=cohort)
    manifest = read_manifest(tmp_path / "l", "labels")
    masked = window_identity(WindowConfig(mask_questionnaire=True))
    write_json(tmp_path / "l" / MANIFEST, manifest | {"window_identity": masked})
    with pytest.raises(LeadlineError, match="masked otherwise"):
        check_fusion(finished[0], tmp_path / "l", cohort.path)


def test_widths_come_from_people_of_the_other_folds_of_the_same_repeat():
    random = np.random.default_rng(0)
    ranks = {(r, f): random.random(20) ** (r + 1) for r in range(2) for f in range(3)}
    widths = fused_widths(ranks, ranks)
    others = np.concatenate([ranks[1, 0], ranks[1, 2]])
    assert widths[1, 1] == conformal_widths(others)
    new, mine = Fusion({}, widths).width([None, {0: 2, 1: 0}], 0.8)
    each = {key: width_at(0.8, levels) for key, levels in widths.items()}
    assert new == pytest.approx(np.mean(list(each.values())))
    assert mine == pytest.approx((each[0, 2] + each[1, 0]) / 2)


def test_the_interval_of_a_fused_estimate_is_conformal(data, finished, tmp_path):
    """The posterior's own interval says what the model believes, not what held."""
    _, cohort, truth, locked = data
    run, _ = finished
    score_cohort(cohort, run, tmp_path / "scores.parquet")
    make_labels(tmp_path / "all", truth, set(), noise=3.0)
    labels = read_labels(tmp_path / "all")
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    fused, _ = fuse_estimates(run, scores, labels)
    fusion = load_fusion(run)
    assert all(levels != WIDTH_LEVELS for levels in fusion.widths.values())
    rows = fused.filter((pl.col("turn") == 1) & pl.col("person_id").is_in(list(locked)))
    width = fusion.width([None])[0]
    lower, upper = Totals.of_rows(rows["distribution"]).delivered_interval(width)
    np.testing.assert_allclose(rows["lower"], lower)
    np.testing.assert_allclose(rows["upper"], upper)
    evaluated = pl.read_parquet(run / "predictions.parquet").filter(
        (pl.col("model") == "fused") & (pl.col("split") == "out-of-fold")
    )
    hit = pl.col("total").is_between(pl.col("lower") - 1e-9, pl.col("upper") + 1e-9)
    assert 0.84 < evaluated.select(hit.mean()).item() < 0.97
    gold = rows.join(cohort.phq9.select("person_id", "total"), on="person_id")
    inside = (gold["lower"] <= gold["total"]) & (gold["total"] <= gold["upper"])
    assert inside.mean() > 0.84, f"of {gold.height}"


def test_a_run_of_before_is_fused_with_nominal_widths(finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    content = read_json(run / FUSION_FILE, format=1, remedy="", what="", problem="")
    for entry in content["models"]:
        del entry["widths"]
    write_json(run / FUSION_FILE, content)
    with pytest.raises(LeadlineError, match="not the one that was written"):
        load_fusion(run)
    hash_again(run, FUSION_FILE)
    assert set(load_fusion(run).widths.values()) == {WIDTH_LEVELS}
