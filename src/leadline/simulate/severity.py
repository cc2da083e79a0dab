"""How severity moves: sessions at irregular times, a stable level, a path, rare jumps.

Severity is ``level + path + jump``. Level and path are jointly normal, so severity at the
sessions, and its mean over the 14 days before any time, are drawn from (and in the filter
conditioned on) one exact covariance matrix a person; no grid of days is simulated. The
14 days are seven points two days apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Bools, Ints
from leadline.simulate.config import SimulateConfig

MAX_SESSIONS = 8

MAX_TURNS = 96  # user turns of a person

SLOTS = 2  # label times: one along the way (not for everyone), one at the end

WINDOW_DAYS = 14.0

_POINTS = (np.arange(7) * 2.0 + 1.0)[::-1]

_TURN_LAW = (2.2, 0.33)  # negative binomial of the turns beyond three in a session

_TURNS_A_SESSION = 3.0 + _TURN_LAW[0] * (1.0 - _TURN_LAW[1]) / _TURN_LAW[1]

_CHUNK = 512  # people at a time; bounds the memory of their covariances


@dataclass(frozen=True)
class Schedule:
    """When people speak and are asked.

    Attributes:
        sessions: sessions of each person, shape (people,).
        start: day of each session from the first, (people, MAX_SESSIONS); far off and far
            apart where there is no such session.
        turns: user turns in each session, (people, MAX_SESSIONS).
        label: day of each label slot, (people, SLOTS); far off where there is none.
        has_label: whether there is one, (people, SLOTS); the last slot always is.
    """

    sessions: Ints
    start: Array
    turns: Ints
    label: Array
    has_label: Bools

    @property
    def total_turns(self) -> Ints:
        """User turns of each person."""
        return np.asarray(self.turns.sum(axis=1))

    def session_of_turn(self) -> Ints:
        """Session of each user turn, (people, most turns); -1 beyond the last turn."""
        ends = self.turns.cumsum(axis=1)
        turn = np.arange(int(self.total_turns.max()))
        session = (turn[None, :, None] >= ends[:, None, :]).sum(axis=2)
        return np.where(turn[None, :] < self.total_turns[:, None], session, -1)


def draw_schedule(config: SimulateConfig, rng: np.random.Generator) -> Schedule:
    """Sessions, their turns and label times; all independent of severity."""
    people = config.people
    adherence = rng.standard_normal(people)
    rate = config.user_turns / _TURNS_A_SESSION - 1.0
    sessions = 1 + rng.poisson(rate * np.exp(0.3 * adherence - 0.045))
    sessions = np.minimum(np.maximum(sessions, 1), MAX_SESSIONS)
    gaps = config.session_gap_days * np.exp(0.8 * rng.standard_normal((people, MAX_SESSIONS)))
    long = rng.random(gaps.shape) < config.long_gap_share
    gaps = np.where(long, gaps + rng.exponential(28.0, gaps.shape), np.maximum(gaps, 0.3))
    gaps[:, 0] = 0.0
    start = gaps.cumsum(axis=1)
    real = np.arange(MAX_SESSIONS)[None, :] < sessions[:, None]
    turns = np.where(real, 3 + rng.negative_binomial(*_TURN_LAW, gaps.shape), 0)
    turns = np.minimum(turns, MAX_TURNS // MAX_SESSIONS * 2)
    over = turns.cumsum(axis=1) > MAX_TURNS
    turns = np.where(over, 0, turns)
    far = 1e5 * (1.0 + np.arange(MAX_SESSIONS))[None, :]
    start = np.where(real, start, start.max(axis=1, keepdims=True) + far)
    label, has_label = _label_times(start, sessions, rng)
    return Schedule(sessions, start, turns, label, has_label)


def _label_times(start: Array, sessions: Ints, rng: np.random.Generator) -> tuple[Array, Bools]:
    rows = np.arange(sessions.size)
    last = start[rows, sessions - 1]
    final = last + 0.1 + np.minimum(rng.exponential(0.8, last.shape), 4.0)
    midway = np.maximum(sessions // 2 - 1, 0)
    middle = start[rows, midway] + 0.1 + np.minimum(rng.exponential(0.5, last.shape), 2.0)
    following = start[rows, np.minimum(midway + 1, MAX_SESSIONS - 1)]
    middle = np.minimum(middle, following - 0.05)
    has_middle = (final - middle > WINDOW_DAYS) & (rng.random(last.shape) < 0.6)
    middle = np.where(has_middle, middle, final + 5e6)
    return (
        np.stack([middle, final], axis=1),
        np.stack([has_middle, np.ones_like(has_middle)], axis=1),
    )


def covariance(start: Array, label: Array, config: SimulateConfig) -> Array:
    """Covariance of level plus path at the sessions and of its 14-day means.

    Args:
        start: (people, sessions) days.
        label: (people, labels) days.
        config: SDs and time constant.

    Returns:
        (people, d, d) with d = 2 sessions + labels: severity at each session, its mean over
        the 14 days before each session, and over those before each label.
    """
    people, sessions = start.shape
    ends = np.concatenate([start, label], axis=1)
    window = (ends[:, :, None] - _POINTS).reshape(people, -1)
    times = np.concatenate([start, window], axis=1)
    apart = np.abs(times[:, :, None] - times[:, None, :])
    kernel = config.level_sd**2 + config.ou_sd**2 * np.exp(-apart / config.ou_days)
    size = sessions + ends.shape[1]
    average = np.zeros((size, times.shape[1]))
    average[:sessions, :sessions] = np.eye(sessions)
    for row in range(ends.shape[1]):
        begin = sessions + row * _POINTS.size
        average[sessions + row, begin : begin + _POINTS.size] = 1.0 / _POINTS.size
    return np.asarray(average @ kernel @ average.T)


@dataclass(frozen=True)
class Severity:
    """What is true of each person.

    Attributes:
        session: severity at each session, (people, MAX_SESSIONS).
        window: mean severity of the 14 days before each session, the same shape.
        label: the same before each label slot, (people, SLOTS).
        jump_day: day of the sudden change, infinity where there is none, (people,).
        jump_size: its size, (people,).
    """

    session: Array
    window: Array
    label: Array
    jump_day: Array
    jump_size: Array


def draw_severity(
    mean: Array, schedule: Schedule, config: SimulateConfig, rng: np.random.Generator
) -> Severity:
    """Draw severity at sessions and label times; `mean` is each person's prior mean."""
    people = mean.size
    size = 2 * MAX_SESSIONS + SLOTS
    noise = rng.standard_normal((people, size))
    values = np.empty((people, size))
    for begin in range(0, people, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        matrix = covariance(schedule.start[part], schedule.label[part], config)
        root = np.linalg.cholesky(matrix + 1e-9 * np.eye(size))
        values[part] = mean[part, None] + np.einsum("pij,pj->pi", root, noise[part])
    wait = rng.exponential(1.0, people) / max(config.jump_rate, 1e-12)
    jump_size = config.jump_sd * rng.standard_normal(people)
    session = values[:, :MAX_SESSIONS] + jump_size[:, None] * (schedule.start >= wait[:, None])
    window = values[:, MAX_SESSIONS:-SLOTS]
    window = window + jump_size[:, None] * jump_share(schedule.start, wait[:, None])
    label = values[:, -SLOTS:] + jump_size[:, None] * jump_share(schedule.label, wait[:, None])
    return Severity(session, window, label, wait, jump_size)


def jump_share(time: Array, jump_day: Array) -> Array:
    """Share of the 14 days before `time` that lie after the jump."""
    return np.asarray(np.clip((time - jump_day) / WINDOW_DAYS, 0.0, 1.0))
