"""Whether a person changed by more than the questionnaire's own noise.

Reliable change after Jacobson and Truax 1991: with reliability r and standard deviation SD,
the standard error of measurement is SD sqrt(1 - r), of a difference sqrt(2) times that. With
a retest reliability of .84 and an SD of 6.25 (SEM 2.5) a change is reliable at 95% from 7
points. Other conventions use 5 (the smallest important difference) or 6 fixed points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from leadline.errors import LeadlineError
from leadline.phq9.config import ReliabilityConfig
from leadline.phq9.reliability import TOTAL_SD, standard_error
from leadline.settings import check_choices, same, setting


@dataclass(frozen=True)
class ChangeConfig:
    """How many points of change count."""

    change_points: float = setting(
        0.0, "Fixed points that count as change (0: computed from reliability and SD)."
    )
    reliability: float = same(ReliabilityConfig, "reliability")
    change_sd: float = setting(TOTAL_SD, "Standard deviation of the PHQ-9 total in these people.")
    change_confidence: float = setting(0.95, "Two-sided confidence of a reliable change.")

    def __post_init__(self) -> None:
        if self.change_points < 0 or self.change_sd <= 0:
            raise LeadlineError(
                "The points of change or the standard deviation are negative.",
                remedy="Use --change-points of 0 or more and --change-sd above 0.",
            )
        if not 0 < self.change_confidence < 1:
            raise LeadlineError(
                "The confidence of a change is not a share.",
                remedy="Use --change-confidence in (0, 1).",
            )
        check_choices(self)


def smallest_change(config: ChangeConfig) -> float:
    """The size of change, in points, that has to be reached (fixed) or passed (computed)."""
    if config.change_points:
        return config.change_points
    z = NormalDist().inv_cdf((1 + config.change_confidence) / 2)
    return z * math.sqrt(2) * standard_error(config.reliability, config.change_sd)


def change_sign(
    before: npt.ArrayLike, after: npt.ArrayLike, config: ChangeConfig
) -> npt.NDArray[np.int64]:
    """-1 improved, 0 no reliable change, 1 worsened, for totals of any one shape."""
    difference = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    smallest = smallest_change(config)
    reached = np.abs(difference) >= smallest - 1e-9
    return np.where(reached, np.sign(difference), 0).astype(np.int64)
