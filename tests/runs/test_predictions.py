"""Predictions for whoever a model never saw, as tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import SMALL, cohort_of, label_row, turn_rows
from tests.support.copies import with_copies

from leadline.cohort.config import WindowConfig
from leadline.heads.calibration import Calibrated, Calibration
from leadline.phq9.items import TOTALS
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member
from leadline.runs.labelled import draw_folds, labelled_people
from leadline.runs.predictions import (
    NO_FOLD,
    baseline_predictions,
    ensemble_predictions,
    locked_baselines,
    whole_predictions,
)
from leadline.simulate.cohort import simulate_cohort
from leadline.tables import PREDICTIONS

PLAIN = Calibration(centre=9, stretch=1, half_words=1, widen=1, few_words=1)
WINDOW = WindowConfig(days=0)


class Certain(AdaptedModel):
    """Certain of ``4 * repeat + fold``, which its calibration's centre carries."""

    def estimates(self, people, spans):
        return Calibrated(np.full(len(spans), self.calibration.centre), np.full(len(spans), 1e-3))


def run_of(people, locked, folds, repeats, seed=0):
    """Labelled people, their folds and an ensemble whose members name themselves."""
    rows, labels = [], []
    for number in range(people):
        rows += turn_rows(f"p{number:02d}", [("user", 0.0), ("user", 1.0)])
        labels += [label_row(f"p{number:02d}", at, float(number)) for at in (2, 3)]
    cohort = cohort_of(rows, labels, tuple(f"p{n:02d}" for n in range(locked)))
    config = TrainConfig(reader="numbers", folds=folds, repeats=repeats, seed=seed)
    labelled = labelled_people(cohort, config, WINDOW)
    left_out = draw_folds(cohort, labelled, config)
    members = tuple(
        Member(r, f, Certain(None, Calibration(4.0 * r + f, 1, 1, 1, 1), True))
        for r in range(repeats)
        for f in range(folds)
    )
    return labelled, left_out, Ensemble(members, left_out, None, "mean"), config


@given(
    st.integers(12, 16), st.integers(0, 2), st.integers(2, 4), st.integers(1, 3), st.integers(0, 3)
)
def test_each_label_is_predicted_by_the_one_model_of_the_repeat_that_left_its_person_out(
    people, locked, folds, repeats, seed
):
    labelled, left_out, ensemble, _ = run_of(people, locked, folds, repeats, seed)
    table = ensemble_predictions(ensemble, labelled, None, left_out)
    assert dict(table.schema) == PREDICTIONS
    assert set(table["split"]) == {"out-of-fold"}, "the locked test stays closed"
    out = table
    assert out.height == 2 * (people - locked) * repeats
    assert out.select("repeat", "label").is_unique().all()
    for person, repeat, fold, mean in out.select("person_id", "repeat", "fold", "mean").iter_rows():
        assert fold == left_out[person][repeat]
        assert mean == pytest.approx(4 * repeat + fold)


@given(st.integers(13, 16), st.integers(1, 3), st.integers(2, 3), st.integers(1, 2))
def test_locked_people_are_predicted_once_by_all_models(people, locked, folds, repeats):
    labelled, _, ensemble, _ = run_of(people, locked, folds, repeats)
    rows = np.flatnonzero(labelled.readings["locked"].to_numpy())
    held = whole_predictions(ensemble, labelled, None, rows)
    assert set(held["split"]) == {"locked"}
    assert set(held["person_id"]) == {f"p{n:02d}" for n in range(locked)}
    assert held.height == 2 * locked
    assert set(held["fold"]) == {NO_FOLD}
    assert set(held["repeat"]) == {0}
    everyone = np.mean([4 * r + f for r in range(repeats) for f in range(folds)])
    assert held["mean"].to_list() == pytest.approx([everyone] * held.height)


def test_gold_totals_and_amounts_are_those_of_the_label():
    labelled, left_out, ensemble, _ = run_of(10, 0, 3, 1)
    table = ensemble_predictions(ensemble, labelled, None, left_out, "mine").sort("label")
    gold = labelled.readings.sort("label")
    for column in ("label", "person_id", "time", "total", "instrument", "user_turns", "user_words"):
        assert table[column].to_list() == gold[column].to_list()
    assert set(table["model"]) == {"mine"}
    shapes = np.array(table["distribution"].to_list())
    np.testing.assert_allclose(shapes.sum(axis=1), 1)
    np.testing.assert_allclose(shapes @ np.arange(TOTALS), table["mean"])


def test_baselines_are_predicted_on_the_same_labels_and_folds(home):
    labelled, left_out, ensemble, config = run_of(12, 2, 3, 2)
    own = ensemble_predictions(ensemble, labelled, None, left_out)
    keys = ["repeat", "fold", "split", "person_id", "label"]
    expected = own.select(keys).sort(keys)
    tables = pl.concat(baseline_predictions(labelled, config, left_out, None, home))
    assert "leadline" not in set(tables["model"])
    assert "minilm" not in set(tables["model"]), "it is not on this machine"
    for _, table in tables.group_by("model"):
        assert table.select(keys).sort(keys).equals(expected)


def test_the_constant_of_a_fold_is_the_mean_of_the_others(home):
    """The first baseline tells whether a fold's own labels were left out."""
    labelled, left_out, _, config = run_of(12, 2, 3, 1)
    tables = baseline_predictions(labelled, config, left_out, None, home)
    tables += locked_baselines(labelled, config, left_out, None, home)
    constant = pl.concat(tables).filter(pl.col("model") == "constant")
    assert set(constant["split"]) == {"out-of-fold", "locked"}
    totals = {p: float(p[1:]) for p in left_out}
    for person, fold, mean in constant.select("person_id", "fold", "mean").iter_rows():
        others = [t for p, t in totals.items() if fold == NO_FOLD or left_out[p][0] != fold]
        assert mean == pytest.approx(np.mean(others)), person


@pytest.mark.parametrize("grouped", [True, False])
def test_people_who_are_there_twice_make_no_estimate_better(tmp_path, monkeypatch, grouped):
    config = TrainConfig(reader="numbers", folds=4, repeats=1)
    cohort = simulate_cohort(tmp_path / "c", replace(SMALL, people=90, gold=80, locked=10))
    people = cohort.people.filter(~pl.col("locked"))["person_id"]

    def error(cohort):
        labelled = labelled_people(cohort, config, WINDOW)
        left_out = draw_folds(cohort, labelled, config)
        tables = baseline_predictions(labelled, config, left_out, None, tmp_path)
        table = pl.concat(tables).filter((pl.col("model") == "tf-idf") & pl.col("fold").ge(0))
        originals = table.filter(pl.col("person_id").is_in(people.to_list()))
        return float((originals["median"] - originals["total"]).abs().mean())

    twice = with_copies(cohort, people)
    if not grouped:  # how it was before copies were looked for
        monkeypatch.setattr(type(cohort), "copy_groups", {})
    gain = error(cohort) - error(twice)
    assert gain < 0.3 if grouped else gain > 1


def test_training_tells_nothing_of_locked_people(home):
    labelled, left_out, ensemble, config = run_of(14, 3, 3, 1)
    tables = baseline_predictions(labelled, config, left_out, None, home)
    tables.append(ensemble_predictions(ensemble, labelled, None, left_out))
    locked = {f"p{n:02d}" for n in range(3)}
    assert not locked & set(pl.concat(tables)["person_id"])
