"""The course of simulated people: does its 90% interval hold, what do PHQ-9s add, whom to ask.

Nothing is trained but a stand-in for a model. Severity is a level plus an Ornstein-Uhlenbeck path.
A session about every four days says the severity with a noise of its own and with what is the
person's for good. The stand-in knows the mean of the sessions of 14 days and their number; a line
and an error for each number are fitted on other people's PHQ-9s. So estimates are calibrated one
by one, and their windows overlap. A PHQ-9 comes about every 60 days of 240. Of three populations
one has jumps in severity, one is mild with a floor at 0. The course is made by each of four
filters: each estimate a measurement of its own (naive), un-shrunk, with the error that windows
share, and with the lasting error of the person (full, with its widening). What is judged is what is
delivered: means and intervals within 0 to 27. All seeds are judged together.

    python -m bench run accuracy.course [--people 400] [--seeds 4]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.protocol import run_module
from leadline.arrays import Array, Ints
from leadline.monitor.asks import answer_value
from leadline.monitor.course import Course, DatedAnswer, DatedEstimate, History, stack_histories
from leadline.monitor.fit import fit_parameters
from leadline.monitor.statespace import (
    SEVERITY,
    SMALLEST_VARIANCE,
    CourseParameters,
    filter_states,
    smooth_severity,
)

TAKES = "three minutes"
RESULT = "course"
DAYS, WINDOW, SESSION_GAP, ANSWER_GAP = 240, 14, 4.0, 60.0
LEVEL_SD, PATH_SD, PATH_DAYS, SEM = 4.8, 3.1, 30.0, 2.5
SESSION_SD, OFFSET_SD = 4.6, 2.0
EVALUATED = np.arange(30.0, DAYS + 1, 15.0)
FULL = "and lasting error (full)"
DEFAULTS = "full, defaults"
WITH, WITHOUT = "with PHQ-9s", "text alone"
POPULATIONS = {"plain": (10.5, 0.0), "jumps": (10.5, 6.0), "mild, floor at 0": (6.0, 0.0)}
BANDS = ((0, 5), (5, 10), (10, 15), (15, 20), (20, 28))


class NaiveParameters(CourseParameters):
    """Each estimate taken as a measurement of severity with its own variance."""

    def estimate_equation(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """The estimate itself, of severity alone."""
        error = np.maximum(variance - self.sem**2, SMALLEST_VARIANCE)
        return mean, np.tile(SEVERITY, (len(mean), 1)), error


@dataclass(frozen=True, eq=False)
class Simulated:
    """One person: true severity on each day, sessions, PHQ-9s.

    Attributes:
        severity: on days 0..240, shape (241,).
        sessions: their days, shape (S,).
        words: what each session says, shape (S,).
        answers: days and totals of PHQ-9s, shape (A, 2).
    """

    severity: Array
    sessions: Ints
    words: Array
    answers: Array


def simulate(people: int, mean: float, jump: float, seed: int) -> list[Simulated]:
    """People of one population; 40% jump once where `jump`, the spread of jumps, is above 0."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-1 / PATH_DAYS)
    out = []
    for _ in range(people):
        steps = rng.normal(size=DAYS + 1) * PATH_SD * np.sqrt(1 - decay**2)
        path = np.empty(DAYS + 1)
        path[0] = rng.normal() * PATH_SD
        for day in range(1, DAYS + 1):
            path[day] = decay * path[day - 1] + steps[day]
        severity = mean + rng.normal() * LEVEL_SD + path
        if jump and rng.random() < 0.4:
            severity[rng.integers(30, DAYS) :] += rng.normal() * jump
        severity = np.clip(severity, 0, 27) if mean < 10 else severity
        sessions = _moments(rng, SESSION_GAP)
        said = rng.normal() * OFFSET_SD + rng.normal(size=len(sessions)) * SESSION_SD
        times = _moments(rng, ANSWER_GAP)
        totals = severity[times] + rng.normal(size=len(times)) * SEM
        totals = np.clip(np.rint(totals), 0, 27) if mean < 10 else totals
        answers = np.column_stack([times, totals])
        out.append(Simulated(severity, sessions, severity[sessions] + said, answers))
    return out


