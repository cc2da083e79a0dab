"""The leakage alarm on made-up people: how often it rings for nothing, and which leaks it finds.

Estimates are drawn as numbers; nothing is trained. A total is a true severity plus the error of
one questionnaire (retest reliability .84), rounded and kept within 0..27. A clean estimate knows
the severity with some error, down to none, and nothing of the questionnaire's error. A leaking one
is as clean for two thirds of the people, and for the third who had answered the questionnaire in
their chat it is their total with a small error. "Many low" are people whose mean total is 6.6.

    python -m bench run accuracy.leakage_alarm [--sets 200]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.stats import beta, norm

from bench.protocol import run_module
from leadline.arrays import Array
from leadline.evaluate.alarm import alarm_ends, beyond_ceiling
from leadline.evaluate.bootstrap import person_weights
from leadline.evaluate.ceiling import noise_ceiling
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.sample import Estimates, Sample
from leadline.evaluate.scores import Resamples, scalar_scores
from leadline.phq9.distribution import Totals

TAKES = "eight minutes"
RESULT = "leakage_alarm"
RELIABILITY, MEAN, SD = 0.84, 10.0, 6.5
LOW = (0.9, 2.8)  # of a beta distribution, whose mean is 6.6 of 27
CONFIG = EvaluateConfig(resamples=200, curve_resamples=100)
MODEL = "model"
CLEAN = {"r about .6": 1.16, "r about .75": 0.70, "knows the severity": 0.0}
LEAKED = (0.0, 0.5, 1.0)  # points by which the estimate of a leaked total errs
PEOPLE = (50, 100, 200, 300)
THIRD = 1 / 3


def draw(people: int, noise: float, leaked: float | None, low: bool, seed: int) -> Sample:
    """A sample with one model.

    Args:
        people: with one PHQ-9 each.
        noise: of the clean estimate, in standard deviations of severity.
        leaked: error of the estimates of leaked totals, points; None without a leak.
        low: draw people most of whom score low.
        seed: of everything.
    """
    rng = np.random.default_rng([people, seed])
    severity, error, doubt = rng.normal(size=(3, people))
    standard = np.sqrt(RELIABILITY) * severity + np.sqrt(1 - RELIABILITY) * error
    seen = np.sqrt(RELIABILITY) * (severity + noise * doubt) / (1 + noise**2)
    if low:
        gold, mean = (27 * beta.ppf(norm.cdf(x), *LOW) for x in (standard, seen))
    else:
        gold, mean = MEAN + SD * standard, MEAN + SD * seen
    gold = np.clip(np.rint(gold), 0, 27)
    if leaked is not None:
        told = rng.random(people) < THIRD
        mean = np.where(told, gold + leaked * rng.normal(size=people), mean)
    mean = np.clip(mean, 0, 27)
    return sample_of(gold, mean)


def sample_of(gold: Array, mean: Array) -> Sample:
    """One label a person, and one model with the normal distribution of its errors."""
    count = len(gold)
    totals = Totals.normal(mean, np.full(count, max(float(np.std(gold - mean)), 0.5)))
    ones = np.ones(count)
    return Sample(
        split="out-of-fold",
        instrument="phq9",
        person=np.arange(count),
        people=count,
        label=np.arange(count),
        gold=gold,
        user_turns=ones,
        user_words=ones,
        models={MODEL: Estimates(mean[None, :], mean[None, :], (totals,))},
    )


def rings(sample: Sample) -> bool:
    """Whether `leadline evaluate` would say that something leaks."""
    everybody = np.ones((1, len(sample.gold)))
    drawn = list(person_weights(sample.person, sample.people, CONFIG.resamples, CONFIG.seed))
    scalars, resampled = (
        scalar_scores(sample, sample.models[MODEL], Resamples.of(sample, weights), CONFIG)
        for weights in (everybody, np.concatenate(drawn))
    )
    ends = alarm_ends(sample, MODEL, scalars, resampled, CONFIG)
    ceiling = noise_ceiling(sample.gold, CONFIG.reliability, (), CONFIG.cut)
    entry = {"alarm": ends}
    return bool(ceiling and beyond_ceiling(entry, ceiling.as_dict(), CONFIG.cut))


def share_of_alarms(
    people: int, noise: float, leaked: float | None, *, low: bool, sets: int
) -> float:
    """Share of sets in which the alarm rings."""
    return sum(rings(draw(people, noise, leaked, low, seed)) for seed in range(sets)) / sets


def options(parser: argparse.ArgumentParser) -> None:
    """How many sets stand behind each share."""
    parser.add_argument("--sets", type=int, default=200)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """False alarms of clean models, and leaks found, by number of people."""
    clean = {
        f"{name}{', many low' if low else ''}": {
            str(people): share_of_alarms(people, noise, None, low=low, sets=args.sets)
            for people in PEOPLE
        }
        for low in (False, True)
        for name, noise in CLEAN.items()
    }
    leaks = {
        f"error of {leaked:g} points{', many low' if low else ''}": {
            str(people): share_of_alarms(
                people, CLEAN["r about .75"], leaked, low=low, sets=args.sets
            )
            for people in PEOPLE
        }
        for low in (False, True)
        for leaked in LEAKED
    }
    return {"sets": args.sets, "false alarms": clean, "leaks found": leaks}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the table in docs/evaluation.md: shares by number of people."""
    return [
        (f"{kind}: {name}", " | ".join(f"{share:.1%}" for share in shares.values()))
        for kind in ("false alarms", "leaks found")
        for name, shares in results[kind].items()
    ]


if __name__ == "__main__":
    run_module()
