"""Profiles of a run: from training to the disk, of people that no model in question has seen."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.support.evaluated import hash_again

from leadline.artefact import files_of, read_manifest, write_json
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.run_results import evaluate_run
from leadline.heads.design import Design
from leadline.phq9.distribution import Totals
from leadline.phq9.items import ITEM_COLUMNS
from leadline.profiles.item_model import ItemModel
from leadline.readers.anchors import anchor_names
from leadline.runs.checkpoint import load_ensemble, run_identity
from leadline.runs.labelled import labelled_people
from leadline.runs.locked_test import open_locked_test
from leadline.runs.profiles import (
    ITEMS_FILE,
    PROFILES_FILE,
    fit_item_models,
    item_models_of,
    load_item_models,
    profile_table,
    read_item_models,
    symptom_scores,
)
from leadline.runs.train import train_run
from leadline.runs.verify import verify
from leadline.tables import PREDICTIONS, PROFILES

WINDOW = WindowConfig()
QUICK = EvaluateConfig(resamples=100, curve_resamples=100)


@pytest.fixture(scope="module")
def fitted(trained, simulated, quick, home):
    """The run's ensemble, its labelled people with their states, and its item models."""
    ensemble = load_ensemble(trained, home=home)[0]
    labelled = labelled_people(simulated, quick, WINDOW)
    states = ensemble.source.read(labelled.people)
    return ensemble, labelled, states


def own_predictions(run):
    return pl.read_parquet(run / "predictions.parquet").filter(pl.col("model") == "leadline")


def sums(table):
    keys = ["model", "repeat", "label"]
    return table.group_by(keys, maintain_order=True).agg(pl.col("expected").sum())


def test_a_run_whose_phq9s_have_items_has_profiles_that_sum_to_its_totals(trained):
    table = pl.read_parquet(trained / PROFILES_FILE)
    assert dict(table.schema) == PROFILES
    predictions = own_predictions(trained)
    assert table.height == 3 * 9 * predictions.height
    text = sums(table.filter(pl.col("model") != "marginal"))
    both = text.join(predictions.select("repeat", "label", "mean"), on=["repeat", "label"])
    assert both.height == 2 * predictions.height
    assert (both["expected"] - both["mean"]).abs().max() < 1e-9
    gold = table.filter(pl.col("model") == "leadline").group_by("repeat", "label").agg(
        pl.col("answer").sum()
    ).join(predictions, on=["repeat", "label"])  # fmt: skip
    assert (gold["answer"] == gold["total"]).all()
    manifest = read_manifest(trained, "run")
    assert {ITEMS_FILE, PROFILES_FILE} <= set(files_of(manifest))
    assert "PHQ-9s with items a fold" in manifest["training"]["profile of the items"]


def test_what_somebody_answered_has_no_part_in_their_own_profile(fitted, simulated):
    """Answers of a fold dealt out anew change every item model but those that left it out."""
    ensemble, labelled, states = fitted
    before = fit_item_models(simulated, labelled, ensemble, states)
    out = {name for name, folds in ensemble.left_out.items() if folds[0] == 0}
    flipped = pl.when(pl.col("person_id").is_in(list(out)))
    phq9 = simulated.phq9.with_columns(
        flipped.then(3 - pl.col(name)).otherwise(pl.col(name)).cast(pl.Int8).alias(name)
        for name in ITEM_COLUMNS
    )
    after = fit_item_models(replace(simulated, phq9=phq9), labelled, ensemble, states)
    thresholds = [
        {place: model.response.thresholds.tolist() for place, model in items.models.items()}
        for items in (before, after)
    ]
    same = {place for place in thresholds[0] if thresholds[0][place] == thresholds[1][place]}
    assert same == {(0, 0)}
    own = own_profile(before, fitted, out)
    assert (own == own_profile(after, fitted, out)).all()


def own_profile(items, fitted, names):
    """Profiles of these people at a total of 10, by the first repeat."""
    ensemble, labelled, states = fitted
    members = tuple(member for member in ensemble.members if member.repeat == 0)
    spans = [s for s in labelled.spans if labelled.people[s.person].person_id in names]
    totals = Totals(np.eye(28)[[10] * len(spans)])
    speaking = replace(ensemble, members=members)
    return items.profile(speaking, labelled.people, states, spans, totals).chances