def _moments(rng: np.random.Generator, gap: float) -> Ints:
    """Days at random with a mean gap, at most one a day."""
    days = np.cumsum(rng.exponential(gap, int(3 * DAYS / gap) + 5)).astype(np.int64)
    return np.unique(days[days <= DAYS])


def window_mean(person: Simulated, day: int) -> tuple[float, int]:
    """Mean and number of what was said in the window that ends on a day."""
    inside = (person.sessions <= day) & (person.sessions > day - WINDOW)
    count = int(inside.sum())
    return (float(person.words[inside].mean()) if count else 0.0), count


class StandIn:
    """A calibrated estimator: a line and an error for each number of sessions in the window."""

    def __init__(self, people: list[Simulated]) -> None:
        rows = [(*window_mean(p, int(day)), y) for p in people for day, y in p.answers]
        means, counts, totals = np.array(rows).T
        self.lines = {}
        for count in range(1, 8):
            inside = np.minimum(counts, 7) == count
            line = np.polyfit(means[inside], totals[inside], 1)
            error = totals[inside] - np.polyval(line, means[inside])
            self.lines[count] = (line, float(error.var(ddof=2)))

    def history(self, person: Simulated, *, answers: bool = True) -> History:
        """The estimate after each session, and the PHQ-9s or none."""
        estimates = []
        for day in person.sessions:
            mean, count = window_mean(person, int(day))
            line, variance = self.lines[min(count, 7)]
            estimates.append(DatedEstimate(float(day), float(np.polyval(line, mean)), variance))
        totals = person.answers if answers else person.answers[:0]
        return History(tuple(estimates), tuple(DatedAnswer(float(d), float(y)) for d, y in totals))


def filters(full: CourseParameters) -> dict[str, CourseParameters]:
    """The four filters, from the naive one to the full model with its parameters."""
    process = {
        name: getattr(full, name) for name in ("mean", "level_sd", "path_sd", "path_days", "sem")
    }
    process |= {"widening": 0.0}
    return {
        "naive": NaiveParameters(**process),
        "un-shrunk": CourseParameters(**process, lasting_share=0.0, own_share=1.0),
        "and window error": CourseParameters(**process, lasting_share=0.0),
        FULL: full,
        DEFAULTS: CourseParameters(),
    }


@dataclass(frozen=True, eq=False)
class Judged:
    """What was delivered, and what was true, one entry a day of a person."""

    mean: Array
    lower: Array
    upper: Array
    truth: Array

    @classmethod
    def together(cls, parts: list[Judged]) -> Judged:
        """Several as one."""
        names = ("mean", "lower", "upper", "truth")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def figures(self) -> dict[str, float]:
        """Error, how often the interval holds, overall and in the worst band, and its width."""
        error = np.abs(self.mean - self.truth)
        holds = (self.lower <= self.truth) & (self.truth <= self.upper)
        by_estimate = [_share(holds, _within(self.mean, band)) for band in BANDS]
        return {
            "mae": float(error.mean()),
            "holds": float(holds.mean()),
            "holds worst band": min(by_estimate),
            "holds by band": by_estimate,
            "holds truth 20 or more": _share(holds, self.truth >= 20),
            "width": float((self.upper - self.lower).mean()),
        }  # fmt: skip


def judged(
    people: list[Simulated], histories: list[History], parameters: CourseParameters
) -> Judged:
    """The smoothed severity of the evaluated days, as it is delivered."""
    observations = stack_histories(histories, parameters, [EVALUATED] * len(people))
    mean, variance = smooth_severity(observations, parameters)
    columns = [np.searchsorted(row, EVALUATED) for row in observations.day]
    of_days = [
        np.concatenate([row[at] for row, at in zip(table, columns, strict=True)])
        for table in (mean, variance)
    ]
    course = Course(
        np.tile(EVALUATED, len(people)), of_days[0],
        np.sqrt(parameters.widened(*of_days)), parameters,
    )  # fmt: skip
    lower, upper = course.interval()
    truth = np.concatenate([person.severity[EVALUATED.astype(int)] for person in people])
    return Judged(np.clip(course.mean, 0, 27), lower, upper, np.clip(truth, 0, 27))


