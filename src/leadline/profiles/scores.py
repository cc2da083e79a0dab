"""How good profiles are: errors, log scores and calibration of answers that people gave.

Everything is a mean over answers, with a 95% interval that takes the answers and PHQ-9s of a person
as one (the sandwich variance of a mean over clusters, Liang and Zeger 1986). Models are compared on
the same answers. The log score is the mean of the log chance of what was answered, in nats; the
higher the better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from leadline.arrays import Array, Bools, Ints
from leadline.errors import LeadlineError
from leadline.phq9.graded_response import ANSWER_LEVELS
from leadline.phq9.items import ITEM_COLUMNS, ITEMS
from leadline.profiles.profile import ITEM_NOTICE, LEVEL, Profile
from leadline.tables import PROFILES, SLACK, check_columns

Z95 = 1.959964

BINS = 10  # of chances, about equally many in each

RESTORE = "Restore the file from a copy, or train again."

KEYS = ("repeat", "person_id", "label", "item")


@dataclass(frozen=True)
class AnswerScores:
    """What a model said of N answers.

    Attributes:
        chances: shape (N, 4).
        error: absolute error of the median answer, shape (N,).
        log_score: log chance of the answer, shape (N,).
        expected: expected answer, shape (N,).
        within: whether the interval holds the answer, shape (N,).
    """

    chances: Array
    error: Array
    log_score: Array
    expected: Array
    within: Array

    @classmethod
    def of(cls, table: pl.DataFrame) -> AnswerScores:
        """From rows of `PROFILES` with answers."""
        answer = table["answer"].to_numpy().astype(np.int64)
        chances = np.array(table["chances"].to_list(), dtype=np.float64).reshape(-1, ANSWER_LEVELS)
        profile = Profile(chances[:, None, :])
        lower, upper = (table[name].to_numpy() for name in ("lower", "upper"))
        return cls(
            chances,
            np.abs(profile.answer_at(0.5)[:, 0] - answer).astype(np.float64),
            np.log(np.maximum(chances[np.arange(len(answer)), answer], 1e-300)),
            table["expected"].to_numpy().astype(np.float64),
            ((lower <= answer) & (answer <= upper)).astype(np.float64),
        )


def score_profiles(
    tables: Sequence[pl.DataFrame], predictions: pl.DataFrame, least_people: int, model: str
) -> dict[str, Any] | None:
    """What `results.json` says of the profiles of a run; None without an answer.

    Args:
        tables: of `PROFILES`, one for each file of the run.
        predictions: of the run, whose means the profiles have to sum to.
        least_people: with fewer no interval is given.
        model: the name in `predictions` of the run's own model.
    """
    table = pl.concat(tables)
    answered = table.filter(pl.col("answer").is_not_null())
    if not answered.height:
        return None
    sets = [
        _set_scores(part, split, instrument, least_people)
        for (split, instrument), part in answered.group_by(
            "split", "instrument", maintain_order=True
        )
    ]
    return {
        "notice": ITEM_NOTICE,
        "level": LEVEL,
        "disagreement": _disagreement(table, predictions.filter(pl.col("model") == model)),
        "sets": sets,
    }


def check_profiles(table: pl.DataFrame, file: Any) -> None:
    """Raise unless every row of a table of `PROFILES` is one.

    Raises:
        LeadlineError: a column is absent, or a value is not finite or out of range.
    """
    check_columns(table, PROFILES, file, RESTORE)
    chances = pl.col("chances")
    conditions = [
        pl.col("item").is_between(1, len(ITEMS)),
        pl.col("answer").is_between(0, ANSWER_LEVELS - 1) | pl.col("answer").is_null(),
        chances.list.len() == ANSWER_LEVELS,
        chances.list.min() >= -SLACK,
        (chances.list.sum() - 1.0).abs() <= SLACK,
        pl.col("expected").is_between(-SLACK, ANSWER_LEVELS - 1 + SLACK),
        pl.col("lower").is_between(0, ANSWER_LEVELS - 1),
        pl.col("upper").is_between(pl.col("lower"), ANSWER_LEVELS - 1),
    ]
    holds = pl.all_horizontal(condition.fill_null(value=False) for condition in conditions)
    rows = table.select(pl.arg_where(~holds)).to_series()
    if len(rows):
        raise LeadlineError(
            "A profile is not finite or out of range.", remedy=RESTORE, file=file,
            row=int(rows[0]) + 1,
        )  # fmt: skip


def _set_scores(
    table: pl.DataFrame, split: object, instrument: object, least_people: int
) -> dict[str, Any]:
    """Scores of one split: of every model, of every item, and against the others."""
    parts = {
        str(name): part.sort(KEYS) for (name,), part in table.group_by("model", maintain_order=True)
    }
    models = {name: AnswerScores.of(part) for name, part in parts.items()}
    first, delivered = next(iter(parts.values())), next(iter(models.values()))
    people = _People.of(first, least_people)
    answer, item = (first[name].to_numpy().astype(np.int64) for name in ("answer", "item"))
    return {
        "split": split,
        "instrument": instrument,
        "people": people.count,
        "labels": first["label"].n_unique(),
        "answers": first.select("label", "item").n_unique(),
        "models": {
            name: {
                "log_score": people.mean(scores.log_score),
                "mae": people.mean(scores.error),
                "within": people.mean(scores.within),
            }
            for name, scores in models.items()
        },
        "gains": {
            name: people.mean(delivered.log_score - scores.log_score)
            for name, scores in list(models.items())[1:]
        },
        "items": [
            _item_scores(number, models, people, answer, item == number)
            for number in sorted(set(item.tolist()))
        ],
        "calibration": _calibration(delivered.chances, answer, people),
    }


def _item_scores(
    number: int, models: dict[str, AnswerScores], people: _People, answer: Ints, rows: Bools
) -> dict[str, Any]:
    """Scores of one item by model, and what was answered on average."""
    delivered = next(iter(models.values()))
    return {
        "item": number,
        "name": ITEMS[number - 1],
        "column": ITEM_COLUMNS[number - 1],
        "answers": int(rows.sum()),
        "answer": people.mean(answer.astype(np.float64), rows),
        "expected": float(delivered.expected[rows].mean()),
        "within": people.mean(delivered.within, rows),
        "mae": {name: float(scores.error[rows].mean()) for name, scores in models.items()},
        "log_score": {
            name: float(scores.log_score[rows].mean()) for name, scores in models.items()
        },
        "gains": {
            name: people.mean(delivered.log_score - scores.log_score, rows)
            for name, scores in list(models.items())[1:]
        },
    }


def _calibration(chances: Array, answer: Ints, people: _People) -> list[dict[str, Any]]:
    """Of the chances of 1 or more, 2 or more, 3: how often that was answered, in bins."""
    at_least = np.cumsum(chances[:, ::-1], axis=1)[:, ::-1][:, 1:]
    outcome = answer[:, None] >= np.arange(1, ANSWER_LEVELS)
    edges = np.unique(np.quantile(at_least, np.linspace(0, 1, BINS + 1)))
    where = np.clip(np.searchsorted(edges, at_least, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = []
    for number in np.unique(where):
        inside = where == number
        share = people.mean_of_counts((outcome & inside).sum(axis=1), inside.sum(axis=1))
        bins.append({"forecast": float(at_least[inside].mean()), "outcome": share})
    return bins


@dataclass(frozen=True)
class _People:
    """Whose each answer is.

    Attributes:
        person: number of the person of each answer, shape (N,).
        count: people.
        least: with fewer no interval is given.
    """

    person: Ints
    count: int
    least: int

    @classmethod
    def of(cls, table: pl.DataFrame, least: int) -> _People:
        """The people of a table's rows."""
        person = table["person_id"].rank("dense").to_numpy().astype(np.int64) - 1
        return cls(person, int(person.max()) + 1, least)

    def mean(self, values: Array, rows: Bools | None = None) -> dict[str, float | None]:
        """Mean of values (N,) at `rows`, with its interval over people."""
        counts = np.ones(len(values)) if rows is None else rows.astype(np.float64)
        least, most = (float(end) for end in (values.min(), values.max()))
        return self.mean_of_counts(values * counts, counts, (least, most))

    def mean_of_counts(
        self, sums: Array | Ints, counts: Array | Ints, bounds: tuple[float, float] = (0.0, 1.0)
    ) -> dict[str, float | None]:
        """The ratio of two sums over answers, each (N,), with its interval over people."""
        total = float(counts.sum())
        value = float(sums.sum()) / total
        by_person = np.bincount(self.person, sums - value * counts, self.count)
        involved = int((np.bincount(self.person, counts, self.count) > 0).sum())
        if involved < max(self.least, 2):
            return {"value": value, "low": None, "high": None}
        error = float(np.sqrt((by_person**2).sum() * involved / (involved - 1))) / total
        low, high = np.clip([value - Z95 * error, value + Z95 * error], *bounds)
        return {"value": value, "low": float(low), "high": float(high)}


def _disagreement(table: pl.DataFrame, predictions: pl.DataFrame) -> float:
    """The greatest distance of the summed expected answers from the mean total, in points."""
    keys = ["split", "repeat", "label"]
    delivered = table.filter(pl.col("model") == table["model"][0])
    sums = delivered.group_by(keys).agg(pl.col("expected").sum())
    both = sums.join(predictions.select(*keys, "mean"), on=keys)
    distance = (both["expected"] - both["mean"]).abs().max()
    return float(distance) if isinstance(distance, float) else 0.0
