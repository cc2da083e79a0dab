import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.support.cohorts import some_people
from tests.support.monitored import (
    estimates,
    live_store,
    load,
    scored,
    scorer_of,
    work_off,
)

from leadline.about import NO_LABEL
from leadline.cohort.store import write_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.run_results import evaluate_run
from leadline.export.export import export_run
from leadline.monitor.config import MonitorConfig
from leadline.monitor.start import start_store
from leadline.report.run_report import report_run
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.estimates import run_of_estimates
from leadline.runs.manifest import saw_no_label
from leadline.runs.prior import GUESSED, PriorConfig, load_prior, prior_run
from leadline.runs.prospective import evaluate_later, is_other_cohort
from leadline.runs.train import train_run
from leadline.runs.verify import verify
from leadline.scoring.score import score_cohort
from leadline.store.vault import KeyConfig


@pytest.fixture(scope="module")
def prior(simulated, sentence_reader, home, tmp_path_factory):
    """A run without labels, scaled by people whose PHQ-9s were taken away."""
    folder = tmp_path_factory.mktemp("prior")
    unlabelled = replace(simulated, phq9=simulated.phq9.clear())
    prior_run(folder / "run", PriorConfig(reader=str(sentence_reader)), on=unlabelled, home=home)
    return folder / "run"


@pytest.fixture
def people(simulated, tmp_path):
    names = sorted(set(simulated.phq9["person_id"]) - simulated.locked_ids)[:12]
    some = some_people(simulated, set(names))
    how = {"command": "test", "settings": {}, "inputs": {}}
    write_cohort(tmp_path / "c", some.turns, some.phq9, some.people, **how)
    return tmp_path / "c"


def test_it_scores_a_cohort_and_the_file_says_that_no_label_was_seen(prior, people, home, tmp_path):
    counts = score_cohort(people, prior, tmp_path / "e.parquet", home=home)
    table = pl.read_parquet(tmp_path / "e.parquet")
    assert counts["people"] == 12
    assert table.height == counts["estimates"]
    assert (table["upper"] - table["lower"]).mean() > 12  # wide
    assert run_of_estimates(tmp_path / "e.parquet")["labels_seen"] == "0"
    assert verify(tmp_path / "e.parquet").wrong == ()
    assert verify(prior).wrong == ()


def test_when_labels_come_it_is_held_against_all_of_them_and_says_so(prior, people, home):
    with pytest.raises(LeadlineError, match="no label"):
        evaluate_run(prior)
    assert is_other_cohort(prior, people)
    facts = evaluate_later(prior, people, home=home)
    assert facts["after"] is None
    assert facts["new_people"] == 12
    results = evaluate_run(prior)
    assert NO_LABEL in results["notice"]
    assert {"leadline", "constant"} <= set(results["sets"][0]["models"])
    assert "no label" in json.dumps(results["further"])
    assert "No label seen" in report_run(prior).read_text(encoding="utf-8")


def test_a_store_follows_people_by_it_message_by_message(prior, people, tmp_path):
    place = str(tmp_path / "store.sqlite")
    facts = start_store(place, prior, KeyConfig(), MonitorConfig(), keep_texts=True)
    assert facts["no_label_seen"]
    store = live_store("sqlite", tmp_path / "live", prior)
    load(store, people)
    scorer = scorer_of(store, prior, tmp_path)
    assert scorer.running.no_label_seen
    work_off(scorer)
    expected = scored(people, prior, tmp_path)
    names = expected["person_id"].unique(maintain_order=True)
    means = [row["mean"] for name in names for row in estimates(store, name)]
    # Anchor scores of a reader of random weights hardly differ, so the ranking magnifies float32.
    np.testing.assert_allclose(means, expected["mean"], atol=1e-3)


def test_it_does_not_leave_leadline(prior, tmp_path):
    with pytest.raises(LeadlineError, match="no label"):
        export_run(prior, tmp_path / "out")


def test_phq9s_and_locked_people_have_no_part_in_the_scale(
    prior, simulated, sentence_reader, home, tmp_path
):
    prior_run(tmp_path / "run", PriorConfig(reader=str(sentence_reader)), on=simulated, home=home)
    first, second = (load_prior(run, home=home)[0] for run in (prior, tmp_path / "run"))
    np.testing.assert_array_equal(first.knots, second.knots)


def test_without_a_cohort_the_scale_is_a_guess_and_is_said_to_be(sentence_reader, home, tmp_path):
    manifest = prior_run(tmp_path / "run", PriorConfig(reader=str(sentence_reader)), home=home)
    assert "guess" in manifest["training"]["scale of the ranking"]
    assert manifest["labels_seen"] == 0
    assert not manifest["simulated"]
    ensemble, _ = load_ensemble(tmp_path / "run", home=home)
    assert ensemble.members[0].model.calibration.widen == GUESSED


def test_too_few_people_set_no_scale(simulated, sentence_reader, home, tmp_path):
    few = some_people(simulated, set(simulated.people["person_id"][:5]))
    with pytest.raises(LeadlineError, match="too few"):
        prior_run(tmp_path / "r", PriorConfig(reader=str(sentence_reader)), on=few, home=home)


def test_a_prior_that_a_killed_command_had_finished_takes_its_place(
    home, tmp_path, sentence_reader
):
    out, config = tmp_path / "run", PriorConfig(reader=str(sentence_reader))
    manifest = prior_run(out, config, home=home)
    shutil.copytree(out, tmp_path / ".run.begun")
    again = prior_run(out, config, home=home, overwrite=True)
    assert again["files"] == manifest["files"], "it is not made again"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(LeadlineError, match="This run is finished") as refused:
        prior_run(out, config, home=home)
    assert "--overwrite" in refused.value.remedy
    assert not (out / "begun.json").exists()


def test_a_run_with_labels_is_no_prior(trained, home):
    with pytest.raises(LeadlineError, match="not one of leadline prior"):
        load_prior(trained, home=home)
    assert not saw_no_label(trained)


def test_a_training_with_few_labels_starts_from_it(
    prior, simulated, sentence_reader, home, tmp_path
):
    names = sorted(set(simulated.phq9["person_id"]) - simulated.locked_ids)[:10]
    few = some_people(simulated, set(names))
    config = TrainConfig(
        reader=str(sentence_reader), folds=2, inner_folds=2, baselines=False, prior=str(prior)
    )
    manifest = train_run(few, tmp_path / "run", config, home=home)
    tried = {row["candidate"] for row in manifest["selection"]}
    assert "started, views joined, anchored" in tried
    assert manifest["training"]["started from"] == "a run of leadline prior"
    assert not saw_no_label(tmp_path / "run")
    assert verify(tmp_path / "run").wrong == ()
    load_ensemble(tmp_path / "run", home=home)


def test_a_prior_of_other_readers_is_no_start(prior, simulated, home, language_paths, tmp_path):
    other = str(language_paths["llama"])
    config = TrainConfig(reader=other, layers=("1",), folds=2, prior=str(prior))
    with pytest.raises(LeadlineError, match="other readers"):
        train_run(simulated, tmp_path / "run", config, home=home)


@pytest.mark.parametrize("more", [{"fit": "ridge"}, {"head": "scalar"}, {"adapt": "lora"}])
def test_what_does_not_go_with_a_start_is_refused(more):
    with pytest.raises(LeadlineError, match=r"--prior goes with"):
        TrainConfig(prior="run", **more)
