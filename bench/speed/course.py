"""How fast a course is made: one person smoothed, and updates of many people's filters.

One person has an estimate on each of 359 days and six PHQ-9s; smoothed are 30 days, and each of 365
days. A batch is 1,000 such people. The best of several, on one thread.

    python -m bench run speed.course
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.protocol import run_module
from leadline.monitor.course import (
    DatedAnswer,
    DatedEstimate,
    History,
    smoothed_course,
    stack_histories,
)
from leadline.monitor.statespace import CourseParameters, filter_states

TAKES = "seconds"
RESULT = "course_speed"
ESTIMATES, ANSWERS, PEOPLE = 359, 6, 1000


def year(seed: int = 0) -> History:
    """A year of one person: 365 events."""
    rng = np.random.default_rng(seed)
    estimates = [
        DatedEstimate(float(day), float(mean), 15.0)
        for day, mean in enumerate(rng.uniform(3, 20, ESTIMATES))
    ]
    answers = [DatedAnswer(60.0 * number + 0.5, 12.0) for number in range(ANSWERS)]
    return History(tuple(estimates), tuple(answers))


def best(work: Callable[[], object], times: int = 9) -> float:
    """Seconds of the fastest of several."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds to smooth a person, and filter updates a second."""
    del args
    parameters, person = CourseParameters(), year()
    month, days = np.arange(335.0, 365.0), np.arange(365.0)
    many = stack_histories([person] * PEOPLE, parameters, [np.array([365.0])] * PEOPLE)
    seconds = best(lambda: filter_states(many, parameters), 3)
    return {
        "smooth 365 events, 30 days, ms": best(lambda: smoothed_course(person, month, parameters))
        * 1e3,
        "smooth 365 events, 365 days, ms": best(lambda: smoothed_course(person, days, parameters))
        * 1e3,
        "filter updates a second": PEOPLE * (ESTIMATES + ANSWERS) / seconds,
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Each figure as it was measured."""
    names = ("smooth 365 events, 30 days, ms", "smooth 365 events, 365 days, ms")
    return [
        *((name.removesuffix(", ms"), f"{results[name]:.1f} ms") for name in names),
        ("filter updates of many people", f"{results['filter updates a second']:,.0f} a second"),
    ]


if __name__ == "__main__":
    run_module()
