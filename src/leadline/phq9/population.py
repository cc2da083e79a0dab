"""Populations whose totals may be assumed before any label is there: mean, deviation and source."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.phq9.items import TOTALS


@dataclass(frozen=True)
class Population:
    """Mean and standard deviation of the totals of a population, and whose figures they are."""

    mean: float
    sd: float
    source: str


POPULATIONS = {
    "help-seekers": Population(
        10.0,
        6.6,
        "users of a mental-health app, as the simulator's people (docs/simulator.md)",
    ),
    "general": Population(
        3.18, 4.09, "8,276 US adults, NHANES 2017 to March 2020, weighted (US government data)"
    ),
}


def population_named(text: str) -> Population:
    """A population by its name, or by a mean and a deviation such as ``12.5,6``.

    Raises:
        LeadlineError: it is neither, or no population of totals 0 to 27 can have these.
    """
    if text in POPULATIONS:
        return POPULATIONS[text]
    try:
        mean, sd = (float(part) for part in text.split(","))
    except ValueError as error:
        raise LeadlineError(
            "--population is neither a name nor a mean and a standard deviation.",
            remedy=f"Give one of {', '.join(POPULATIONS)}, or two numbers such as 12.5,6.",
        ) from error
    # Of all totals with this mean the widest are 0 and 27 alone; a normal that is cut is narrower.
    widest = math.sqrt(max(mean * (TOTALS - 1 - mean), 0.0)) if math.isfinite(mean) else 0.0
    if not (math.isfinite(sd) and 1.0 <= sd <= 0.9 * widest):
        raise LeadlineError(
            "No people with totals from 0 to 27 are likely to have this mean and deviation.",
            remedy="Give a mean within 0 and 27, and a standard deviation in points, 1 or more.",
        )
    return Population(mean, sd, "given by the user")
