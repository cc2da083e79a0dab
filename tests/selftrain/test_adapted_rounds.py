"""Rounds with an adapted reader, on tiny people: what is made, proved, recorded, and refused."""

from __future__ import annotations

import polars as pl
import pytest
from tests.support.adapted_rounds import go
from tests.support.number_models import NumberTrainer

from leadline.errors import LeadlineError
from leadline.evaluate.run_results import evaluate_run
from leadline.report.run_report import report_run
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.locked_test import open_locked_test
from leadline.scoring.score import score_cohort
from leadline.selftrain.ancestry import check_ancestry, read_ancestry
from leadline.selftrain.fused import fused_locked


@pytest.mark.parametrize("scheme", ["paper", "crossfit"])
def test_an_adapted_run_is_an_ordinary_run_with_the_ablation_as_models(
    people, trainer, tmp_path, scheme
):
    _, cohort, locked = people
    said = []
    manifest = go(people, tmp_path / "run", scheme=scheme, say=said.append)
    assert f"Scheme {scheme}" in said
    assert manifest["selftraining"]["scheme"] == scheme
    assert manifest["selftraining"]["kept"] == 2
    table = pl.read_parquet(tmp_path / "run" / "predictions.parquet")
    expected = {"gold only", "raw teacher", "label model, teacher alone", "round 1", "round 2"}
    assert expected | {"leadline", "fused"} <= set(table["model"])
    fits = 10 if scheme == "paper" else 47
    assert len(trainer.calls) == len(set(trainer.calls)) == fits
    assert manifest["selftraining"]["cost"]["fits"] == fits
    left_out = load_ensemble(tmp_path / "run")[0].left_out
    relabels = scheme == "paper"
    assert check_ancestry(tmp_path / "run", locked, left_out, relabels=relabels) > 0
    results = evaluate_run(tmp_path / "run", cohort.path)
    assert results["shown_model"] == "leadline"
    assert "round 2" in report_run(tmp_path / "run").read_text()
    assert not (tmp_path / "run" / "nodes").exists()
    assert not set(table["person_id"]) & locked
    open_locked_test(tmp_path / "run", cohort.path, fused=fused_locked)
    opened = pl.read_parquet(tmp_path / "run" / "predictions-locked.parquet")
    assert expected <= set(opened["model"])
    assert set(opened["person_id"]) == locked


def test_a_run_killed_in_a_round_goes_on_with_the_same_numbers(people, number_fits, tmp_path):
    whole = go(people, tmp_path / "whole", scheme="paper")
    number_fits(NumberTrainer(most=3))
    with pytest.raises(KeyboardInterrupt):
        go(people, tmp_path / "run", scheme="paper")
    trainer = number_fits(NumberTrainer())
    again = go(people, tmp_path / "run", scheme="paper")
    assert len(trainer.calls) == 10 - 3
    assert again["selftraining"]["rounds"] == whole["selftraining"]["rounds"]
    one, other = (pl.read_parquet(tmp_path / x / "predictions.parquet") for x in ("whole", "run"))
    assert one.equals(other)


def test_under_paper_the_development_set_alone_is_estimated(people, trainer, tmp_path):
    _, cohort, locked = people
    manifest = go(people, tmp_path / "run", scheme="paper", rounds=1)
    ensemble, _ = load_ensemble(tmp_path / "run")
    aside = {person for person in ensemble.left_out if ensemble.members_for(person)}
    assert len(aside) == 40
    for readings in trainer.handed.values():
        assert len({reading.span.person for reading in readings}) in (160, 360)
    table = pl.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert set(table.filter(pl.col("split") == "out-of-fold")["person_id"]) == aside
    assert "optimistic" in manifest["training"]["development set"]
    score_cohort(cohort.path, tmp_path / "run", tmp_path / "estimates.parquet")
    scored = set(pl.read_parquet(tmp_path / "estimates.parquet")["person_id"])
    assert scored == aside | locked  # of the others no model is without their label


def test_ensembles_of_fewer_members_are_shown(people, trainer, tmp_path):
    go(people, tmp_path / "run", scheme="paper", rounds=1, members=4, ablation=False)
    models = set(pl.read_parquet(tmp_path / "run" / "predictions.parquet")["model"])
    assert {"ensemble of 1", "ensemble of 3"} <= models
    assert "ensemble of 5" not in models


def test_a_plan_over_budget_is_refused_before_a_fit_and_another_named(people, trainer, tmp_path):
    with pytest.raises(LeadlineError, match="--budget-hours") as refusal:
        go(people, tmp_path / "run", budget_hours=1e-4)
    assert "use a smaller reader" in refusal.value.remedy
    assert not trainer.calls
    assert not (tmp_path / "run").exists()


def test_a_development_set_that_is_too_small_is_refused(people, trainer, tmp_path):
    train = TrainConfig(reader="numbers", adapt="lora", folds=8, baselines=False)
    with pytest.raises(LeadlineError, match="holds 25 people"):
        go(people, tmp_path / "run", scheme="paper", train=train)
    assert not trainer.calls


@pytest.mark.slow
def test_rounds_that_folds_do_not_allow_are_not_tried(people, trainer, tmp_path):
    train = TrainConfig(reader="numbers", adapt="lora", folds=4, baselines=False)
    manifest = go(people, tmp_path / "run", train=train, rounds=3, ablation=False, fuse=False)
    rounds = manifest["selftraining"]["rounds"]
    assert [entry["round"] for entry in rounds] == [0, 1, 2, 3]
    assert "allow 2 rounds" in rounds[-1]["reasons"][0]


@pytest.mark.parametrize("scheme", ["paper", pytest.param("crossfit", marks=pytest.mark.slow)])
def test_a_round_that_gains_nothing_leaves_gold_alone(people, trainer, tmp_path, scheme):
    manifest = go(people, tmp_path / "run", scheme=scheme, min_gain=50.0, ablation=False)
    assert manifest["selftraining"]["kept"] == 0
    assert len([r for r in manifest["selftraining"]["rounds"] if "mae" in r]) == 2
    table = pl.read_parquet(tmp_path / "run" / "predictions.parquet")
    mean = {name: part["mean"].to_list() for (name,), part in table.group_by("model")}
    assert mean["leadline"] == mean["gold only"] != mean["round 1"]


@pytest.mark.parametrize("scheme", ["paper", pytest.param("crossfit", marks=pytest.mark.slow)])
def test_student_alone(people, trainer, tmp_path, scheme):
    manifest = go(people, tmp_path / "run", scheme=scheme, labels=None)
    assert manifest["training"]["teachers"] == "none: the student alone"
    assert not (tmp_path / "run" / "fusion.json").exists()
    assert "raw teacher" not in set(
        pl.read_parquet(tmp_path / "run" / "predictions.parquet")["model"]
    )


def test_the_ledger_of_the_papers_scheme_says_that_labels_feed_back(people, trainer, tmp_path):
    *_, locked = people
    go(people, tmp_path / "run", scheme="paper", ablation=False)
    ledger = read_ancestry(tmp_path / "run", locked, relabels=True)
    second = next(batch for name, batch in ledger.batches.items() if "-posterior-2-" in name)
    assert second.labelled & ledger.ancestors(second.name)
    assert not ledger.ancestors(second.name) & locked
