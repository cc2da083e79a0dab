"""Made-up predictions with a known truth, for the tests of the evaluation."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl

from leadline.phq9.distribution import Totals
from leadline.phq9.items import TOTALS
from leadline.tables import ESTIMATES, PREDICTIONS

MEAN, SD, RELIABILITY = 10.0, 6.5, 0.84
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def gold_totals(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole totals of persons with standard normal severity `truth`."""
    noise = np.sqrt(1 - RELIABILITY) * rng.normal(size=truth.shape)
    return np.clip(np.round(MEAN + SD * (np.sqrt(RELIABILITY) * truth + noise)), 0, 27)


def estimate_of(truth: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The best linear estimate from `truth` seen with normal noise of SD `noise`."""
    seen = truth + noise * rng.normal(size=truth.shape)
    return MEAN + SD * np.sqrt(RELIABILITY) * seen / (1 + noise**2)


def normal_distribution(mean: np.ndarray, sd: float) -> np.ndarray:
    """Discretised normal distributions over 0..27, (len(mean), 28)."""
    mass = np.exp(-0.5 * ((np.arange(TOTALS) - mean[:, None]) / sd) ** 2)
    return mass / mass.sum(axis=1, keepdims=True)


def predictions(
    people: int = 120,
    labels: int = 1,
    models: dict[str, float] | None = None,
    *,
    repeats: int = 1,
    split: str = "out-of-fold",
    seed: int = 0,
) -> pl.DataFrame:
    """A table of predictions; `models` maps a name to its noise (None: a constant model)."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), labels)
    truth = rng.normal(size=people)[person]
    gold = gold_totals(truth, rng)
    parts = []
    for name, noise in (models or {"leadline": 0.5, "ridge": 1.0}).items():
        for repeat in range(repeats):
            constant = np.full(len(gold), gold.mean())
            mean = constant if noise is None else estimate_of(truth, noise, rng)
            distribution = normal_distribution(mean, 4.0)
            lower, upper = Totals(distribution).interval(0.93)
            parts.append(
                {
                    "model": [name] * len(gold),
                    "repeat": [repeat] * len(gold),
                    "fold": person % 5 if split == "out-of-fold" else [-1] * len(gold),
                    "split": [split] * len(gold),
                    "person_id": [f"{split}-{number}" for number in person],
                    "label": np.arange(len(gold)),
                    "time": [START + datetime.timedelta(days=8)] * len(gold),
                    "total": gold,
                    "instrument": ["phq9"] * len(gold),
                    "mean": mean,
                    "median": mean,
                    "distribution": list(distribution) if noise is not None else None,
                    "lower": lower if noise is not None else None,
                    "upper": upper if noise is not None else None,
                    "user_turns": rng.integers(1, 30, len(gold)),
                    "user_words": rng.integers(10, 900, len(gold)),
                }
            )
    return pl.concat([pl.DataFrame(part, schema=PREDICTIONS) for part in parts])


def running_estimates(people: list[str], turns: int = 10, seed: int = 0) -> pl.DataFrame:
    """Running estimates of some people, one user turn a day."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in people:
        mean = np.clip(10 + np.cumsum(rng.normal(size=turns)), 0, 27)
        for turn in range(turns):
            time = START + datetime.timedelta(days=turn)
            ends = (max(0.0, mean[turn] - 4), min(27.0, mean[turn] + 4))
            step = mean[turn] - (mean[turn - 1] if turn else 10)
            left = -0.5 if turn > 5 else 0.0
            masses = np.eye(28)[round(mean[turn])].tolist()
            said = (masses, mean[turn], mean[turn], *ends, 0.9, 0.5, 0.2, 0.1, step, left, "m")
            rows.append((person, "conversation", 2 * turn, time, *said))
    return pl.DataFrame(rows, schema=ESTIMATES, orient="row")
