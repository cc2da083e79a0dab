"""Who takes part, and whose labels are used."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.support.people import NumberSource, make_cohort, make_labels
from tests.support.rounds import SIZES, TRAIN, go

from leadline.artefact import MANIFEST, write_json
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.runs.labelled import draw_folds, keep_drawn_folds, labelled_people
from leadline.selftrain.roster import load_labels, open_roster, permuted_gold
from leadline.teacher.label_table import LABELS_FILE, read_labels
from leadline.teacher.selection import cohort_readings

WINDOW = WindowConfig()


@pytest.fixture(scope="module")
def roster(data):
    folder, cohort, *_ = data
    return open_roster(cohort, read_labels(folder / "labels"), NumberSource(), TRAIN, WINDOW)[0]


def test_people_with_gold_come_first_and_everyone_once(data, roster):
    _, cohort, truth, _ = data
    assert len(roster.ids) == len(set(roster.ids)) == len(truth)
    with_gold = set(cohort.phq9["person_id"])
    count = len(with_gold)
    assert set(roster.ids[:count]) == with_gold
    assert roster.has_gold.tolist() == [True] * count + [False] * (len(truth) - count)
    assert len(truth) - count == SIZES["unlabelled"]
    assert roster.unlabelled.person.tolist() == list(range(count, len(truth)))


def test_the_last_reading_of_a_person_is_where_the_roster_says(roster):
    for row in np.flatnonzero(roster.has_gold):
        at = roster.last[row]
        assert roster.gold.person[at] == row
        assert roster.gold.final[at]
        later = np.flatnonzero((roster.gold.person == row) & roster.gold.final)
        assert at == later.max()
    assert [span.person for span in roster.spans] == list(range(len(roster.ids)))
    assert [span.last for span in roster.spans] == [len(p.user) - 1 for p in roster.people]


def test_locked_people_have_no_fold_no_rating_and_are_left_out_of_nothing(data, roster):
    locked = np.flatnonzero(roster.locked)
    assert {roster.ids[row] for row in locked} == set(data[3])
    assert (roster.folds[:, locked] == -1).all()
    assert (np.delete(roster.folds, locked, axis=1) >= 0).all()
    for table in roster.raters.draws:
        assert np.isnan(table[locked]).all()
    assert not set(roster.left_out()) & set(data[3])


def test_folds_are_of_one_size_with_gold_and_without(roster):
    for has in (True, False):
        rows = np.flatnonzero((roster.has_gold == has) & ~roster.locked)
        sizes = np.bincount(roster.folds[0, rows], minlength=TRAIN.folds)
        assert sizes.max() - sizes.min() <= 1


def test_each_draw_stands_at_its_person(data, roster):
    labels = read_labels(data[0] / "labels")
    (name,), (table,) = roster.raters.names, roster.raters.draws
    assert name == "oracle"
    expected = {(p, d): t for p, d, t in labels.select("person_id", "draw", "total").iter_rows()}
    for row, person in enumerate(roster.ids):
        for draw in range(table.shape[1]):
            if (person, draw) in expected:
                assert table[row, draw] == expected[person, draw]
            else:
                assert np.isnan(table[row, draw])


def test_ratings_of_an_earlier_reading_are_not_used(data):
    folder, cohort, *_ = data
    labels = read_labels(folder / "labels")
    earlier = labels.with_columns(last=pl.lit(0, dtype=pl.Int32))
    shut = open_roster(cohort, earlier, NumberSource(), TRAIN, WINDOW)[0]
    assert all(np.isnan(table).all() for table in shut.raters.draws)
    assert not any(shut.raters.example_people)


def test_people_shown_as_examples_are_kept_with_whom_they_were_shown_for(data):
    folder, cohort, *_ = data
    labels = read_labels(folder / "labels")
    shown = labels.with_columns(
        ancestors=pl.when(pl.col("person_id") != "p0000")
        .then(pl.lit(["p0000"], dtype=pl.List(pl.String())))
        .otherwise(pl.col("ancestors"))
    )
    found = open_roster(cohort, shown, NumberSource(), TRAIN, WINDOW)[0]
    first = found.ids.index("p0000")
    for row, person in enumerate(found.ids):
        rated = not found.locked[row] and person != "p0000"
        assert found.raters.example_people[row] == (frozenset({first}) if rated else frozenset())


def test_without_labels_there_are_no_raters(data):
    assert load_labels(None, data[1], WINDOW) is None
    found = open_roster(data[1], None, NumberSource(), TRAIN, WINDOW)[0]
    assert (found.raters.names, found.raters.draws) == ((), ())


@pytest.mark.parametrize("share", [0.001, 0.1, 1.0])
def test_permuted_gold_deals_the_totals_of_some_open_people_out_anew(roster, share):
    changed, chosen, given = permuted_gold(roster, share, seed=3)
    able = np.flatnonzero(roster.has_gold & ~roster.locked)
    assert set(chosen) <= set(able)
    assert len(chosen) == max(2, round(share * len(able)))
    true = roster.gold.total[roster.last[chosen]]
    assert sorted(given) == sorted(true), "the same totals, of others"
    for row in range(len(roster.ids)):
        mine = roster.gold.person == row
        if row in chosen:
            assert set(changed.gold.total[mine]) == {given[list(chosen).index(row)]}
        else:
            np.testing.assert_array_equal(changed.gold.total[mine], roster.gold.total[mine])
    again = permuted_gold(roster, share, seed=3)
    np.testing.assert_array_equal(again[2], given)


def test_labels_of_locked_people_are_refused(data, tmp_path):
    _, cohort, truth, _ = data
    make_labels(tmp_path / "labels", truth, set(), cohort=cohort)
    with pytest.raises(LeadlineError, match="locked test people"):
        go(data, tmp_path / "run", labels=tmp_path / "labels")


def test_few_shot_examples_blank_the_labels_of_chains_that_must_not_see_them(data, tmp_path):
    """With one example person every fold's chain but that person's keeps its labels."""
    _, cohort, truth, locked = data
    example = ("p0000",)
    make_labels(tmp_path / "labels", truth, set(locked), ancestors=example, cohort=cohort)
    with pytest.raises(LeadlineError, match="labelled people were rated by: oracle"):
        go(data, tmp_path / "run", labels=tmp_path / "labels", ablation=False, canary=0.0)


def test_a_cohort_without_anyone_to_label_is_refused(tmp_path):
    make_cohort(tmp_path / "cohort", gold=60, unlabelled=0, locked=10)
    cohort = read_cohort(tmp_path / "cohort")
    with pytest.raises(LeadlineError, match="nobody to pseudolabel"):
        go((tmp_path, cohort), tmp_path / "run", labels=None)


def test_a_teacher_rates_the_readings_whose_ratings_a_student_takes(data):
    _, cohort, *_ = data
    window = WindowConfig()
    roster, _ = open_roster(cohort, None, NumberSource(), TRAIN, window)
    taken = [
        (roster.ids[span.person], span.first, span.last)
        for span, open_ in zip(roster.spans, ~roster.locked, strict=True)
        if open_
    ]
    for who, has_gold in (("unlabelled", False), ("labelled", True), ("all", None)):
        rated = {(r.person_id, r.first, r.last) for r in cohort_readings(cohort, window, who)}
        ids = {name for name, gold in zip(roster.ids, roster.has_gold, strict=True)
               if has_gold in (None, gold)}  # fmt: skip
        assert rated == {key for key in taken if key[0] in ids}
        assert rated


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (WindowConfig(days=0), "another window.*days 14.0 there and 0 here.*\n.*--days"),
        (WindowConfig(mask_questionnaire=True), "mask_questionnaire False there and True here"),
    ],
)
def test_labels_of_another_window_or_unmasked_text_are_refused(data, window, words):
    folder, cohort, *_ = data
    assert load_labels(folder / "labels", cohort, WINDOW) is not None
    with pytest.raises(LeadlineError, match=words):
        load_labels(folder / "labels", cohort, window)


def test_labels_of_other_turns_are_refused_by_selftrain(data, tmp_path):
    """The same people and the same numbers of turns, but other words."""
    folder, *_ = data
    make_cohort(tmp_path / "cohort", **SIZES, seed=1)
    other = read_cohort(tmp_path / "cohort")
    with pytest.raises(LeadlineError, match=r"other turns.*\n.*leadline label"):
        go((folder, other), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_that_do_not_say_what_they_are_of_are_refused(data, tmp_path):
    _, cohort, truth, locked = data
    make_labels(tmp_path / "labels", truth, set(locked))
    with pytest.raises(LeadlineError, match="other turns"):
        load_labels(tmp_path / "labels", cohort, WINDOW)
    make_labels(tmp_path / "masked", truth, set(locked), cohort=cohort)
    manifest = json.loads((tmp_path / "masked" / MANIFEST).read_text())
    del manifest["window_identity"]  # as before it was named
    write_json(tmp_path / "masked" / MANIFEST, manifest)
    assert load_labels(tmp_path / "masked", cohort, WINDOW) is not None, "nothing was masked"
    manifest["settings"]["window"]["mask_questionnaire"] = True
    write_json(tmp_path / "masked" / MANIFEST, manifest)
    with pytest.raises(LeadlineError, match="did not record how it masked"):
        load_labels(tmp_path / "masked", cohort, WindowConfig(mask_questionnaire=True))


def test_a_labels_table_changed_by_hand_is_refused(data, tmp_path):
    _, cohort, truth, locked = data
    make_labels(tmp_path / "labels", truth, set(locked), cohort=cohort)
    table = read_labels(tmp_path / "labels").with_columns(pl.col("total") * 0)
    table.write_parquet(tmp_path / "labels" / LABELS_FILE)
    with pytest.raises(LeadlineError, match="not the one that was written"):
        load_labels(tmp_path / "labels", cohort, WINDOW)


def test_one_person_under_two_ids_has_one_fold_with_gold_and_without(data, monkeypatch):
    cohort = data[1]
    free = sorted(set(cohort.people["person_id"]) - set(cohort.phq9["person_id"]))
    gold = sorted(set(cohort.phq9["person_id"]) - data[3])
    shut = sorted(data[3])[0]
    groups = {gold[0]: gold[0], gold[1]: gold[0], free[0]: gold[0], free[1]: free[1]}
    groups |= {free[2]: free[1], shut: free[3], free[3]: free[3], gold[2]: free[3]}
    monkeypatch.setattr(Cohort, "copy_groups", groups)
    cohort = replace(cohort)  # nothing found before is kept
    found = open_roster(cohort, None, NumberSource(), TRAIN, WINDOW)[0]
    rows = {name: row for row, name in enumerate(found.ids)}
    fold = {name: found.folds[:, row].tolist() for name, row in rows.items()}
    assert fold[gold[0]] == fold[gold[1]] == fold[free[0]]
    assert fold[free[1]] == fold[free[2]]
    nobody = [-1] * TRAIN.repeats
    assert fold[shut] == fold[free[3]] == fold[gold[2]] == nobody
    assert sum(folds == nobody for folds in fold.values()) == len(data[3]) + 2
    assert not {shut, free[3], gold[2]} & set(found.left_out())


def test_folds_of_a_kept_draw_stay_when_people_are_added(data, tmp_path):
    """Gold or not: whoever was drawn before keeps the fold, and the fold is that of `train`."""
    folder, cohort, *_ = data
    path = shutil.copytree(folder / "cohort", tmp_path / "cohort")
    (path / "folds.parquet").unlink(missing_ok=True)
    whole = replace(cohort, path=path)
    late = set(whole.people.filter(~pl.col("locked"))["person_id"][::5])
    stay = ~pl.col("person_id").is_in(list(late))
    fewer = replace(
        whole, **{name: getattr(whole, name).filter(stay) for name in ("turns", "phq9", "people")}
    )
    drawn = []
    for part in (fewer, whole):
        roster, _ = open_roster(part, None, NumberSource(), TRAIN, WindowConfig())
        keep_drawn_folds(part, roster.left_out(), TRAIN)
        drawn.append(roster.left_out())
    first, second = drawn
    assert late == set(second) - set(first)
    assert {name: second[name] for name in first} == first
    sizes = np.bincount([folds[0] for folds in second.values()])
    assert sizes.max() - sizes.min() <= 5
    labelled = labelled_people(whole, TRAIN, WindowConfig())
    of_train = draw_folds(whole, labelled, TRAIN)
    assert of_train == {name: second[name] for name in of_train}
