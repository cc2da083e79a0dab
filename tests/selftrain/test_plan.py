"""Plans of fits: what they cost, and that nobody descends from whom they must not."""

from __future__ import annotations

from collections import Counter

import pytest

from leadline.selftrain.plan import (
    GOLD,
    POSTERIOR,
    RAW,
    TEACHER,
    FitPlan,
    Programme,
    crossfit_plan,
    every_fit,
    paper_plan,
)

SHAPES = [(4, 1, 1), (5, 1, 2), (5, 2, 1), (5, 2, 2), (6, 3, 1)]  # folds, rounds, measured folds


def descendants(plan: FitPlan, name: str, seen: set[str] | None = None) -> set[str]:
    """Names of all students that a student descends from, itself too."""
    seen = set() if seen is None else seen
    if name not in seen:
        seen.add(name)
        for label in plan.students[name].labels:
            labelling = plan.labellings[label]
            makers = {m for ms, _ in labelling.measured for m in ms} | set(labelling.students)
            for maker in makers:
                descendants(plan, maker, seen)
    return seen


@pytest.mark.parametrize(("folds", "rounds", "measured"), SHAPES)
def test_what_is_left_out_is_left_out_all_the_way_down(folds, rounds, measured):
    plan = crossfit_plan(Programme(rounds, (RAW, TEACHER)), folds, 1, measured)
    for student in plan.students.values():
        for name in descendants(plan, student.name):
            below = plan.students[name]
            assert below.gold_out >= student.gold_out
            if below.round:  # a student of gold alone has seen nobody else
                assert below.free_out >= student.free_out
        for label in student.labels:
            labelling = plan.labellings[label]
            assert labelling.free_out == student.free_out
            assert not labelling.to & student.free_out
            for maker in labelling.students:
                below = plan.students[maker]
                assert below.gold_out == student.gold_out
                assert not below.round or labelling.to <= below.free_out
            for makers, fold in labelling.measured:
                assert fold not in student.gold_out
                assert all(fold in plan.students[maker].gold_out for maker in makers)


@pytest.mark.parametrize(("folds", "rounds", "measured"), SHAPES)
def test_everybody_is_labelled_once_for_each_student(folds, rounds, measured):
    plan = crossfit_plan(Programme(rounds), folds, 1, measured)
    for student in plan.students.values():
        if not student.round:
            continue
        places = Counter(place for label in student.labels for place in plan.labellings[label].to)
        assert set(places.values()) == {1}
        cells = range(folds) if student.round == 1 else range(folds, folds + plan.parts)
        assert set(places) == set(cells) - student.free_out


def test_five_folds_and_two_rounds_take_less_than_half_of_the_fits():
    plan = crossfit_plan(Programme(2), 5, 1, 1)
    assert Counter(s.round for s in plan.students.values()) == {0: 11, 1: 21, 2: 5}
    assert every_fit(2, 5, 1) == 140
    assert 2 * len(plan.students) <= every_fit(2, 5, 1)


@pytest.mark.parametrize(("folds", "rounds"), [(4, 1), (5, 2)])
def test_more_measured_folds_cost_more_and_repeats_multiply(folds, rounds):
    fits = [len(crossfit_plan(Programme(rounds), folds, 1, m).students) for m in (1, 2, 3)]
    assert fits == sorted(set(fits))
    assert len(crossfit_plan(Programme(rounds), folds, 3, 1).students) == 3 * fits[0]


def test_ablation_shares_the_students_of_the_rounds():
    bare = crossfit_plan(Programme(2), 5, 1, 1)
    full = crossfit_plan(Programme(2, (RAW, TEACHER)), 5, 1, 1)
    assert len(full.students) - len(bare.students) == 10  # five of each, and nothing below them
    assert set(bare.students) < set(full.students)


def test_the_papers_scheme_takes_rounds_times_members():
    plan = paper_plan(Programme(2), 5, 3)
    assert len(plan.students) == 9
    assert {student.gold_out for student in plan.students.values()} == {frozenset({0})}
    assert plan.members[POSTERIOR, 2] == {
        (member, 0): f"main-posterior-2-r{member}-g0-u" for member in range(3)
    }
    (label,) = plan.students["main-posterior-2-r1-g0-u"].labels
    assert plan.labellings[label].students == tuple(f"main-posterior-1-r{k}-g0-u" for k in range(3))
    assert plan.labellings[label].with_own_ratings


@pytest.mark.parametrize("scheme", ["paper", "crossfit"])
def test_an_intermediate_reader_labels_and_is_not_judged(scheme):
    wanted = Programme(2, intermediate=True)
    plan = paper_plan(wanted, 5, 2) if scheme == "paper" else crossfit_plan(wanted, 5, 1, 1)
    finals = plan.finals()
    assert all(not plan.students[name].intermediate for name in finals)
    makers = {m for labelling in plan.labellings.values() for m in labelling.students}
    assert makers
    assert all(plan.students[name].intermediate for name in makers)


def test_a_start_with_the_teacher_alone_is_round_1_of_that_kind():
    plan = paper_plan(Programme(2, (RAW, TEACHER), start="teacher"), 5, 1)
    assert list(plan.members) == [(GOLD, 0), (TEACHER, 1), (POSTERIOR, 2), (RAW, 1)]
    assert set(plan.needed(POSTERIOR, 2)) == {
        "main-gold-0-r0-g0-u", "main-teacher-1-r0-g0-u", "main-posterior-2-r0-g0-u",
    }  # fmt: skip
