"""The course of a person: what was known when, honest intervals, change."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from bench.accuracy import course as bench

from leadline.errors import LeadlineError
from leadline.monitor.course import (
    CourseChange,
    DatedAnswer,
    DatedEstimate,
    History,
    change_since,
    known_course,
    last_of_each_day,
    smoothed_course,
    standings,
)
from leadline.monitor.statespace import CourseParameters

PARAMETERS = CourseParameters()
DAYS = np.arange(0.0, 100.0, 7.0)


def history() -> History:
    rng = np.random.default_rng(1)
    estimates = tuple(
        DatedEstimate(float(day), float(rng.uniform(4, 20)), 16.0, position)
        for position, day in enumerate(np.sort(rng.uniform(0, 90, 30)))
    )
    return History(estimates, (DatedAnswer(20.5, 14), DatedAnswer(71.0, 6)))


def test_the_order_in_which_entries_come_changes_nothing() -> None:
    first = history()
    estimates, answers = list(first.estimates), list(first.answers)
    random.Random(0).shuffle(estimates)
    shuffled = History(tuple(estimates), tuple(reversed(answers)))
    for make in (smoothed_course, known_course):
        one, two = (make(entries, DAYS, PARAMETERS) for entries in (first, shuffled))
        np.testing.assert_array_equal(one.mean, two.mean)
        np.testing.assert_array_equal(one.sd, two.sd)


def test_the_course_as_of_a_day_is_that_of_the_entries_cut_there() -> None:
    everything = history()
    cut = History(
        tuple(e for e in everything.estimates if e.day <= 50),
        tuple(a for a in everything.answers if a.day <= 50),
    )
    asof, again = (
        smoothed_course(everything, DAYS, PARAMETERS, 50),
        smoothed_course(cut, DAYS, PARAMETERS),
    )
    np.testing.assert_array_equal(asof.mean, again.mean)
    now = known_course(everything, np.array([50.0]), PARAMETERS)
    np.testing.assert_allclose(now.mean, smoothed_course(cut, np.array([50.0]), PARAMETERS).mean)


def test_what_came_late_is_not_in_what_was_known_and_what_was_retracted_is() -> None:
    late = replace(history(), answers=(DatedAnswer(20.5, 27, known_from=40),))
    none = replace(history(), answers=())
    retracted = replace(history(), answers=(DatedAnswer(20.5, 27, known_until=40),))
    days = np.array([30.0, 45.0])
    came, without, gone = (known_course(h, days, PARAMETERS).mean for h in (late, none, retracted))
    assert came[0] == without[0]
    assert came[1] > without[1]
    assert gone[0] > without[0]
    assert gone[1] == without[1]


def test_the_filter_at_the_end_is_the_smoother_there_and_all_people_at_once() -> None:
    end = np.array([99.0])
    forward, both = (make(history(), end, PARAMETERS) for make in (known_course, smoothed_course))
    many = standings([History(), history()], 99.0, PARAMETERS)
    assert forward.mean[0] == pytest.approx(both.mean[0], abs=1e-9)
    assert many.mean[1] == pytest.approx(both.mean[0], abs=1e-9)
    assert many.mean[0] == pytest.approx(PARAMETERS.mean)
    assert many.variance[1] == pytest.approx(both.sd[0] ** 2, abs=1e-9)


def test_silence_widens_to_what_is_known_of_the_level() -> None:
    days = np.array([100.0, 130.0, 190.0, 2000.0])
    course = smoothed_course(history(), days, PARAMETERS)
    assert (np.diff(course.sd) > 0).all()
    assert course.sd[-1] ** 2 < PARAMETERS.severity_variance


def test_an_answer_fixes_the_lasting_error_beyond_its_own_day() -> None:
    """Two months on, its effect is more than what the level alone carries."""
    estimates = tuple(DatedEstimate(float(d), 14.0, 16.0) for d in range(0, 120, 3))
    with_it = History(estimates, (DatedAnswer(30.0, 6),))
    now = np.array([117.0])
    bare = smoothed_course(History(estimates), now, PARAMETERS)
    fixed = smoothed_course(with_it, now, PARAMETERS)
    without_offset = replace(PARAMETERS, lasting_share=0.0)
    less = smoothed_course(with_it, now, without_offset).mean - (
        smoothed_course(History(estimates), now, without_offset).mean
    )
    assert (fixed.mean - bare.mean)[0] < 2 * less[0] < 0
    assert fixed.sd[0] < bare.sd[0]


def test_the_last_estimate_of_a_day_counts() -> None:
    entries = [
        DatedEstimate(3.2, 9, 16),
        DatedEstimate(3.9, 5, 16, 1),
        DatedEstimate(3.9, 7, 16, 2),
    ]
    assert [entry.mean for entry in last_of_each_day(entries)] == [7]


def test_a_phq9_is_less_sure_than_the_severity() -> None:
    course = smoothed_course(history(), DAYS, PARAMETERS)
    lower, upper = course.interval()
    least, most = course.answer().interval(0.9)
    assert ((most - least) > (upper - lower)).all()
    assert lower.min() >= 0
    assert upper.max() <= 27


def test_change_says_what_is_reliable_and_compares_the_answers_beside_it() -> None:
    change = change_since(history(), (20.5, 90.0), PARAMETERS)
    assert change.answered == -1
    assert not change.fitted
    assert change.mean < 0
    assert change.p_better > change.p_worse
    assert CourseChange(-8, 2, 5, None, True).words == "reliably better"
    assert CourseChange(4.5, 2, 5, None, True).words == "no clear change"
    assert CourseChange(5.5, 4, 5, None, True).words == "probably worse (55%)"
    nothing = change_since(history(), (90.0, 90.0), PARAMETERS)
    assert (nothing.mean, nothing.sd) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-5))
    assert nothing.words == "no clear change"


@pytest.mark.parametrize("days", [np.empty(0), np.array([math.nan])])
def test_days_that_are_none_are_refused(days: np.ndarray) -> None:
    with pytest.raises(LeadlineError, match="days"):
        smoothed_course(history(), days, PARAMETERS)


def test_an_estimate_without_a_number_and_a_change_backwards_are_refused() -> None:
    with pytest.raises(LeadlineError, match="no day or no number"):
        smoothed_course(History((DatedEstimate(1.0, math.nan, 9.0),)), DAYS, PARAMETERS)
    with pytest.raises(LeadlineError, match="no beginning"):
        change_since(history(), (9.0, 3.0), PARAMETERS)


@pytest.mark.parametrize("jump", [0.0, 6.0])
def test_the_interval_holds_where_the_naive_one_does_not(jump: float) -> None:
    """The means are the true ones; 300 people, 15 days each."""
    estimator = bench.StandIn(bench.simulate(800, 10.5, jump, 1))
    people = bench.simulate(300, 10.5, jump, 2)
    histories = [estimator.history(person) for person in people]
    fitted = replace(PARAMETERS, level_sd=6.2, path_sd=3.9, lasting_share=0.3, sem=2.3,
                     widening=0.0)  # fmt: skip
    figures = {
        name: bench.judged(people, histories, parameters).figures()
        for name, parameters in bench.filters(fitted).items()
    }
    full, naive = figures["and lasting error (full)"], figures["naive"]
    assert 0.87 <= full["holds"] <= 0.93
    wide = figures[bench.DEFAULTS]
    assert wide["holds"] >= full["holds"]
    assert wide["holds worst band"] >= 0.9
    assert full["holds worst band"] >= 0.86
    assert naive["holds"] < 0.82
    assert full["mae"] < naive["mae"] - 0.15
    assert full["mae"] < np.mean(bench.carried_forward(people)) - 1