def _within(values: Array, band: tuple[float, float]) -> Array:
    return (values >= band[0]) & (values < band[1])


def _share(holds: Array, inside: Array, least: int = 100) -> float:
    """Share that holds, 1 where fewer than `least` are inside."""
    return float(holds[inside].mean()) if inside.sum() >= least else 1.0


def carried_forward(people: list[Simulated]) -> list[float]:
    """Absolute errors of the last PHQ-9 as the severity of the evaluated days after it."""
    error = []
    for person in people:
        for day in EVALUATED:
            before = person.answers[person.answers[:, 0] <= day]
            if len(before):
                error.append(abs(before[-1, 1] - person.severity[int(day)]))
    return error


def follow_up(
    people: list[Simulated], estimator: StandIn, parameters: CourseParameters
) -> dict[str, list[float]]:
    """Absolute errors of each PHQ-9 but the first, said before it: by text, both, the last one."""
    errors: dict[str, list[float]] = {"text": [], "both": [], "carried": []}
    for name in ("text", "both"):
        records, totals = [], []
        for person in people:
            history = estimator.history(person)
            for answer in history.answers[1:]:
                earlier = tuple(a for a in history.answers if a.day < answer.day)
                estimates = tuple(e for e in history.estimates if e.day <= answer.day)
                records.append(History(estimates, earlier if name == "both" else ()))
                totals.append((answer.day, answer.total, earlier[-1].total))
        days = [np.array([day]) for day, _, _ in totals]
        forward = filter_states(stack_histories(records, parameters, days), parameters)
        mean = np.clip(forward.mean[:, -1] @ SEVERITY, 0, 27)
        truth = np.array([total for _, total, _ in totals])
        errors[name] = list(np.abs(mean - truth))
        errors["carried"] = list(np.abs(np.array([last for _, _, last in totals]) - truth))
    return errors


