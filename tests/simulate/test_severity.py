"""How severity moves: the schedule's promises, and the covariance against integrals and draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.simulate.config import preset
from leadline.simulate.severity import (
    MAX_SESSIONS,
    MAX_TURNS,
    SLOTS,
    WINDOW_DAYS,
    Schedule,
    covariance,
    draw_schedule,
    draw_severity,
    jump_share,
)

CONFIG = preset("paper", people=600, gold=200, locked=100)


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return draw_schedule(CONFIG, np.random.default_rng(3))


def test_everyone_has_a_session_with_turns_and_no_more_than_there_is_room_for(schedule) -> None:
    assert ((schedule.sessions >= 1) & (schedule.sessions <= MAX_SESSIONS)).all()
    assert (schedule.total_turns <= MAX_TURNS).all()
    assert (schedule.turns[:, 0] >= 3).all()
    assert (schedule.turns[np.arange(MAX_SESSIONS) >= schedule.sessions[:, None]] == 0).all()


def test_sessions_follow_each_other_and_those_that_never_were_are_far_off(schedule) -> None:
    assert (schedule.start[:, 0] == 0).all()
    assert (np.diff(schedule.start, axis=1) > 0).all()
    absent = np.arange(MAX_SESSIONS) >= schedule.sessions[:, None]
    assert schedule.start[absent].min() > 1e4
    assert schedule.start[~absent].max() < 1e4


def test_everyone_is_asked_after_their_last_session_and_some_along_the_way(schedule) -> None:
    last = schedule.start[np.arange(CONFIG.people), schedule.sessions - 1]
    assert schedule.has_label[:, -1].all()
    assert (schedule.label[:, -1] > last).all()
    assert (schedule.label[:, -1] < last + 5).all()
    midway = schedule.has_label[:, 0]
    assert 0.05 < midway.mean() < 0.6
    apart = schedule.label[midway, 1] - schedule.label[midway, 0]
    assert (apart > WINDOW_DAYS).all(), "the windows of two PHQ-9s do not overlap"
    assert (schedule.label[~midway, 0] > 1e6).all()


def test_no_session_begins_between_a_midway_phq9_and_the_session_before_it(schedule) -> None:
    """A PHQ-9 along the way follows a session and comes before the next one."""
    for person in np.flatnonzero(schedule.has_label[:, 0]):
        starts = schedule.start[person, : schedule.sessions[person]]
        at = schedule.label[person, 0]
        before, after = starts[starts < at], starts[starts >= at]
        assert len(before) >= 1
        assert len(after) >= 1
        assert after[0] - at >= 0.05 - 1e-9


def test_the_session_of_each_turn_is_that_of_a_plain_loop(schedule) -> None:
    found = schedule.session_of_turn()
    for person in range(40):
        expected = [s for s in range(MAX_SESSIONS) for _ in range(schedule.turns[person, s])]
        padding = found.shape[1] - len(expected)
        assert found[person].tolist() == expected + [-1] * padding


def test_schedules_do_not_depend_on_severity_but_on_the_seed(schedule) -> None:
    harder = preset("paper", people=600, gold=200, locked=100, severity_mean=2.5, level_sd=0.1)
    same = draw_schedule(harder, np.random.default_rng(3))
    other = draw_schedule(CONFIG, np.random.default_rng(4))
    np.testing.assert_array_equal(same.start, schedule.start)
    assert not np.array_equal(other.turns, schedule.turns)


def kernel(one: float, other: float) -> float:
    """Covariance of level plus path at two times, from the definition."""
    apart = abs(one - other)
    return CONFIG.level_sd**2 + CONFIG.ou_sd**2 * float(np.exp(-apart / CONFIG.ou_days))


TIMES = st.lists(st.floats(0, 90), min_size=1, max_size=3)


@given(TIMES, TIMES)
def test_the_covariance_is_that_of_sums_over_the_days_of_each_window(start, label) -> None:
    found = covariance(np.array([start]), np.array([label]), CONFIG)[0]
    parts = [[t] for t in start]
    parts += [[end - (2 * k + 1) for k in range(7)] for end in start + label]
    assert found.shape == (len(parts), len(parts))
    for i, one in enumerate(parts):
        for j, other in enumerate(parts):
            expected = np.mean([kernel(a, b) for a in one for b in other])
            assert found[i, j] == pytest.approx(expected)


@given(TIMES, TIMES)
def test_it_is_a_covariance(start, label) -> None:
    found = covariance(np.array([start]), np.array([label]), CONFIG)[0]
    np.testing.assert_allclose(found, found.T)
    assert np.linalg.eigvalsh(found).min() > -1e-9
    assert (np.diag(found) <= CONFIG.level_sd**2 + CONFIG.ou_sd**2 + 1e-9).all()


def test_a_window_of_points_is_close_to_the_integral_over_its_days() -> None:
    """Seven points, two days apart, for the mean of fourteen days."""
    end = np.array([[40.0]])
    found = covariance(np.array([[40.0]]), end, CONFIG)[0][1, 1]
    days = np.linspace(0, WINDOW_DAYS, 1501)
    apart = np.abs(days[:, None] - days)
    exact = np.mean(CONFIG.level_sd**2 + CONFIG.ou_sd**2 * np.exp(-apart / CONFIG.ou_days))
    assert found == pytest.approx(exact, abs=0.005)


def test_draws_have_the_mean_and_the_covariance() -> None:
    """4,000 people with one and the same schedule."""
    people = 4000
    start = np.tile(np.arange(MAX_SESSIONS) * 9.0, (people, 1))
    label = np.tile([20.0, 70.0], (people, 1))
    same = Schedule(
        np.full(people, MAX_SESSIONS), start, np.full(start.shape, 3), label,
        np.ones((people, SLOTS), dtype=bool),
    )  # fmt: skip
    config = preset("paper", people=people, gold=10, locked=0, jump_rate=0.0)
    mean = np.full(people, 1.25)
    severity = draw_severity(mean, same, config, np.random.default_rng(0))
    drawn = np.concatenate([severity.session, severity.window, severity.label], axis=1)
    expected = covariance(start[:1], label[:1], config)[0]
    error = 5 * np.sqrt(2 / people) * expected.max()
    np.testing.assert_allclose(drawn.mean(axis=0), 1.25, atol=5 * drawn.std() / np.sqrt(people))
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=error)
    assert np.isinf(severity.jump_day).all() or severity.jump_day.min() > 1e6


def test_a_jump_moves_sessions_at_once_and_windows_by_the_days_after_it(schedule) -> None:
    calm = preset("paper", people=600, gold=200, locked=100, jump_rate=0.0)
    wild = preset("paper", people=600, gold=200, locked=100, jump_rate=0.2)
    still, moved = (
        draw_severity(np.zeros(600), schedule, config, np.random.default_rng(9))
        for config in (calm, wild)
    )
    size, day = moved.jump_size[:, None], moved.jump_day[:, None]
    np.testing.assert_allclose(moved.session - still.session, size * (schedule.start >= day))
    for times, one, other in (
        (schedule.start, still.window, moved.window),
        (schedule.label, still.label, moved.label),
    ):
        counted = np.clip(times - np.maximum(day, times - WINDOW_DAYS), 0, WINDOW_DAYS)
        np.testing.assert_allclose(other - one, size * counted / WINDOW_DAYS, atol=1e-9)


@given(st.floats(-50, 200), st.floats(0, 100))
def test_the_share_after_a_jump_lies_between_none_and_all(time, day) -> None:
    share = float(jump_share(np.array(time), np.array(day)))
    assert 0 <= share <= 1
    assert (share == 0) == (time <= day) or share < 1e-12
    if time >= day + WINDOW_DAYS:
        assert share == 1
