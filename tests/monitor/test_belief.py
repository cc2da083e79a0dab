"""A belief is the filter's end, and its ageing the filter's prediction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.monitor.belief import Belief, beliefs
from leadline.monitor.course import (
    DatedAnswer,
    DatedEstimate,
    History,
    change_since,
    standings,
)
from leadline.monitor.records import Record
from leadline.monitor.statespace import CourseParameters

PARAMETERS = CourseParameters()
DAYS = st.floats(100, 400)
ESTIMATES = st.builds(DatedEstimate, DAYS, st.floats(0, 27), st.floats(4, 40))
ANSWERS = st.builds(DatedAnswer, DAYS, st.floats(0, 27))
HISTORIES = st.builds(
    lambda estimates, answers: History(tuple(estimates), tuple(answers)),
    st.lists(ESTIMATES, max_size=8), st.lists(ANSWERS, max_size=3),
)  # fmt: skip


def record(history):
    return Record(history, 50, None, None)


def last_day(history):
    return max(entry.day for entry in (*history.estimates, *history.answers))


@given(HISTORIES, st.floats(0, 200))
def test_an_aged_belief_is_what_the_whole_filter_says(history, gap):
    (belief,), (path,) = beliefs([record(history)], [None], PARAMETERS)
    if belief is None:
        assert not history.estimates
        assert not history.answers
        return
    now = last_day(history) + gap
    aged = belief.at(now, PARAMETERS)
    whole = standings([history], now, PARAMETERS)
    assert aged.severity(PARAMETERS) == pytest.approx((whole.mean[0], whole.variance[0]), abs=1e-8)
    assert [day for day, _ in path] == sorted(day for day, _ in path)


@given(HISTORIES, st.floats(0, 100), st.none() | DAYS)
def test_change_is_counted_from_the_start_or_the_first_thing_heard(history, gap, start):
    (belief,), _ = beliefs([record(history)], [start], PARAMETERS)
    if belief is None:
        return
    now = last_day(history) + gap
    answers = [answer.day for answer in history.answers]
    first = min(answers or [estimate.day for estimate in history.estimates])
    since = first if start is None else min(start, last_day(history))
    assert belief.reference_day == since
    change = belief.at(now, PARAMETERS).change(5.0, PARAMETERS)
    whole = change_since(history, (since, now), PARAMETERS)
    assert change.mean == pytest.approx(whole.mean, abs=1e-8)
    assert change.sd == pytest.approx(whole.sd, abs=1e-6)


def test_people_together_are_as_each_alone():
    rng = np.random.default_rng(0)
    histories = [
        History(
            tuple(DatedEstimate(float(d), float(m), 20.0) for d, m in rng.uniform(0, 25, (n, 2))),
            tuple(DatedAnswer(float(d), 9.0) for d in rng.uniform(0, 25, n % 3)),
        )
        for n in range(6)
    ]
    together, _ = beliefs([record(history) for history in histories], [None] * 6, PARAMETERS)
    assert together[0] is None
    for history, belief in zip(histories[1:], together[1:], strict=True):
        (alone,), _ = beliefs([record(history)], [None], PARAMETERS)
        np.testing.assert_allclose(belief.mean, alone.mean, atol=1e-10)
        np.testing.assert_allclose(belief.covariance, alone.covariance, atol=1e-10)


def test_a_belief_comes_back_from_its_bytes():
    history = History((DatedEstimate(100.0, 12.0, 20.0),), ())
    (belief,), _ = beliefs([record(history)], [None], PARAMETERS)
    again = Belief.unpack(belief.pack(), belief.day, belief.reference_day)
    np.testing.assert_array_equal(again.mean, belief.mean)
    np.testing.assert_array_equal(again.covariance, belief.covariance)


def test_time_does_not_run_backwards_and_silence_widens_to_the_population():
    history = History((DatedEstimate(100.0, 25.0, 10.0),), ())
    (belief,), _ = beliefs([record(history)], [None], PARAMETERS)
    assert belief.at(50.0, PARAMETERS).severity(PARAMETERS) == belief.severity(PARAMETERS)
    aged = [belief.at(100.0 + days, PARAMETERS) for days in (0, 10, 100, 1e4)]
    spreads = [older.severity(PARAMETERS)[1] for older in aged]
    assert spreads == sorted(spreads)
    most = PARAMETERS.widened(np.array(10.5), np.array(PARAMETERS.severity_variance))
    assert spreads[-1] < most
