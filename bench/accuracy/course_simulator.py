"""The course of people of Leadline's simulator, from estimates by a real run out of fold.

A run on frozen MiniLM states with five folds gives each person running estimates by models that
never saw them. Conversations are about nine days apart, so that a course takes months. Parameters
are fitted on one half of the people and judged on the other, and the other way round; the judge is
the last PHQ-9 of each person, said before it was answered: from text alone, and with earlier
PHQ-9s.

    python -m bench run accuracy.course_simulator [--people 700] [--seeds 2]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy.course import DEFAULTS, FULL, WITH, WITHOUT, Judged, NaiveParameters
from bench.protocol import run_module
from leadline.cohort.config import WindowConfig
from leadline.monitor.course import History, stack_histories
from leadline.monitor.fit import fit_parameters
from leadline.monitor.parameters import run_histories
from leadline.monitor.statespace import SEVERITY, CourseParameters, filter_states
from leadline.phq9.distribution import Totals
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

TAKES = "the reader minilm, ten minutes"
RESULT = "course_simulator"
GAP_DAYS = 9.0
NAIVE = "naive"


def options(parser: argparse.ArgumentParser) -> None:
    """How many people, and how often they are drawn."""
    parser.add_argument("--people", type=int, default=700)
    parser.add_argument("--seeds", type=int, default=2)


def histories_of(people: int, seed: int) -> list[History]:
    """Estimates out of fold and PHQ-9s of simulated people."""
    settings = preset("easy", people=people, gold=people, locked=0, user_turns=24.0, seed=seed,
                      session_gap_days=GAP_DAYS)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        cohort = simulate_cohort(Path(folder) / "cohort", settings)
        config = TrainConfig(reader="minilm", fit="ridge", baselines=False, seed=seed)
        train_run(cohort, Path(folder) / "run", config, WindowConfig())
        return run_histories(Path(folder) / "run")


def said_before(histories: list[History], parameters: CourseParameters, *, earlier: bool) -> Judged:
    """Each person's last PHQ-9 as it is delivered before it is answered."""
    records, days, totals = [], [], []
    for history in histories:
        *before, last = sorted(history.answers, key=lambda answer: answer.day)
        if earlier and not before:
            continue
        estimates = tuple(e for e in history.estimates if e.day <= last.day)
        records.append(History(estimates, tuple(before) if earlier else ()))
        days.append(np.array([last.day]))
        totals.append(last.total)
    forward = filter_states(stack_histories(records, parameters, days), parameters)
    mean = forward.mean[:, -1] @ SEVERITY
    variance = parameters.widened(mean, SEVERITY @ forward.covariance[:, -1] @ SEVERITY)
    answer = Totals.normal(mean, np.sqrt(variance + parameters.sem**2))
    lower, upper = answer.delivered_interval(0.9)
    return Judged(np.clip(mean, 0, 27), lower, upper, np.array(totals))


def ways(fitted: CourseParameters) -> dict[str, CourseParameters]:
    """The filters that are compared."""
    process = {
        name: getattr(fitted, name) for name in ("mean", "level_sd", "path_sd", "path_days", "sem")
    }
    return {
        NAIVE: NaiveParameters(**process, widening=0.0),
        FULL: fitted,
        DEFAULTS: CourseParameters(),
    }


def carried(histories: list[History]) -> list[float]:
    """Absolute errors of the PHQ-9 before the last as the last."""
    answers = [sorted((a.day, a.total) for a in history.answers) for history in histories]
    return [abs(totals[-1][1] - totals[-2][1]) for totals in answers if len(totals) > 1]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Coverage and error of the last PHQ-9 by filter, with and without earlier ones."""
    parts: dict[tuple[str, str], list[Judged]] = {}
    of_two: list[Judged] = []  # from text alone, of the people with an earlier PHQ-9
    errors: list[float] = []
    fits = []
    for seed in range(args.seeds):
        histories = [history for history in histories_of(args.people, seed) if history.answers]
        for half in (0, 1):
            fitted = fit_parameters(histories[1 - half :: 2])
            others = histories[half::2]
            for name, parameters in ways(fitted).items():
                for kind in (WITH, WITHOUT):
                    judged = said_before(others, parameters, earlier=kind == WITH)
                    parts.setdefault((name, kind), []).append(judged)
            several = [replace(h) for h in others if len(h.answers) > 1]
            of_two.append(said_before(several, fitted, earlier=False))
            errors += carried(others)
            fits.append({"people": fitted.people, "lasting_share": fitted.lasting_share,
                         "widening": fitted.widening, "sem": fitted.sem})  # fmt: skip
    figures = {
        f"{name}, {kind}": Judged.together(judged).figures()
        | {"phq9s": int(sum(len(part.truth) for part in judged))}
        for (name, kind), judged in parts.items()
    }
    return {
        "people": args.people, "seeds": args.seeds, "fits": fits, "figures": figures,
        "text alone, of people with an earlier PHQ-9": Judged.together(of_two).figures()["mae"],
        "last PHQ-9 carried forward": float(np.mean(errors)),
    }  # fmt: skip


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the table in docs/monitor-course.md."""
    lines = [
        (name, f"{f['mae']:.2f}, {f['holds']:.0%}, {f['holds worst band']:.0%}, {f['width']:.1f} "
               f"({f['phq9s']:,} PHQ-9s)")
        for name, f in results["figures"].items()
    ]  # fmt: skip
    for name in ("text alone, of people with an earlier PHQ-9", "last PHQ-9 carried forward"):
        lines.append((name, f"{results[name]:.2f}"))
    return lines


if __name__ == "__main__":
    run_module()
