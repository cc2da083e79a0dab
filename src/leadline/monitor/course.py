"""The course of a person: severity on each day from running estimates and answered PHQ-9s.

A history is what is known of a person: estimates (a mean and a variance after a message) and
answered PHQ-9s, each with the day that it is about, the day from which it was known, and the day
from which it no longer counts (retracted or superseded). The course of any day in the past is
made from what was known then. Of the estimates of one day the last is used: windows of text
overlap nearly whole within a day. Real PHQ-9s fix the lasting error of the person's estimates
too, so they are worth more than their own day. Silence widens the interval, to the spread of the
population in the end. Days are floats since 1970-01-01 UTC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.monitor.statespace import (
    OFFSET,
    SEVERITY,
    STATES,
    CourseParameters,
    SeverityObservations,
    filter_states,
    smooth_severity,
)
from leadline.phq9.change import ChangeConfig, change_sign
from leadline.phq9.distribution import Totals

RELIABLE = 0.975  # one-sided probability of a direction that is called reliable


@dataclass(frozen=True)
class DatedEstimate:
    """An estimate of the total after a message.

    Attributes:
        day: that it is about: when everything it read had been said.
        mean: of the total, points.
        variance: of the total, points squared.
        position: of the message among the person's; the later of two at one time counts.
        known_from: the day from which it was known; None: its own day.
        known_until: the day from which it no longer counts.
    """

    day: float
    mean: float
    variance: float
    position: int = 0
    known_from: float | None = None
    known_until: float = math.inf


@dataclass(frozen=True)
class DatedAnswer:
    """A PHQ-9 that a person answered.

    Attributes:
        day: when it was answered.
        total: 0 to 27.
        further_variance: beyond a PHQ-9's own error, points squared: of a PHQ-8, say, or prorated.
        known_from: the day from which it was known; None: its own day.
        known_until: the day from which it no longer counts.
    """

    day: float
    total: float
    further_variance: float = 0.0
    known_from: float | None = None
    known_until: float = math.inf


@dataclass(frozen=True)
class History:
    """What is known of one person, in any order."""

    estimates: tuple[DatedEstimate, ...] = ()
    answers: tuple[DatedAnswer, ...] = ()

    @property
    def days(self) -> list[float]:
        """The days of everything in it, estimates first."""
        return [entry.day for entry in self.estimates] + [entry.day for entry in self.answers]

    def asof(self, day: float) -> History:
        """What was known of the days up to `day` on that day."""
        return History(
            tuple(entry for entry in self.estimates if _known(entry, day)),
            tuple(entry for entry in self.answers if _known(entry, day)),
        )


def _known(entry: DatedEstimate | DatedAnswer, day: float) -> bool:
    """Whether an entry is about the past of `day`, had come by then, and counted."""
    came = entry.day if entry.known_from is None else entry.known_from
    counts = day < entry.known_until or math.isinf(entry.known_until)
    return (
        not max(entry.day, came) > day and counts
    )  # a day that is no number stays, and is refused


@dataclass(frozen=True, eq=False)
class Course:
    """Severity of one person on D days.

    Attributes:
        day: shape (D,).
        mean: of severity, points, shape (D,).
        sd: of severity as it is delivered (`CourseParameters.widened`), points, shape (D,).
        parameters: that it was made with; `fitted` says whether they are more than defaults.
    """

    day: Array
    mean: Array
    sd: Array
    parameters: CourseParameters

    def interval(self, width: float = 0.9) -> tuple[Array, Array]:
        """Central interval of the severity, within 0..27, each (D,)."""
        half = ndtri((1 + width) / 2) * self.sd
        return np.clip(self.mean - half, 0, 27), np.clip(self.mean + half, 0, 27)

    def answer(self) -> Totals:
        """The PHQ-9 that would be answered: severity plus the error of the occasion."""
        return Totals.normal(self.mean, np.hypot(self.sd, self.parameters.sem))


@dataclass(frozen=True)
class CourseChange:
    """Severity now less severity at a reference.

    Attributes:
        mean: points; above 0 is worse.
        sd: points, widened as the severity now is.
        points: that count as a change.
        answered: sign of the change between two real PHQ-9s beyond their own noise; None where
            there are not two.
        fitted: whether the parameters are more than defaults.
    """

    mean: float
    sd: float
    points: float
    answered: int | None
    fitted: bool

    @property
    def p_worse(self) -> float:
        """Probability of being worse by at least `points`."""
        return float(ndtr((self.mean - self.points) / self.sd)) if self.sd else 0.0

    @property
    def p_better(self) -> float:
        """Probability of being better by at least `points`."""
        return float(ndtr((-self.mean - self.points) / self.sd)) if self.sd else 0.0

    def interval(self, width: float = 0.9) -> tuple[float, float]:
        """Central interval of the change, points."""
        half = float(ndtri((1 + width) / 2)) * self.sd
        return self.mean - half, self.mean + half

    @property
    def words(self) -> str:
        """Reliably worse or better, probably worse or better, or no clear change.

        Reliable needs the direction at .975 and a mean of at least `points`; probable needs a
        change of that size to be more likely than not.
        """
        way = "worse" if self.mean > 0 else "better"
        sure = self.sd > 0 and ndtr(abs(self.mean) / self.sd) >= RELIABLE
        if sure and abs(self.mean) >= self.points:
            return f"reliably {way}"
        chance = max(self.p_worse, self.p_better)
        return f"probably {way} ({chance:.0%})" if chance >= 0.5 else "no clear change"


@dataclass(frozen=True, eq=False)
class Standings:
    """Severity of many people now.

    Attributes:
        mean: shape (P,).
        variance: as it is delivered, shape (P,).
        offset_gain: variance of the lasting error that a PHQ-9 now would remove, of 1, shape (P,).
    """

    mean: Array
    variance: Array
    offset_gain: Array


def smoothed_course(
    history: History, days: Array, parameters: CourseParameters, asof: float = math.inf
) -> Course:
    """Severity on each day given everything known on the day `asof`."""
    day = _checked(days)
    record = history.asof(asof)
    observations = stack_histories([record], parameters, [day])
    mean, variance = smooth_severity(observations, parameters)
    columns = _columns_of(observations.day[0], day)
    return _course(day, mean[0, columns], variance[0, columns], parameters)


def known_course(history: History, days: Array, parameters: CourseParameters) -> Course:
    """Severity on each day given what was known on that day: what a page showed then."""
    day = _checked(days)
    records = [history.asof(float(moment)) for moment in day]
    observations = stack_histories(records, parameters, [np.array([moment]) for moment in day])
    forward = filter_states(observations, parameters)
    mean = forward.mean[:, -1] @ SEVERITY
    variance = SEVERITY @ forward.covariance[:, -1] @ SEVERITY
    return _course(day, mean, variance, parameters)


def _course(day: Array, mean: Array, variance: Array, parameters: CourseParameters) -> Course:
    return Course(day, mean, _root(parameters.widened(mean, variance)), parameters)


def standings(histories: Sequence[History], now: float, parameters: CourseParameters) -> Standings:
    """Severity of many people at `now`, from what was known then."""
    observations = stack_histories(
        [history.asof(now) for history in histories], parameters, [np.array([now])] * len(histories)
    )
    forward = filter_states(observations, parameters)
    column = forward.covariance[:, -1] @ SEVERITY
    mean, variance = forward.mean[:, -1] @ SEVERITY, column @ SEVERITY
    gain = column[:, OFFSET] ** 2 / (variance + parameters.sem**2)
    return Standings(mean, parameters.widened(mean, variance), gain)


def change_since(
    history: History,
    span: tuple[float, float],
    parameters: CourseParameters,
    points: float = 5.0,
    config: ChangeConfig | None = None,
) -> CourseChange:
    """Change of severity over `span` (reference, now), from what was known at its end.

    The severity at the reference is carried along as a state of its own, so the errors that both
    ends share cancel. Real PHQ-9s are compared beside it: the last up to the reference (else the
    first) and the last.

    Raises:
        LeadlineError: the reference is after the end, or `points` is not positive.
    """
    since, now = span
    if not since <= now or points <= 0:
        raise LeadlineError(
            "The change has no beginning before its end, or no size that counts.",
            remedy="Give a reference day that is not after the end, and points above 0.",
        )
    record = history.asof(now)
    observations = stack_histories([record], parameters, [np.array([since, now])])
    reference = np.searchsorted(observations.day[0], [since])
    forward = filter_states(observations, parameters, reference)
    difference = np.append(SEVERITY, -1.0)
    mean = float(forward.mean[0, -1] @ difference)
    answered = _answered_change(record, since, config or ChangeConfig())
    sd = change_sd(forward.mean[0, -1], forward.covariance[0, -1], parameters)
    return CourseChange(mean, sd, points, answered, parameters.fitted)


def change_sd(mean: Array, covariance: Array, parameters: CourseParameters) -> float:
    """Standard deviation of a change as it is delivered: as much wider as the severity now is.

    Args:
        mean: of the state and of the severity at the reference, shape (5,).
        covariance: shape (5, 5).
        parameters: of the course.
    """
    difference = np.append(SEVERITY, -1.0)
    variance = max(float(difference @ covariance @ difference), 0.0)
    now = SEVERITY @ covariance[:STATES, :STATES] @ SEVERITY
    if now <= 0:
        return math.sqrt(variance)
    wider = float(parameters.widened(mean[:STATES] @ SEVERITY, now) / now)
    return math.sqrt(variance * wider)


def _answered_change(history: History, since: float, config: ChangeConfig) -> int | None:
    """Sign of the reliable change between two real PHQ-9s, None without two."""
    answers = sorted(history.answers, key=lambda answer: (answer.day, answer.total))
    if len(answers) < 2:
        return None
    before = [answer for answer in answers if answer.day <= since] or answers[:1]
    if before[-1] is answers[-1]:
        return None
    return int(change_sign(before[-1].total, answers[-1].total, config))


def last_of_each_day(estimates: Sequence[DatedEstimate]) -> list[DatedEstimate]:
    """The last estimate of each day, in order."""
    last: dict[int, DatedEstimate] = {}
    for estimate in sorted(
        estimates, key=lambda entry: (entry.day, entry.position, entry.mean, entry.variance)
    ):
        last[math.floor(estimate.day)] = estimate
    return list(last.values())


def stack_histories(
    histories: Sequence[History], parameters: CourseParameters, queries: Sequence[Array]
) -> SeverityObservations:
    """Histories as one table of observations, the days of `queries` among them unobserved.

    At one time estimates come before answers and answers before queries. Shorter histories begin
    with unobserved columns at their first day, which change nothing.
    """
    rows = [
        _row(history, parameters, days) for history, days in zip(histories, queries, strict=True)
    ]
    columns = max((len(row) for row in rows), default=0)
    table = np.zeros((len(rows), columns, 3 + STATES))
    table[..., 2] = np.inf
    for place, row in zip(table, rows, strict=True):
        place[columns - len(row) :] = row
        place[: columns - len(row), 0] = row[0, 0] if len(row) else 0.0
    return SeverityObservations(table[..., 0], table[..., 1], table[..., 3:], table[..., 2])


def _row(history: History, parameters: CourseParameters, days: Array) -> Array:
    """One person's observations: day, observed, noise, design; shape (K, 7)."""
    estimates = last_of_each_day(history.estimates)
    figures = np.array([(e.day, e.mean, e.variance) for e in estimates]).reshape(-1, 3)
    answers = sorted((a.day, a.total, a.further_variance) for a in history.answers)
    totals = np.array(answers).reshape(-1, 3)
    if not np.isfinite(figures).all() or not np.isfinite(totals).all():
        raise LeadlineError(
            "An estimate or a PHQ-9 of the course has no day or no number.",
            remedy="Give each a day, a mean or total, and a variance that are finite numbers.",
        )
    observed, design, noise = parameters.estimate_equation(figures[:, 1], figures[:, 2])
    sizes = (len(figures), len(totals), len(days))
    table = np.zeros((sum(sizes), 3 + STATES))
    first, second = sizes[0], sizes[0] + sizes[1]
    table[:, 0] = np.concatenate([figures[:, 0], totals[:, 0], days])
    table[:first, 1], table[:first, 2], table[:first, 3:] = observed, noise, design
    table[first:second, 1] = totals[:, 1]
    table[first:second, 2] = parameters.sem**2 + totals[:, 2]
    table[first:second, 3:] = SEVERITY
    table[second:, 2] = np.inf
    return table[np.argsort(table[:, 0], kind="stable")]


def _checked(days: Array) -> Array:
    """Days as floats, finite and at least one."""
    day = np.atleast_1d(np.asarray(days, dtype=np.float64))
    if not len(day) or not np.isfinite(day).all():
        raise LeadlineError(
            "The days of a course are missing or not numbers.",
            remedy="Give at least one day, as days since 1970-01-01 UTC.",
        )
    return day


def _columns_of(table_days: Array, days: Array) -> Array:
    """Columns at which the days stand; columns of one time have one severity."""
    return np.asarray(np.searchsorted(table_days, days), dtype=np.int64)


def _root(variance: Array) -> Array:
    """Standard deviation; rounding may leave a variance a hair below 0."""
    root: Array = np.sqrt(np.maximum(variance, 0.0))
    return root