def test_totals_are_the_same_with_items_and_without(simulated, quick, home, tmp_path):
    """People with a total only train the head; without items there is no profile."""
    no_answer = [pl.lit(None, dtype=pl.Int8).alias(name) for name in ITEM_COLUMNS]
    third = pl.int_range(pl.len()) % 3 == 0
    some = [pl.when(third).then(None).otherwise(pl.col(name)).alias(name) for name in ITEM_COLUMNS]
    tables = {}
    fast = replace(quick, baselines=False, folds=4)
    for name, change in (("all", []), ("some", some), ("none", no_answer)):
        cohort = replace(simulated, phq9=simulated.phq9.with_columns(change))
        train_run(cohort, tmp_path / name, fast, home=home)
        tables[name] = pl.read_parquet(tmp_path / name / "predictions.parquet")
    assert tables["all"].equals(tables["some"])
    assert tables["all"].equals(tables["none"])
    assert run_identity(tmp_path / "all") == run_identity(tmp_path / "none")
    assert not (tmp_path / "none" / PROFILES_FILE).exists()
    assert not (tmp_path / "none" / ITEMS_FILE).exists()
    assert evaluate_run(tmp_path / "none", settings=QUICK)["profile"] is None
    with pytest.raises(LeadlineError, match="no profile of the items"):
        item_models_of(tmp_path / "none")
    profiles = pl.read_parquet(tmp_path / "some" / PROFILES_FILE)
    unanswered = profiles.filter(pl.col("answer").is_null())
    assert 0 < unanswered.height < profiles.height
    assert profiles["expected"].is_finite().all(), "who gave no items has a profile too"


def test_a_phq8_has_a_profile_of_its_own_eight_items(simulated, quick, home, tmp_path):
    total = pl.sum_horizontal(ITEM_COLUMNS[:8]).cast(pl.Float64)
    phq9 = simulated.phq9.with_columns(
        total.alias("total"), total.alias("raw_total"),
        pl.lit(None, dtype=pl.Int8).alias("item_9"), pl.lit("phq8").alias("instrument"),
    )  # fmt: skip
    config = replace(quick, baselines=False, include_phq8=True)
    train_run(replace(simulated, phq9=phq9), tmp_path / "run", config, home=home)
    table = pl.read_parquet(tmp_path / "run" / PROFILES_FILE)
    assert sorted(set(table["item"])) == list(range(1, 9))
    assert item_models_of(tmp_path / "run").items == 8
    predictions = own_predictions(tmp_path / "run")
    bounded = [np.dot(row, np.minimum(range(28), 24)) for row in predictions["distribution"]]
    both = sums(table.filter(pl.col("model") == "leadline")).join(
        predictions.select("label", pl.Series("bounded", bounded)), on="label"
    )
    assert (both["expected"] - both["bounded"]).abs().max() < 1e-9
    entry = evaluate_run(tmp_path / "run", settings=QUICK)["profile"]["sets"][0]
    assert [item["item"] for item in entry["items"]] == list(range(1, 9))


