"""A run held against PHQ-9s that came after its training data."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.support.evaluated import hash_again

from leadline.cohort.store import read_cohort, write_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.run_results import evaluate_run
from leadline.report.run_report import report_run
from leadline.runs.prospective import evaluate_later, is_other_cohort
from leadline.runs.train import train_run

QUICK = EvaluateConfig(resamples=100, curve_resamples=100)
FILE = "predictions-prospective.parquet"


def written(folder, cohort):
    write_cohort(folder, cohort.turns, cohort.phq9, cohort.people, command="import",
                 settings={}, inputs={}, overwrite=True)  # fmt: skip
    return folder


def later_people(cohort, names, days, prefix=""):
    """What these people say and answer again so many days later, as themselves or as others."""
    mine = pl.col("person_id").is_in(names)
    moved = pl.col("time") + timedelta(days=days)
    who = pl.col("person_id").str.replace("^", prefix)
    conversation = pl.col("conversation_id").str.replace("^", f"{prefix}later-")
    turns = cohort.turns.filter(mine).with_columns(who, conversation, moved)
    phq9 = cohort.phq9.filter(mine).with_columns(who, moved)
    people = cohort.people.filter(mine).with_columns(who, pl.lit(False).alias("locked"))
    return turns, phq9, people


@pytest.fixture(scope="module")
def course(simulated, quick, home, tmp_path_factory):
    """A cohort, a run on it, and a newer cohort with later PHQ-9s of its people and of others."""
    folder = tmp_path_factory.mktemp("course")
    old = read_cohort(written(folder / "old", simulated))
    train_run(old, folder / "run", quick, home=home)
    labelled = old.phq9["person_id"].unique(maintain_order=True).to_list()
    names = [n for n in labelled if n not in old.locked_ids][:20] + sorted(old.locked_ids)[:3]
    again = later_people(old, names, 400)
    others = later_people(old, names[:15], 500, "new-")
    backfilled = later_people(old, names[:4], -1, "old-")
    newer = replace(
        old,
        turns=pl.concat([old.turns, again[0], others[0], backfilled[0]]).sort(
            "person_id", maintain_order=True
        ),
        # the labels of others first, so that no label keeps its row
        phq9=pl.concat([others[1], backfilled[1], old.phq9, again[1]]),
        people=pl.concat([others[2], backfilled[2], old.people]),
    )
    return folder, old, newer, names


@pytest.fixture
def run(course, tmp_path):
    return shutil.copytree(course[0] / "run", tmp_path / "run")


def own(run):
    table = pl.read_parquet(run / FILE)
    return table.filter(pl.col("model") == "leadline").sort("person_id", "time")


def test_only_labels_after_the_training_data_are_evaluated(course, run, home, tmp_path):
    _, old, newer, names = course
    end = max(old.turns["time"].max(), old.phq9["time"].max())
    facts = evaluate_later(run, written(tmp_path / "newer", newer), home=home)
    table = own(run)
    assert set(table["split"]) == {"prospective"}
    assert table["time"].min() > end
    known = {name for name in names if name not in old.locked_ids}
    new = {f"new-{name}" for name in names[:15]}
    assert set(table["person_id"]) == known | new
    assert (facts["known_people"], facts["new_people"]) == (20, 15)
    assert facts["labels"] == table.height
    assert facts["not_later"] >= 4, "of the people who came late with old answers"
    assert facts["locked"] > 0
    joined = table.join(newer.phq9.with_row_index("label").cast({"label": pl.Int64}), on="label")
    assert (joined["person_id"] == joined["person_id_right"]).all()
    assert (joined["total"] == joined["total_right"]).all()


def test_the_set_is_called_prospective_in_results_and_report(course, run, home, tmp_path):
    before = evaluate_run(run, settings=QUICK)
    facts = evaluate_later(run, written(tmp_path / "newer", course[2]), home=home)
    results = evaluate_run(run, settings=QUICK)
    later = {part["split"]: part for part in results["sets"]}
    assert set(later) == {"prospective", "out-of-fold"}
    assert later["out-of-fold"] == before["sets"][0]
    assert later["prospective"]["people"] == 35
    assert set(later["prospective"]["models"]) == {"leadline", "constant", "last PHQ-9"}
    assert later["prospective"]["limit"] is None
    assert results["further"]["prospective"]["after"] == facts["after"]
    page = report_run(run).read_text()
    assert "Prospective: PHQ-9s that came after the training data" in page
    assert "20 people who were trained on" in page
    assert "15 new people" in page


def test_nobody_is_estimated_by_a_model_that_saw_them(course, quick, home, tmp_path):
    """Their earlier answers, changed before training, change nothing that is said of them later."""
    folder, old, newer, names = course
    person = names[0]
    changed = old.phq9.with_columns(
        pl.when(pl.col("person_id") == person)
        .then(27.0 - pl.col("total"))
        .otherwise(pl.col("total"))
        .alias("total")
    )
    again = written(tmp_path / "old", replace(old, phq9=changed))
    shutil.copy(folder / "old" / "folds.parquet", again / "folds.parquet")
    train_run(read_cohort(again), tmp_path / "changed", quick, home=home)
    same = shutil.copytree(folder / "run", tmp_path / "same")
    path = written(tmp_path / "newer", newer)
    for run in (same, tmp_path / "changed"):
        evaluate_later(run, path, home=home)
    one, other = (own(run) for run in (same, tmp_path / "changed"))
    mine = pl.col("person_id") == person
    np.testing.assert_allclose(one.filter(mine)["mean"], other.filter(mine)["mean"], atol=1e-9)
    assert not np.allclose(one.filter(~mine)["mean"], other.filter(~mine)["mean"], atol=1e-3)


def test_each_estimate_is_as_of_its_time(course, run, home, tmp_path):
    _, _, newer, _ = course
    evaluate_later(run, written(tmp_path / "newer", newer), home=home)
    before = own(run)
    last = newer.phq9.group_by("person_id").agg(pl.col("time").max())
    after = newer.turns.join(last, on="person_id", suffix="_label").group_by("person_id").last()
    after = after.with_columns(
        (pl.col("time_label") + timedelta(minutes=1)).alias("time"),
        pl.lit("hopeless hopeless hopeless").alias("text"),
        pl.lit("user").alias("role"),
        pl.lit("afterwards").alias("conversation_id"),
    ).select(newer.turns.columns)
    turns = pl.concat([newer.turns, after]).sort("person_id", maintain_order=True)
    path = written(tmp_path / "newer", replace(newer, turns=turns))
    evaluate_later(run, path, home=home)
    assert own(run)["mean"].to_list() == pytest.approx(before["mean"].to_list(), abs=1e-9)


def test_the_last_phq9_is_the_one_before_and_new_people_get_the_mean(course, run, home, tmp_path):
    _, _, newer, _ = course
    evaluate_later(run, written(tmp_path / "newer", newer), home=home)
    table = pl.read_parquet(run / FILE)
    carried = table.filter(pl.col("model") == "last PHQ-9")
    constant = table.filter(pl.col("model") == "constant")["mean"].unique()
    gold = pl.read_parquet(run / "predictions.parquet").unique("label")["total"]
    assert constant.to_list() == pytest.approx([gold.mean()])
    for row in carried.iter_rows(named=True):
        earlier = newer.phq9.filter(
            (pl.col("person_id") == row["person_id"]) & (pl.col("time") < row["time"])
        ).sort("time")
        expected = earlier["total"][-1] if earlier.height else constant[0]
        assert row["mean"] == pytest.approx(expected)
    assert carried["distribution"].null_count() == carried.height


def test_which_cohort_is_another(course, run, tmp_path):
    folder, _, newer, _ = course
    assert not is_other_cohort(run, folder / "old")
    assert is_other_cohort(run, written(tmp_path / "newer", newer))


def test_a_test_locked_by_time_keeps_later_phq9s_from_training_and_not_from_this(
    course, run, home, tmp_path
):
    _, old, newer, _ = course
    path = written(tmp_path / "newer", newer)
    count = evaluate_later(run, path, home=home)["labels"]
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["locked_test"] = {"cutoff": old.phq9["time"].max().isoformat()}
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert evaluate_later(run, path, home=home)["labels"] == count


def test_without_later_phq9s_or_dates_there_is_nothing_to_evaluate(course, run, home):
    folder, *_ = course
    with pytest.raises(LeadlineError, match="No PHQ-9 with text before it is later") as caught:
        evaluate_later(run, folder / "old", home=home)
    assert caught.value.file == folder / "old"
    assert not (run / FILE).exists()
    manifest = json.loads((run / "manifest.json").read_text())
    until = manifest.pop("seen_until")
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LeadlineError, match=until[:10]):  # as runs of before: from their tables
        evaluate_later(run, folder / "old", home=home)
    for name in ("predictions", "estimates"):
        table = pl.read_parquet(run / f"{name}.parquet")
        never = pl.lit(None, dtype=table.schema["time"]).alias("time")
        table.with_columns(never).write_parquet(run / f"{name}.parquet")
        hash_again(run, f"{name}.parquet")
    with pytest.raises(LeadlineError, match="has a date"):
        evaluate_later(run, folder / "old", home=home)
