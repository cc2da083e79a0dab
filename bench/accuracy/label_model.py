"""The label model on simulated raters: what it believes of people without gold.

1,500 people with a PHQ-9 and 1,500 without, who are less severe on average (labels missing
not at random). The student is a shrunken estimate (r about .75 with the truth); a teacher has
slope .6, over-estimates by 2.5, shares its error across three draws, and its errors
correlate .3 with the student's. "bad" is a teacher with r .3 and bias +6. Everything is
Gaussian, so this checks the method and says nothing about any real teacher. The PHQ-9s have the
standard error of the default reliability; `--reliability` is what the label model is told.

    python -m bench run accuracy.label_model [--seeds 5] [--reliability 0.84]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from bench.protocol import run_module
from leadline.phq9.config import ReliabilityConfig
from leadline.phq9.reliability import standard_error
from leadline.teacher.label_model import GOLD_SD, Observations, fit, posterior

TAKES = "a minute"
RESULT = None
LABELLED, FREE = 1500, 1500
TRUE_SD = 6.0
TEACHERS = {"r .60": (0.60, 2.5), "r .76": (0.76, 2.5), "bad: r .30": (0.30, 6.0)}
SLOPE, SHARED, CORRELATION = 0.6, 0.7, 0.3


def simulate(r: float, bias: float, seed: int) -> tuple[Observations, np.ndarray]:
    """Observations of labelled and unlabelled people, and their true severities."""
    random = np.random.default_rng(seed)
    count = LABELLED + FREE
    labelled = np.arange(count) < LABELLED
    truth = random.normal(np.where(labelled, 12.0, 10.0), TRUE_SD)
    noise = SLOPE * TRUE_SD * np.sqrt(1 / r**2 - 1)  # so that one draw correlates r with T
    student_noise = 0.6 * TRUE_SD * np.sqrt(1 / 0.75**2 - 1)
    shared, separate = random.normal(size=(2, count))
    mixed = CORRELATION * shared + np.sqrt(1 - CORRELATION**2) * separate
    draws = random.normal(size=(count, 3)) * noise * np.sqrt(1 - SHARED)
    teacher = 12.0 + bias + SLOPE * (truth - 12.0) + noise * np.sqrt(SHARED) * shared
    student = 12.0 + 0.6 * (truth - 12.0) + student_noise * mixed
    gold = np.where(labelled, truth + random.normal(0, GOLD_SD, count), np.nan)
    rated = (teacher[:, None] + draws, student[:, None])
    return Observations(gold, rated, ("teacher", "student")), truth


def measure_teacher(r: float, bias: float, seed: int, gold_sd: float) -> dict[str, float]:
    """Errors about the truth, and coverage, for the people without gold."""
    observed, truth = simulate(r, bias, seed)
    model = fit(observed, gold_sd=gold_sd)
    both = posterior(model, observed)
    lone = Observations(observed.gold, observed.draws[1:], ("student",))
    student = posterior(fit(lone, gold_sd=gold_sd), lone)
    free = slice(LABELLED, None)
    gaps = both.mean[free] - truth[free]

    def mae(estimate: np.ndarray) -> float:
        return float(np.abs(estimate[free] - truth[free]).mean())

    return {
        "raw teacher, MAE": mae(observed.means[:, 0]),
        "raw student, MAE": mae(observed.means[:, 1]),
        "label model, student only, MAE": mae(student.mean),
        "label model, both, MAE": mae(both.mean),
        "label model, both, bias": float(gaps.mean()),
        "coverage of 90% intervals": float((np.abs(gaps) <= 1.645 * both.sd[free]).mean()),
        "mean weight": float(both.weight[free].mean()),
        "error correlation found": float(model.correlations[0, 1]),
    }


def options(parser: argparse.ArgumentParser) -> None:
    """How many seeds, and what the label model is told of the PHQ-9s."""
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--reliability", type=float, default=ReliabilityConfig().reliability)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every teacher, means over seeds."""
    teachers = {}
    gold_sd = standard_error(args.reliability)
    for name, (r, bias) in TEACHERS.items():
        runs = [measure_teacher(r, bias, seed, gold_sd) for seed in range(args.seeds)]
        teachers[name] = {
            key: round(float(np.mean([run[key] for run in runs])), 3) for key in runs[0]
        }
    return {"teachers": teachers}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The columns of the table in docs/teachers.md."""
    names = ("raw teacher, MAE", "raw student, MAE", "label model, student only, MAE",
             "label model, both, MAE")  # fmt: skip
    return [
        (teacher, " | ".join([*(f"{row[name]:.2f}" for name in names),
                              f"{row['coverage of 90% intervals']:.3f}",
                              f"{row['mean weight']:.2f}"]))
        for teacher, row in results["teachers"].items()
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
