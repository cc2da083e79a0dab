"""The error of one PHQ-9, from how reliable it is.

The retest reliability is the correlation of two administrations to the same people: .84 pooled
over studies of up to two weeks. In people whose totals have a standard deviation of 6.25 the
standard error of measurement, SD sqrt(1 - reliability), is then 2.5 points (classical test theory;
Lord and Novick, Statistical Theories of Mental Test Scores, 1968, chapter 3).
"""

from __future__ import annotations

import math

TOTAL_SD = 6.25
"""Standard deviation of PHQ-9 totals in people like those of the studies, points."""


def standard_error(reliability: float, sd: float = TOTAL_SD) -> float:
    """Standard error of measurement of one total, points.

    Args:
        reliability: retest reliability, in (0, 1).
        sd: standard deviation of the totals.
    """
    return sd * math.sqrt(1 - reliability)