def test_an_opened_locked_test_has_profiles_too(trained, cohort_path, home, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    closed = evaluate_run(run, settings=QUICK)["profile"]
    assert [entry["split"] for entry in closed["sets"]] == ["out-of-fold"]
    open_locked_test(run, cohort_path, home=home)
    opened = evaluate_run(run, settings=QUICK)["profile"]
    assert [entry["split"] for entry in opened["sets"]] == ["out-of-fold", "locked"]
    assert opened["sets"][0] == closed["sets"][0]
    assert opened["disagreement"] < 1e-9
    assert not [finding for finding in verify(run).findings if finding.state != "matches"]


def test_where_no_model_looks_at_the_text_the_total_alone_decides(fitted, simulated):
    ensemble, labelled, states = fitted
    items = fit_item_models(simulated, labelled, ensemble, states)
    plain = fit_item_models(simulated, labelled, ensemble, None)
    assert not plain.looks_at_text()
    assert plain.scores(ensemble, states, labelled.spans) is None
    for place, model in items.models.items():
        thresholds = plain.models[place].response.thresholds
        assert model.response.thresholds == pytest.approx(thresholds)


def test_text_that_moves_a_profile_leaves_its_sum(fitted, simulated, trained):
    ensemble, labelled, states = fitted
    items = fit_item_models(simulated, labelled, ensemble, states)
    moved = {place: with_weight(model) for place, model in items.models.items()}
    items = replace(items, models=moved)
    table = profile_table(items, ensemble, labelled, states, simulated, own_predictions(trained))
    text, total = (table.filter(pl.col("model") == name) for name in ("leadline", "total only"))
    assert np.abs(text["expected"].to_numpy() - total["expected"].to_numpy()).max() > 0.05
    assert np.abs(sums(text)["expected"] - sums(total)["expected"]).max() < 1e-9


def with_weight(model: ItemModel) -> ItemModel:
    return replace(model, direction=replace(model.direction, weight=0.5))


def test_scores_are_those_of_each_item_in_every_view_and_voice():
    names = anchor_names()
    columns = np.arange(len(names), dtype=float)
    design = Design({}, {"a": columns[None], "b": 100 + columns[None]}, np.ones(1))
    scores = symptom_scores(design, 9)
    voices = [names.index(f"{voice}.low_mood") for voice in ("plain", "broad")]
    assert scores[0, 1].tolist() == [*voices, *(100 + at for at in voices)]
    ninth = [names.index(f"{voice}.self_harm") for voice in ("plain", "broad")]
    assert scores[0, 8, :2].tolist() == ninth
    others = Design({}, {"a": columns[None, :3]}, np.ones(1))
    assert symptom_scores(others, 9) is None


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run, which may be changed."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_of_before_has_no_item_models_and_loads(run, home):
    (run / ITEMS_FILE).unlink()
    (run / PROFILES_FILE).unlink()
    manifest = read_manifest(run, "run")
    files = {name: digest for name, digest in files_of(manifest).items()
             if name not in (ITEMS_FILE, PROFILES_FILE)}  # fmt: skip
    write_json(run / "manifest.json", {**manifest, "files": files})
    assert load_item_models(run) is None
    assert len(load_ensemble(run, home=home)[0].members) == 6
    assert evaluate_run(run, settings=QUICK)["profile"] is None


def test_item_models_that_were_changed_are_refused(run):
    text = (run / ITEMS_FILE).read_text()
    (run / ITEMS_FILE).write_text(text.replace('"people"', '"People"', 1))
    with pytest.raises(LeadlineError, match="not the one that was written"):
        load_item_models(run)


@pytest.mark.parametrize("change", ["no instrument", "no list", "of another size", "twice a word"])
def test_item_models_that_training_cannot_write_are_refused(run, change, tmp_path):
    content = json.loads((run / ITEMS_FILE).read_text())
    if change == "no instrument":
        content["instrument"] = "gad7"
    elif change == "no list":
        content["models"] = 3
    elif change == "of another size":
        content["instrument"] = "phq8"
    else:
        content["models"][1]["repeat"] = "first"
    file = tmp_path / "items.json"
    write_json(file, content)
    with pytest.raises(LeadlineError, match="not as training writes"):
        read_item_models(file)


def test_verify_names_a_forged_profile_whose_hash_was_forged_too(run):
    table = pl.read_parquet(run / PROFILES_FILE)
    table.with_columns(pl.lit(2.5).alias("expected"), pl.lit([1.0]).alias("chances")).write_parquet(
        run / PROFILES_FILE
    )
    content = json.loads((run / ITEMS_FILE).read_text())
    content["models"][0]["sd"] = -1.0
    write_json(run / ITEMS_FILE, content)
    hash_again(run, PROFILES_FILE, ITEMS_FILE)
    wrong = {finding.file for finding in verify(run).findings if finding.state == "wrong"}
    assert wrong == {PROFILES_FILE, ITEMS_FILE}


def test_item_models_of_other_models_are_refused(run):
    content = json.loads((run / ITEMS_FILE).read_text())
    content["models"].pop()
    write_json(run / ITEMS_FILE, content)
    manifest = read_manifest(run, "run")
    files = {name: d for name, d in files_of(manifest).items() if name != ITEMS_FILE}
    write_json(run / "manifest.json", {**manifest, "files": files})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeadlineWarning)
        with pytest.raises(LeadlineError, match="not those of its models"):
            load_item_models(run)


def test_the_columns_of_predictions_are_what_they_were(trained):
    assert dict(own_predictions(trained).schema) == PREDICTIONS
