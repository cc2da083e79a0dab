"""Labelled people: their readings, the shorter readings before them, and their folds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import SMALL, cohort_of, label_row, turn_rows
from tests.support.copies import AGAIN, with_copies

from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.heads.design import PersonStates
from leadline.runs.config import TrainConfig
from leadline.runs.labelled import (
    PREFIX_SHARE,
    PREFIXES,
    draw_folds,
    labelled_people,
    people_of_fold,
    training_rows,
)
from leadline.simulate.cohort import simulate_cohort

CONFIG = TrainConfig(reader="numbers", folds=3, repeats=2)
WINDOW = WindowConfig(days=0)


class NoReader:
    """What `training_rows` asks of a source: the views."""

    directions = {"v": np.eye(2)}  # noqa: RUF012  never changed


def cohort_with(turns, locked=()):
    """One labelled person for each number of user turns."""
    rows, labels = [], []
    for number, count in enumerate(turns):
        rows += turn_rows(f"p{number:02d}", [("user", float(day)) for day in range(count)])
        labels.append(label_row(f"p{number:02d}", 99, float(number % 28)))
    return cohort_of(rows, labels, tuple(f"p{n:02d}" for n in locked))


def states_of(labelled):
    """Each turn's state is its number and its person."""
    return [
        PersonStates(
            {"v": np.stack([np.arange(len(p.user)), np.full(len(p.user), row)], 1).astype("f4")},
            p.user_words(),
        )
        for row, p in enumerate(labelled.people)
    ]


@given(st.lists(st.integers(1, 40), min_size=6, max_size=10))
def test_shorter_readings_come_before_the_whole_window_of_their_label(turns):
    labelled = labelled_people(cohort_with(turns), CONFIG, WINDOW)
    rows, owner = training_rows(labelled, states_of(labelled), NoReader(), WINDOW, CONFIG)
    last = rows.design.states["v"]  # the mean of turns 0..n is n / 2
    for label, span in enumerate(labelled.spans):
        mine = np.flatnonzero(owner == label)
        ends = (2 * last[mine, 0]).round().astype(int)
        assert ends.tolist() == sorted(set(ends.tolist())), "each longer than the one before"
        assert ends[-1] == span.last
        assert len(mine) <= PREFIXES
        assert rows.final[mine].tolist() == [False] * (len(mine) - 1) + [True]
        assert set(rows.total[mine]) == {labelled.readings["total"][label]}
        assert set(rows.person[mine]) == {span.person}
        shorter = rows.share[mine[:-1]]
        assert rows.share[mine[-1]] == 1
        assert len(shorter) == 0 or shorter.sum() == pytest.approx(PREFIX_SHARE)


def test_a_label_with_one_turn_is_one_reading():
    labelled = labelled_people(cohort_with([1] * 6), CONFIG, WINDOW)
    rows, owner = training_rows(labelled, states_of(labelled), NoReader(), WINDOW, CONFIG)
    assert owner.tolist() == list(range(6))
    assert rows.final.all()
    assert (rows.share == 1).all()


def test_a_shorter_reading_begins_where_its_running_estimate_would():
    """With a window of days, what is too old at an earlier turn is not in its reading."""
    cohort = cohort_with([30] * 6)
    window = WindowConfig(days=10)
    late = [label_row(f"p{n:02d}", 29.5, 5.0) for n in range(6)]
    cohort = cohort_of(cohort.turns.rows(), late)
    labelled = labelled_people(cohort, CONFIG, window)
    rows, owner = training_rows(labelled, states_of(labelled), NoReader(), window, CONFIG)
    assert (labelled.spans[0].first, labelled.spans[0].last) == (20, 29)
    middle = rows.design.states["v"][owner == 0, 0]
    ends = 20 + np.unique(np.geomspace(1, 10, PREFIXES).astype(int)) - 1
    expected = [(max(0, end - 9) + end) / 2 for end in ends]
    assert middle.tolist() == pytest.approx(expected)


@given(st.integers(12, 30), st.integers(2, 3), st.integers(1, 3), st.integers(0, 5))
def test_folds_divide_the_open_people_and_leave_out_each_once_a_repeat(count, folds, repeats, seed):
    config = TrainConfig(reader="numbers", folds=folds, repeats=repeats, seed=seed)
    cohort = cohort_with([2] * count, locked=(0, 3))
    labelled = labelled_people(cohort, config, WINDOW)
    left_out = draw_folds(cohort, labelled, config)
    open_rows = {n for n, p in enumerate(labelled.people) if p.person_id not in ("p00", "p03")}
    assert set(left_out) == {labelled.people[n].person_id for n in open_rows}
    for repeat in range(repeats):
        outside = []
        for fold in range(folds):
            inside = people_of_fold(labelled, left_out, repeat, fold, inside=True)
            out = people_of_fold(labelled, left_out, repeat, fold, inside=False)
            assert set(inside) | set(out) == open_rows, "locked people are in neither"
            assert not set(inside) & set(out)
            assert len(out) > 0
            outside += out.tolist()
        assert sorted(outside) == sorted(open_rows)


