"""A run on disk: results.json from its artefacts, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.support.evaluated import QUICK, hash_again, make_run
from tests.support.kills import kill_at, steps_of
from tests.support.predictions import predictions

from leadline.artefact import files_of, read_manifest, sha256, write_json
from leadline.cohort.store import write_cohort
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.evaluate.further import write_further
from leadline.evaluate.limit import LIMIT_FILE, LIMIT_LABELS
from leadline.evaluate.run_results import evaluate_run, own_estimates, read_results
from leadline.tables import PEOPLE, PHQ9, TURNS


def make_cohort(path: Path, table: pl.DataFrame, **more: Any) -> Path:
    labels = table.unique("label").sort("label")
    phq9 = labels.select(
        "person_id",
        "time",
        "total",
        pl.col("total").alias("raw_total"),
        *(pl.lit(None, dtype=pl.Int8).alias(f"item_{n}") for n in range(1, 10)),
        "instrument",
        pl.lit(False).alias("prorated"),
    )
    people = labels.select("person_id", (pl.col("split") == "locked").alias("locked")).unique()
    write_cohort(
        path,
        pl.DataFrame(schema=TURNS),
        phq9.select(*PHQ9),
        people.select(*PEOPLE),
        command="import",
        settings={},
        inputs={},
        **more,
    )
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    models = {"leadline": 0.5, "tf-idf <b>": 1.0, "constant": None}
    table = predictions(80, labels=2, models=models, repeats=2)
    facts = {
        "simulated": True,
        "training": {"pseudolabels": "none", "folds": 5},
        "limit": {"r": 0.9, "mae": 2.4},
        "selection": [{"reader": "a & b", "mae": 3.9, "chosen": True}],
    }
    run = make_run(tmp_path_factory.mktemp("runs") / "run", table, **facts)
    evaluate_run(run, settings=QUICK)
    return run


def test_results_on_disk_are_strict_json_with_the_hash_of_what_they_rest_on(finished) -> None:
    text = (finished / "results.json").read_text()
    assert "NaN" not in text
    results = json.loads(text)
    assert len(results["files"]["predictions.parquet"]) == 64
    assert results["run"]["training"]["pseudolabels"] == "none"


def test_cohort_confirms_the_labels_and_lends_its_limit(tmp_path) -> None:
    table = predictions(40)
    run = make_run(tmp_path / "run", table)
    cohort = make_cohort(tmp_path / "cohort", table, limit={"r": 0.87}, simulated=True)
    results = evaluate_run(run, cohort, QUICK)
    assert results["sets"][0]["limit"] is None
    assert results["simulated"] is True
    rows = table.filter(pl.col("model") == "leadline")
    (cohort / "truth").mkdir()
    rows.select("person_id", "total", "distribution").write_parquet(cohort / LIMIT_LABELS)
    (one,) = evaluate_run(run, cohort, QUICK)["sets"]
    assert one["limit"]["labels"] == 40
    leadline = one["models"]["leadline"]
    gap = leadline["scores"]["mae"]["value"] - one["limit"]["mae"]
    assert leadline["explainable"]["gap_to_limit"]["mae"] == pytest.approx(gap)
    rows[:30].select("label", "distribution").write_parquet(run / LIMIT_FILE)
    hash_again(run, LIMIT_FILE)
    assert evaluate_run(run, settings=QUICK)["sets"][0]["limit"]["labels"] == 30


def test_labels_that_the_cohort_does_not_hold_are_refused(tmp_path) -> None:
    table = predictions(40)
    cohort = make_cohort(tmp_path / "cohort", table)
    moved = table.with_columns((pl.col("total") + 1).clip(0, 27))
    run = make_run(tmp_path / "run", moved)
    with pytest.raises(LeadlineError, match="not gold labels of this cohort"):
        evaluate_run(run, cohort, QUICK)
    assert not (run / "results.json").exists()


def test_person_locked_in_the_cohort_only_is_refused(tmp_path) -> None:
    table = predictions(40)
    cohort = make_cohort(tmp_path / "cohort", table.with_columns(split=pl.lit("locked")))
    run = make_run(tmp_path / "run", table)
    with pytest.raises(LeadlineError, match="40 people are locked in the cohort"):
        evaluate_run(run, cohort, QUICK)


def test_unfinished_changed_or_missing_artefacts_are_refused(tmp_path) -> None:
    with pytest.raises(LeadlineError, match="no run directory"):
        evaluate_run(tmp_path / "nowhere")
    run = make_run(tmp_path / "run", predictions(30), files={"predictions.parquet": "0" * 64})
    with pytest.raises(LeadlineError, match="SHA-256 differs"):
        evaluate_run(run, settings=QUICK)
    with pytest.raises(LeadlineError, match="not evaluated yet"):
        read_results(run)
    (run / "predictions.parquet").write_bytes(b"not parquet")
    hash_again(run, "predictions.parquet")
    with pytest.raises(LeadlineError, match="cannot be read"):
        evaluate_run(run, settings=QUICK)
    (run / "predictions.parquet").unlink()
    with pytest.raises(LeadlineError, match="no such table"):
        evaluate_run(run, settings=QUICK)
    (run / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        evaluate_run(run, settings=QUICK)


def forge(run: Path, mae: float = 0.01) -> None:
    results = json.loads((run / "results.json").read_text())
    results["sets"][0]["models"]["leadline"]["scores"]["mae"]["value"] = mae
    write_json(run / "results.json", results)


def test_results_are_bound_to_the_run_and_forged_ones_are_refused(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(40))
    results = evaluate_run(run, settings=QUICK)
    assert read_results(run) == json.loads(json.dumps(results))
    assert files_of(read_manifest(run, "run"))["results.json"] == sha256(run / "results.json")
    forge(run)
    with pytest.raises(LeadlineError, match="not the one that was written") as caught:
        read_results(run)
    assert caught.value.file == run / "results.json"
    assert "leadline evaluate" in caught.value.remedy
    evaluate_run(run, settings=QUICK)  # which makes them anew from the predictions
    assert read_results(run) == json.loads(json.dumps(results))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]


def test_results_of_before_are_read_with_a_warning(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(40))
    evaluate_run(run, settings=QUICK)
    manifest = read_manifest(run, "run")
    del manifest["files"]["results.json"]
    write_json(run / "manifest.json", manifest)
    with pytest.warns(LeadlineWarning, match="has no hash of results.json"):
        read_results(run)
    write_json(run / "manifest.json", {**manifest, "files": {}})
    with pytest.warns(LeadlineWarning, match="has no hash of predictions.parquet"):
        evaluate_run(run, settings=QUICK)


def test_a_kill_while_results_are_written_leaves_the_old_or_the_new(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(20))
    evaluate_run(run, settings=QUICK)
    old = read_results(run)
    other = replace(QUICK, seed=5)
    count = steps_of(lambda: evaluate_run(run, settings=other))
    new = read_results(run)
    assert old != new
    for step in range(count):
        evaluate_run(run, settings=QUICK)
        kill_at(step, lambda: evaluate_run(run, settings=other))
        assert read_results(run) in (old, new), step
        evaluate_run(run, settings=other)
        assert read_results(run) == new
        assert not [path.name for path in run.iterdir() if path.name.startswith(".")], step


def test_estimates_of_another_run_are_refused(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(20))
    table = pl.read_parquet(run / "estimates.parquet")
    model = sha256(run / "predictions.parquet")  # any file will do
    (run / "checkpoint").mkdir()
    assert own_estimates(run).height == table.height
    (run / "checkpoint" / "model.json").write_bytes((run / "predictions.parquet").read_bytes())
    with pytest.raises(LeadlineError, match="estimates of another run"):
        own_estimates(run)
    table.with_columns(model_id=pl.lit(model[:16])).write_parquet(run / "estimates.parquet")
    with pytest.raises(LeadlineError, match="not the one that was written"):
        own_estimates(run)
    hash_again(run, "estimates.parquet")
    assert own_estimates(run).height == table.height
    spoilt = pl.when(pl.int_range(pl.len()) == 4).then(np.nan).otherwise("mean").alias("mean")
    table.with_columns(spoilt).write_parquet(run / "estimates.parquet")
    hash_again(run, "estimates.parquet")
    with pytest.raises(LeadlineError, match="not finite") as caught:
        own_estimates(run)
    assert (caught.value.file, caught.value.row) == (run / "estimates.parquet", 5)


@pytest.mark.parametrize(
    ("column", "value"),
    [("mean", pl.lit(np.nan)), ("median", pl.lit(np.inf)),
     ("distribution", pl.lit([np.nan] * 28)), ("upper", pl.lit(np.nan))],
)  # fmt: skip
@pytest.mark.parametrize("split", ["out-of-fold", "locked"])
def test_predictions_that_are_none_are_refused_by_file_and_row(
    tmp_path, split, column, value
) -> None:
    here = pl.int_range(pl.len()) == 6
    table = predictions(40, split=split)
    spoilt = table.with_columns(pl.when(here).then(value).otherwise(column).alias(column))
    if split == "locked":
        run = make_run(tmp_path / "run", predictions(40))
        write_further(run, split, spoilt, {})
        file = run / "predictions-locked.parquet"
    else:
        run = make_run(tmp_path / "run", spoilt)
        file = run / "predictions.parquet"
    with pytest.raises(LeadlineError) as caught:
        evaluate_run(run, settings=QUICK)
    assert (caught.value.file, caught.value.row) == (file, 7)
    assert not (run / "results.json").exists()