def ask_saving(people: list[Simulated], histories: list[History], parameters: CourseParameters,
               seed: int, cut: float = 10.0) -> dict[str, float]:  # fmt: skip
    """Points saved by asking everybody on the last day, and by asking a tenth, by rule."""
    rng = np.random.default_rng([seed, 1])
    observations = stack_histories(histories, parameters, [np.array([float(DAYS)])] * len(people))
    forward = filter_states(observations, parameters)
    mean = forward.mean[:, -1] @ SEVERITY
    variance = SEVERITY @ forward.covariance[:, -1] @ SEVERITY
    truth = np.array([person.severity[-1] for person in people])
    days = np.array([DAYS - max(p.answers[:, 0], default=-1) for p in people])
    total = truth + rng.normal(size=len(people)) * SEM
    after = mean + variance / (variance + parameters.sem**2) * (total - mean)
    stake = np.abs(truth - cut)
    wrong: Callable[[Array], Array] = lambda said: stake * ((said >= cut) != (truth >= cut))  # noqa: E731
    saved = wrong(mean) - wrong(after)
    value = answer_value(mean, parameters.widened(mean, variance), cut)
    tenth = len(people) // 10
    orders = {"value": value, "width": variance, "longest not asked": days, "highest": mean}
    saving = {
        name: float(saved[np.argsort(-key, kind="stable")[:tenth]].sum())
        for name, key in orders.items()
    }
    everybody = float(saved.sum())
    return {**saving, "random": everybody * tenth / len(people), "everybody": everybody,
            "expected": float(value.sum())}  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """How many people stand behind each figure."""
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=4)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Coverage with and without PHQ-9s, follow-up and asks, for each population."""
    populations: dict[str, Any] = {}
    for name, (mean, jump) in POPULATIONS.items():
        draws = [one_draw(args.people, mean, jump, seed) for seed in range(args.seeds)]
        populations[name] = together(draws)
    return {"people": args.people, "seeds": args.seeds, "populations": populations}


def one_draw(people: int, mean: float, jump: float, seed: int) -> dict[str, Any]:
    """All that is judged of one draw of a population; parameters come from other people."""
    training = simulate(1000, mean, jump, 100 + seed)
    estimator = StandIn(training)
    out_of_fold = simulate(300, mean, jump, 200 + seed)
    fitted = fit_parameters([estimator.history(person) for person in out_of_fold])
    others = simulate(people, mean, jump, 1000 + seed)
    histories = {
        WITH: [estimator.history(person) for person in others],
        WITHOUT: [estimator.history(person, answers=False) for person in others],
    }
    return {
        "parameters": fitted,
        "courses": {
            name: {kind: judged(others, part, parameters) for kind, part in histories.items()}
            for name, parameters in filters(fitted).items()
        },
        "carried forward": carried_forward(others),
        "follow-up": follow_up(others, estimator, fitted),
        "asks": ask_saving(others, histories[WITH], fitted, seed),
    }


def together(draws: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of all draws of one population."""
    numbers = ("mean", "level_sd", "path_sd", "path_days", "lasting_share", "sem", "widening",
               "widening_slope")  # fmt: skip
    courses = {
        name: {
            kind: Judged.together([draw["courses"][name][kind] for draw in draws]).figures()
            | {"holds by draw": [draw["courses"][name][kind].figures()["holds"] for draw in draws]}
            for kind in (WITH, WITHOUT)
        }
        for name in draws[0]["courses"]
    }
    follow = {
        name: float(np.concatenate([draw["follow-up"][name] for draw in draws]).mean())
        for name in draws[0]["follow-up"]
    }
    saved = {name: sum(draw["asks"][name] for draw in draws) for name in draws[0]["asks"]}
    everybody = saved.pop("everybody")
    return {
        "parameters": [
            {name: getattr(draw["parameters"], name) for name in numbers} for draw in draws
        ],
        "courses": courses,
        "carried forward": float(np.concatenate([d["carried forward"] for d in draws]).mean()),
        "follow-up": follow,
        "asks": {name: value / everybody for name, value in saved.items()},
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the table in docs/monitor-course.md, one column a population."""
    parts = list(results["populations"].values())
    filters_of = list(parts[0]["courses"])
    lines = []
    for kind in (WITH, WITHOUT):
        for name in filters_of:
            cells = [part["courses"][name][kind] for part in parts]
            lines.append((f"{kind}: {name}", " | ".join(_cell(cell) for cell in cells)))
    for name in ("naive", FULL):
        shares = [part["courses"][name][WITH]["holds truth 20 or more"] for part in parts]
        line = " | ".join(f"{share:.0%}" for share in shares)
        lines.append((f"inside where the truth is 20 or more: {name}", line))
    carried = [f"{part['carried forward']:.2f}" for part in parts]
    lines.append(("last PHQ-9 carried forward", " | ".join(carried)))
    for name, words in (("text", "from text"), ("both", "from text and earlier PHQ-9s"),
                        ("carried", "last PHQ-9")):  # fmt: skip
        cells_of = [f"{part['follow-up'][name]:.2f}" for part in parts]
        lines.append((f"next PHQ-9: {words}", " | ".join(cells_of)))
    for name in ("value", "width", "longest not asked", "highest", "random"):
        asks = " | ".join(f"{part['asks'][name]:.0%}" for part in parts)
        lines.append((f"asking a tenth by {name}", asks))
    expected = " | ".join(f"{part['asks']['expected']:.0%}" for part in parts)
    lines.append(("what the value expects, of what is saved", expected))
    return lines


def _cell(figures: dict[str, float]) -> str:
    """MAE, share held, share held in the worst band, width."""
    shares = f"{figures['holds']:.0%}, {figures['holds worst band']:.0%}"
    return f"{figures['mae']:.2f}, {shares}, {figures['width']:.1f}"


if __name__ == "__main__":
    run_module()