def test_rows_of_people_are_those_of_their_labels():
    rows = turn_rows("a", [("user", 0.0)]) + turn_rows("b", [("user", 0.0)])
    labels = [label_row("b", 1, 3.0), label_row("a", 1, 4.0), label_row("b", 2, 5.0)]
    labelled = labelled_people(cohort_of(rows, labels), CONFIG, WINDOW)
    found = labelled.readings[labelled.rows({"b"}).tolist()]
    assert found["total"].to_list() == [3.0, 5.0]
    assert labelled.rows(set()).tolist() == []
    whose = [labelled.people[span.person].person_id for span in labelled.spans]
    assert whose == labelled.readings["person_id"].to_list()


def test_people_without_a_label_or_text_are_not_read():
    rows = turn_rows("a", [("user", 0.0)]) + turn_rows("b", [("assistant", 0.0)])
    rows += turn_rows("c", [("user", 0.0)])
    labels = [label_row("a", 1, 4.0), label_row("b", 1, 9.0)]
    labelled = labelled_people(cohort_of(rows, labels), CONFIG, WINDOW)
    assert [person.person_id for person in labelled.people] == ["a"]


@pytest.mark.parametrize(
    ("labels", "window", "message"),
    [
        ([], WINDOW, "This cohort has no PHQ-9"),
        ([label_row("a", 1, 4.0, "phq8")], WINDOW, "the labels are phq8"),
        ([label_row("a", 90, 4.0)], WindowConfig(), "in the 14 days before it"),
        ([label_row("a", 1, 4.0)], WindowConfig(days=0, min_turns=2), "2 or more user turns"),
        ([label_row("a", None, 4.0)], WindowConfig(), "--undated takes them"),
    ],
)
def test_why_nobody_can_be_trained_on_is_said(labels, window, message):
    cohort = cohort_of(turn_rows("a", [("user", 0.0)]), labels)
    with pytest.raises(LeadlineError, match=message):
        labelled_people(cohort, CONFIG, window)


def test_questionnaires_are_blanked_before_anything_is_read():
    said = [("a", "c", 0, "user", "I scored 17 out of 27 on the PHQ-9", None)]
    cohort = cohort_of(said, [label_row("a", None, 17.0)])
    plain = labelled_people(cohort, CONFIG, WINDOW)
    masked = labelled_people(cohort, CONFIG, WindowConfig(days=0, mask_questionnaire=True))
    assert "17" in plain.people[0].messages[0].text
    assert "17" not in masked.people[0].messages[0].text
    assert isinstance(masked.readings, pl.DataFrame)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("twice") / "cohort", SMALL)


def test_one_person_under_two_ids_has_one_fold(simulated):
    twice = with_copies(simulated, simulated.people.filter(~pl.col("locked"))["person_id"])
    labelled = labelled_people(twice, CONFIG, WINDOW)
    left_out = draw_folds(twice, labelled, CONFIG)
    originals = {n: f for n, f in left_out.items() if twice.copy_groups.get(n + AGAIN) == n}
    assert len(originals) >= 0.8 * len(left_out) / 2
    assert all(left_out[name + AGAIN] == folds for name, folds in originals.items())
    rows = {person.person_id: row for row, person in enumerate(labelled.people)}
    as_one = labelled.as_one()
    assert all(as_one[rows[name + AGAIN]] == rows[name] == as_one[rows[name]] for name in originals)
    words = labelled.copies_in_words(left_out)
    assert list(words) == ["near-copies"]
    assert words["near-copies"].startswith(f"{2 * len(originals)} people are {len(originals)}")


def test_nothing_is_trained_on_a_copy_of_a_locked_person(simulated):
    locked = simulated.people.filter("locked")["person_id"].to_list()
    twice = with_copies(simulated, locked)
    labelled = labelled_people(twice, CONFIG, WINDOW)
    left_out = draw_folds(twice, labelled, CONFIG)
    shut = twice.copies_of_locked
    assert shut <= {name + AGAIN for name in locked}
    assert len(shut) >= 8
    assert not shut & set(left_out)
    assert labelled.copies_in_words(left_out) == {
        "near-copies of locked people": f"{len(shut)}, not trained on"
    }


def test_where_nobody_is_there_twice_nothing_is_said(simulated):
    labelled = labelled_people(simulated, CONFIG, WINDOW)
    assert labelled.copies_in_words(draw_folds(simulated, labelled, CONFIG)) == {}
    assert labelled.as_one().tolist() == list(range(len(labelled.people)))
