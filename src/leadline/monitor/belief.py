"""What is believed of a person after the last thing that was heard of them, and how it ages.

State and covariance after the last event, with the severity at a reference day as a fifth state:
the whole past in twenty numbers. Between two events only time passes, so a night moves everybody on
from here, and reads nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array
from leadline.monitor.course import CourseChange, change_sd, stack_histories
from leadline.monitor.records import Record
from leadline.monitor.statespace import SEVERITY, STATES, CourseParameters, filter_states


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of one person after the last event.

    Attributes:
        day: of the event, days since 1970-01-01.
        mean: of the state and of the severity at the reference, shape (5,).
        covariance: shape (5, 5).
        reference_day: from which change is counted; None where there is none.
    """

    day: float
    mean: Array
    covariance: Array
    reference_day: float | None

    def pack(self) -> bytes:
        """Mean and covariance as the store keeps them."""
        return np.concatenate([self.mean, self.covariance.ravel()]).astype("<f8").tobytes()

    @classmethod
    def unpack(cls, packed: bytes, day: float, reference_day: float | None) -> Belief:
        """The inverse of `pack`."""
        flat = np.frombuffer(packed, dtype="<f8").astype(np.float64)
        size = STATES + 1
        return cls(day, flat[:size], flat[size:].reshape(size, size), reference_day)

    def at(self, later: float, parameters: CourseParameters) -> Belief:
        """What is believed on a later day, when nothing was heard in between."""
        gap = max(later - self.day, 0.0)
        factor, added = parameters.transition(np.array([gap]))
        f, q = np.append(factor[0], 1.0), np.append(added[0], 0.0)
        covariance = self.covariance * np.outer(f, f) + np.diag(q)
        return Belief(self.day + gap, self.mean * f, covariance, self.reference_day)

    def severity(self, parameters: CourseParameters) -> tuple[float, float]:
        """Mean and variance of severity as they are delivered, points."""
        mean = self.mean[:STATES] @ SEVERITY
        variance = SEVERITY @ self.covariance[:STATES, :STATES] @ SEVERITY
        return float(mean), float(parameters.widened(mean, variance))

    def change(self, points: float, parameters: CourseParameters) -> CourseChange | None:
        """Severity now less severity at the reference; None without a reference."""
        if self.reference_day is None:
            return None
        mean = float(self.mean @ np.append(SEVERITY, -1.0))
        sd = change_sd(self.mean, self.covariance, parameters)
        return CourseChange(mean, sd, points, None, parameters.fitted)


def beliefs(
    records: Sequence[Record], starts: Sequence[float | None], parameters: CourseParameters
) -> tuple[list[Belief | None], list[list[tuple[float, float]]]]:
    """What is believed of people after the last event of each, and the course that led there.

    Args:
        records: of the people.
        starts: day from which change is counted; None: the first PHQ-9, else the first estimate.
        parameters: of the course.

    Returns:
        A belief for each, None where nothing was heard, and (day, mean) after each event.
    """
    references = [_reference(record, start) for record, start in zip(records, starts, strict=True)]
    heard = [at for at, reference in enumerate(references) if reference is not None]
    out: list[Belief | None] = [None] * len(records)
    paths: list[list[tuple[float, float]]] = [[] for _ in records]
    if not heard:
        return out, paths
    queries = [np.array([references[at]]) for at in heard]
    observations = stack_histories([records[at].history for at in heard], parameters, queries)
    days_of = zip(observations.day, heard, strict=True)
    places = np.array([_last_place(days, float(references[at] or 0)) for days, at in days_of])
    forward = filter_states(observations, parameters, places)
    for row, at in enumerate(heard):
        days = observations.day[row]
        out[at] = Belief(
            float(days[-1]), forward.mean[row, -1], forward.covariance[row, -1], references[at]
        )
        events = np.isfinite(observations.noise[row])
        means = forward.mean[row][:, :STATES] @ SEVERITY
        paths[at] = [
            (float(when), float(mean))
            for when, mean in zip(days[events], means[events], strict=True)
        ]
    return out, paths


def _reference(record: Record, start: float | None) -> float | None:
    """The day from which change is counted; None where nothing was heard."""
    answers = [answer.day for answer in record.history.answers]
    estimates = [estimate.day for estimate in record.history.estimates]
    if not answers and not estimates:
        return None
    first = min(answers) if answers else min(estimates)
    last = max(answers + estimates)
    return first if start is None else min(start, last)


def _last_place(days: Array, reference: float) -> int:
    """The last column at the reference: what was heard then counts for it."""
    return int(np.searchsorted(days, reference, side="right")) - 1
