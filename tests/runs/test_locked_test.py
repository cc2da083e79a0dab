"""The locked test of a run: closed until it is opened by name, and every opening on record."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from leadline.artefact import read_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.lock import drop_lock, known_history, lock_cohort
from leadline.cohort.relock import relock_cohort
from leadline.cohort.store import read_cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.run_results import evaluate_run
from leadline.report.run_report import report_run
from leadline.runs.checkpoint import run_identity
from leadline.runs.locked_test import open_locked_test
from leadline.runs.train import train_run

QUICK = EvaluateConfig(resamples=100, curve_resamples=100)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run, which may be changed."""
    return shutil.copytree(trained, tmp_path / "run")


def splits(results):
    return [part["split"] for part in results["sets"]]


def test_a_run_shows_its_locked_test_only_once_it_was_opened(run, cohort_path, home):
    facts = read_manifest(run, "run")["training"]
    assert facts["locked test when this run was trained"] == "was not opened yet"
    closed = evaluate_run(run, cohort_path, QUICK)
    assert splits(closed) == ["out-of-fold"]
    assert "locked" not in json.dumps(closed["sets"])
    assert not known_history(read_cohort(cohort_path)).openings()
    summary = open_locked_test(run, cohort_path, home=home)
    assert [one["model"] for one in summary["openings"]] == [run_identity(run)]
    table = pl.read_parquet(run / "predictions-locked.parquet")
    cohort = read_cohort(cohort_path)
    locked_labels = label_readings(cohort, WindowConfig()).filter("locked")["label"]
    models = {"leadline", "constant", "length", "assistant only", "tf-idf"}
    assert set(table["model"]) == models
    for _, part in table.group_by("model"):
        assert sorted(part["label"]) == sorted(locked_labels)
    assert set(table["split"]) == {"locked"}
    results = evaluate_run(run, settings=QUICK)
    assert splits(results) == ["out-of-fold", "locked"], "so small a test does not lead"
    assert results["sets"][0] == closed["sets"][0], "what is out of fold is as it was"
    page = report_run(run).read_text()
    assert "This locked test has been opened once, by run (" in page


def test_the_report_says_by_which_runs_a_test_was_opened(run, cohort_path, home, quick, tmp_path):
    open_locked_test(run, cohort_path, home=home)
    evaluate_run(run, settings=QUICK)
    other = tmp_path / "other"
    train_run(read_cohort(cohort_path), other, quick, home=home)
    facts = read_manifest(other, "run")["training"]
    text = facts["locked test when this run was trained"]
    assert text == "had been opened 1 times for other runs"
    for _ in range(2):
        open_locked_test(other, cohort_path, home=home)
    evaluate_run(run, cohort_path, QUICK)
    text = report_run(run).read_text()
    assert "opened 3 times, by run (" in text
    assert f"other ({run_identity(other)[:8]}, 2 times)" in text
    assert "used it up" in text


def test_an_opening_is_recorded_before_anything_can_be_looked_at(
    run, cohort_path, home, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("leadline.runs.locked_test.write_further", killed)
    with pytest.raises(KeyboardInterrupt):
        open_locked_test(run, cohort_path, home=home)
    assert len(known_history(read_cohort(cohort_path)).openings()) == 1
    assert not list(run.glob("*locked*"))


def test_a_cohort_that_was_changed_or_has_no_test_is_refused_and_nothing_recorded(
    run, cohort_path, home, simulated, tmp_path
):
    drop_lock(cohort_path, "why")
    lock_cohort(cohort_path, share=0.2, seed=9, by="severity")
    with pytest.raises(LeadlineError, match="was not trained on this cohort") as caught:
        open_locked_test(run, cohort_path, home=home)
    assert "people.parquet" in str(caught.value)
    assert not known_history(read_cohort(cohort_path)).openings()
    drop_lock(cohort_path, "why")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["inputs"] = read_cohort(cohort_path).manifest["files"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LeadlineError, match="no test to open"):
        open_locked_test(run, cohort_path, home=home)


def test_locked_people_are_estimated_by_every_model_of_the_run(run, cohort_path, home):
    from leadline.scoring.score import score_cohort

    open_locked_test(run, cohort_path, home=home)
    own = pl.read_parquet(run / "predictions-locked.parquet").filter(pl.col("model") == "leadline")
    with pytest.raises(LeadlineError, match="is read for it"):
        score_cohort(read_cohort(cohort_path), run, run / "scores.parquet", home=home)
    score_cohort(read_cohort(cohort_path), run, run.parent / "scores.parquet", home=home)
    scores = pl.read_parquet(run.parent / "scores.parquet").group_by("person_id").last()
    last = own.sort("time").group_by("person_id").last()
    both = last.join(scores, on="person_id", suffix="_delivered")
    assert both.height == 10
    same = np.isclose(both["mean"], both["mean_delivered"], atol=1e-9)
    assert same.mean() > 0.5, "wherever the window of the last turn is that of the PHQ-9"


def test_a_run_of_an_earlier_version_keeps_working_and_says_what_its_training_did(
    run, cohort_path, home
):
    open_locked_test(run, cohort_path, home=home)
    locked = pl.read_parquet(run / "predictions-locked.parquet")
    for name in ("predictions-locked.parquet", "further.json"):
        (run / name).unlink()
    both = pl.concat([pl.read_parquet(run / "predictions.parquet"), locked])
    both.write_parquet(run / "predictions.parquet")
    manifest = read_manifest(run, "run")
    del manifest["files"]["predictions.parquet"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    del manifest["files"]["further.json"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(LeadlineWarning, match="no hash of predictions.parquet"):
        results = evaluate_run(run, cohort_path, QUICK)
    assert splits(results) == ["out-of-fold", "locked"]
    assert "was opened by its training" in results["further"]["locked"]["text"]
    before = len(known_history(read_cohort(cohort_path)).openings())
    assert before == 1, "to evaluate is not to open"
    with pytest.warns(LeadlineWarning, match="no hash of predictions.parquet"):
        open_locked_test(run, cohort_path, home=home)
    with pytest.warns(LeadlineWarning, match="no hash of predictions.parquet"):
        again = evaluate_run(run, cohort_path, QUICK)
    assert again["sets"] == results["sets"]
    assert "opened 2 times" in again["further"]["locked"]["text"]


def test_folds_stay_when_people_are_added(cohort_path, quick, home, tmp_path):
    """Runs on a cohort and on a larger one leave everyone they share out of the same fold."""
    whole = read_cohort(cohort_path)
    late = set(whole.phq9["person_id"].unique().sort()[::4]) - whole.locked_ids
    kept = ~pl.col("person_id").is_in(list(late))
    whole.phq9.filter(kept).write_parquet(cohort_path / "phq9.parquet")
    relock_cohort(cohort_path)
    folds = []
    for name in ("few", "all"):
        train_run(read_cohort(cohort_path), tmp_path / name, quick, home=home)
        ledger = pl.read_parquet(tmp_path / name / "ledger.parquet").filter(pl.col("fold") >= 0)
        folds.append(dict(ledger.select("person_id", "fold").iter_rows()))
        whole.phq9.write_parquet(cohort_path / "phq9.parquet")
        relock_cohort(cohort_path)
    few, every = folds
    assert late == set(every) - set(few)
    assert {name: every[name] for name in few} == few
