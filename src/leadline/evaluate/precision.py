"""What so many people can bear: how wide intervals will be, said before anything is measured.

Planning figures, not results. They take errors, a correlation and a sensitivity as good models
reach them, and give the 95% interval that so many people leave around each: normal theory for
the MAE, Fisher's z for r, Wilson's interval for sensitivity and specificity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from leadline.arrays import Array
from leadline.phq9.items import MODERATE

SD_OF_ERRORS = 3.1
"""SD of absolute errors in points: that of an MAE of 2.6 with an RMSE of 4.0, whose interval with
842 people is +-.21; an MAE of 4.0 with normal errors has about the same."""

PLANNED_R = 0.7

PLANNED_RATE = 0.85  # sensitivity and specificity

ENOUGH_PEOPLE = 100

ENOUGH_ON_A_SIDE = 30
"""People at or above the cut, and people below it, under which a test is said to be weak: with 30
a sensitivity of .85 may as well be .69 or .94."""

Z = 1.959964


@dataclass(frozen=True)
class Precision:
    """What a set of people can bear.

    Attributes:
        people: how many there are.
        above, below: of them at or above the cut, and below it.
    """

    people: int
    above: int
    below: int

    def mae_half_width(self) -> float:
        """Half of the 95% interval of the MAE, in points."""
        return float(Z * SD_OF_ERRORS / np.sqrt(self.people))

    def r_interval(self) -> tuple[float, float] | None:
        """95% interval of a correlation of `PLANNED_R`; None for fewer than 4 people."""
        if self.people < 4:
            return None
        spread = Z / np.sqrt(self.people - 3)
        low, high = np.tanh(np.arctanh(PLANNED_R) + np.array([-spread, spread]))
        return float(low), float(high)

    def rate_interval(self, count: int) -> tuple[float, float] | None:
        """95% interval of a rate of about `PLANNED_RATE` in `count` people; None for nobody."""
        if not count:
            return None
        interval = binomtest(round(PLANNED_RATE * count), count).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)

    def is_weak(self) -> bool:
        """Whether there are too few people in all, or on one side of the cut."""
        return self.people < ENOUGH_PEOPLE or min(self.above, self.below) < ENOUGH_ON_A_SIDE

    def as_dict(self) -> dict[str, object]:
        """The figures by name, for programs."""
        return {
            "people": self.people,
            "at_cut": self.above,
            "below_cut": self.below,
            "mae_half_width": round(self.mae_half_width(), 2),
            "r": self.r_interval(),
            "sensitivity": self.rate_interval(self.above),
            "specificity": self.rate_interval(self.below),
            "weak": self.is_weak(),
        }

    def lines(self, what: str) -> list[str]:
        """What is said to people, `what` being such as "The locked test"."""
        parts = [
            f"the MAE to within {self.mae_half_width():.2f} points",
            f"an r of {PLANNED_R:.2f} as {_words(self.r_interval())}",
            f"a sensitivity of {PLANNED_RATE:.2f} as {_words(self.rate_interval(self.above))}",
            f"a specificity of {PLANNED_RATE:.2f} as {_words(self.rate_interval(self.below))}",
        ]
        first = (
            f"{what} has {self.people:,} people, {self.above:,} at {MODERATE} or more and "
            f"{self.below:,} below. It will show (95% intervals) {'; '.join(parts)}."
        )
        if not self.is_weak():
            return [first]
        return [
            first,
            f"Warning: that is little. Below {ENOUGH_PEOPLE} people, or {ENOUGH_ON_A_SIDE} on a "
            f"side of {MODERATE}, it can hardly tell a good model from a fair one.",
        ]


def precision_of(totals: Array, person: npt.NDArray[Any]) -> Precision:
    """The precision of labels `totals` (N,) of the people `person` (N,), each counted once.

    A person is at or above the cut if their mean total is.
    """
    _, owner = np.unique(person, return_inverse=True)
    count = np.bincount(owner)
    mean = np.bincount(owner, weights=totals.astype(float)) / np.maximum(count, 1)
    above = int((mean >= MODERATE).sum())
    return Precision(len(count), above, len(count) - above)


def _words(interval: tuple[float, float] | None) -> str:
    return "anything" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
