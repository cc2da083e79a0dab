"""From the table of predictions to arrays: one `Sample` per split and instrument.

Everything that would make the numbers wrong is refused here: labels that are not gold, a
person on both sides of a split, repeated rows, models that saw different labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.evaluate.further import LOCKED, OUT_OF_FOLD, PROSPECTIVE
from leadline.phq9.distribution import Totals
from leadline.phq9.items import BANDS, TOTALS
from leadline.tables import DELIVERED, PREDICTIONS, check_columns

SPLITS = (LOCKED, PROSPECTIVE, OUT_OF_FOLD)

MAXIMUM = {"phq9": 27, "phq8": 24}

TABLE = "predictions.parquet"

NOT_GOLD = ("source", "round", "draw", "weight", "ancestors")  # columns of label models

SUM_SLACK = 1e-3  # how far the sum of a distribution may lie from 1


@dataclass(frozen=True)
class Estimates:
    """What one model said, every repeat of it.

    Attributes:
        mean, median: shape (repeats, labels).
        totals: distributions of all labels, one `Totals` a repeat, or None if the model gives
            none.
        lower, upper: the interval that is delivered, shape (repeats, labels); None if the model
            or the run gives none.
    """

    mean: Array
    median: Array
    totals: tuple[Totals, ...] | None
    lower: Array | None = None
    upper: Array | None = None

    @property
    def repeats(self) -> int:
        """Number of repeats (seeds of the cross-validation)."""
        return len(self.mean)


@dataclass(frozen=True)
class Sample:
    """Gold labels of one split and instrument, and what every model said of them.

    Attributes:
        person: index of the person of each label, (labels,).
        people: number of persons.
        label: row of each label in the cohort, (labels,).
        gold: totals, (labels,).
        user_turns, user_words: amount of dialogue in each window, (labels,).
        models: name -> `Estimates`.
        each: whose weights are the same, one of `config.WEIGHED`.
    """

    split: str
    instrument: str
    person: np.ndarray
    people: int
    label: np.ndarray
    gold: Array
    user_turns: Array
    user_words: Array
    models: Mapping[str, Estimates]
    each: str = "label"

    @property
    def weight(self) -> Array:
        """What each label weighs in a score, (labels,), 1 on average."""
        if self.each == "label":
            return np.ones(len(self.gold))
        weight: Array = len(self.gold) / self.people / np.bincount(self.person)[self.person]
        return weight

    @property
    def maximum(self) -> int:
        """The highest total of the instrument."""
        return MAXIMUM[self.instrument]

    def people_at_or_above(self, threshold: float) -> tuple[int, int]:
        """Persons with a label at or above `threshold`, and persons with one below it."""
        above = self.gold >= threshold
        return len(np.unique(self.person[above])), len(np.unique(self.person[~above]))


def band_of(totals: Array) -> np.ndarray:
    """Index of the severity band of each total; estimates count by their nearest total."""
    starts = [low for _, low, _ in BANDS[1:]]
    return np.searchsorted(starts, np.floor(totals + 0.5), side="right")


def refuse(
    problem: str, remedy: str, row: int | str | None = None, file: str | Path = TABLE
) -> LeadlineError:
    """The error for a table of predictions that cannot be evaluated."""
    return LeadlineError(problem, remedy=remedy, file=file, row=row)


def check_predictions(table: pl.DataFrame) -> None:
    """Refuse a table whose numbers would be wrong.

    Raises:
        LeadlineError: columns or types differ from `tables.PREDICTIONS`; labels of another
            source than the questionnaire; totals out of range; repeated rows; a person both
            locked and out-of-fold, or in two folds of one repeat; estimates that are missing
            or not finite; distributions of another length or sum.
    """
    _check_columns(table)
    _check_labels(table)
    _check_people(table)
    check_numbers(table)


def _check_columns(table: pl.DataFrame) -> None:
    for column in NOT_GOLD:
        if column in table.columns:
            raise refuse(
                f"The table has a column {column!r}, which belongs to labels made by a model.",
                "Evaluate takes PHQ-9s that people answered; write predictions for those only.",
            )
    remedy = "Train or score again with this version of Leadline."
    has_interval = any(column in table.columns for column in DELIVERED)
    schema = {k: v for k, v in PREDICTIONS.items() if has_interval or k not in DELIVERED}
    check_columns(table, schema, TABLE, remedy)
    if table.is_empty():
        raise refuse(
            "There are no predictions of gold labels.",
            "Train on a cohort with PHQ-9s, with --folds or with locked test people.",
        )


def _first(table: pl.DataFrame, condition: pl.Expr) -> int | None:
    """Number of the first row, from 1, in which `condition` holds."""
    rows = table.select(pl.arg_where(condition)).to_series()
    return None if rows.is_empty() else int(rows[0]) + 1


def _check_labels(table: pl.DataFrame) -> None:
    key = ["model", "repeat", "split", "person_id", "label", "total", "instrument", "mean"]
    for column in (*key, "median"):
        row = _first(table, pl.col(column).is_null())
        if row is not None:
            raise refuse(f"Column {column!r} is empty.", "Write a value in every row.", row)
    row = _first(table, ~pl.col("split").is_in(SPLITS))
    if row is not None:
        raise refuse("The split is unknown.", f"Use one of: {', '.join(SPLITS)}.", row)
    row = _first(table, ~pl.col("instrument").is_in(list(MAXIMUM)))
    if row is not None:
        raise refuse(
            "Labels of another instrument cannot be evaluated.",
            "Keep PHQ-9 (or PHQ-8) labels only; a PHQ-2 is not on the scale of the estimates.",
            row,
        )
    highest = pl.col("instrument").replace_strict(MAXIMUM, return_dtype=pl.Float64)
    total = pl.col("total")
    row = _first(table, ~(total.is_between(0, highest) & (total == total.round())))
    if row is not None:
        raise refuse(
            f"The gold total {table['total'][row - 1]} is not a whole number in the range "
            f"of {table['instrument'][row - 1]}.",
            "Correct the label in the cohort and import it again.",
            row,
        )
    _check_identity(table)


def _check_identity(table: pl.DataFrame) -> None:
    # Labels that came later are rows of another cohort: the same number is another label.
    later = pl.when(pl.col("split") == PROSPECTIVE).then(-1 - pl.col("label"))
    table = table.with_columns(later.otherwise(pl.col("label")).alias("label"))
    key = ["model", "repeat", "label"]
    row = _first(table, pl.struct(key).is_duplicated())
    if row is not None:
        raise refuse(
            "A label occurs twice for the same model and repeat.",
            "Write one row per label, model and repeat.",
            row,
        )
    facts = ["person_id", "total", "instrument", "split"]
    several = table.group_by("label").agg(pl.struct(facts).n_unique().alias("n"))
    wrong = several.filter(pl.col("n") > 1)["label"]
    if len(wrong):
        row = _first(table, pl.col("label") == wrong.min())
        raise refuse(
            "Rows of one label disagree about its person, total, instrument or split.",
            "Make all predictions from the same cohort.",
            row,
        )


def _check_people(table: pl.DataFrame) -> None:
    """Nobody is locked and trained on; whoever was trained on may have later labels."""
    sides = table.with_columns(pl.col("split").replace({PROSPECTIVE: OUT_OF_FOLD}))
    several = sides.group_by("person_id").agg(pl.col("split").n_unique().alias("n"))
    both = several.filter(pl.col("n") > 1)["person_id"]
    if len(both):
        row = _first(table, pl.col("person_id").is_in(both.implode()))
        raise refuse(
            f"{len(both)} people are both in the locked test and in the training folds.",
            "Split by person: a locked person takes no part in training.",
            row,
        )
    folds = table.filter(pl.col("split") == OUT_OF_FOLD)
    key = ["model", "repeat", "person_id"]
    spread = folds.group_by(key).agg(pl.col("fold").n_unique().alias("n"))
    leaked = spread.filter(pl.col("n") > 1).select(key)
    if leaked.height:
        raise refuse(
            f"{leaked.height} times a person's labels lie in several folds of one repeat, "
            "so the person was in training when predicted.",
            "Make folds by person.",
        )


def check_numbers(table: pl.DataFrame, file: str | Path = TABLE) -> None:
    """Refuse estimates that are not finite, off the scale, or no distribution.

    Args:
        table: with the columns of `tables.PREDICTIONS`.
        file: where it lies, for the message.

    Raises:
        LeadlineError: the first of them, by its row.
    """
    for column in ("mean", "median"):
        row = _first(table, ~(pl.col(column).is_finite() & pl.col(column).is_between(-27, 54)))
        if row is not None:
            raise refuse(
                f"The {column} is not a finite number near the range 0-27.",
                "Look for a diverged training run; estimates must be finite.",
                row,
                file,
            )
    _check_intervals(table, file)
    has_distribution = pl.col("distribution").is_not_null()
    values = pl.col("distribution")
    sound = (
        (values.list.len() == TOTALS)
        & values.list.sum().is_between(1 - SUM_SLACK, 1 + SUM_SLACK)
        & (values.list.min() >= 0)
    )
    row = _first(table, has_distribution & ~sound.fill_null(False))
    if row is not None:
        raise refuse(
            f"A distribution is not {TOTALS} probabilities that sum to 1.",
            "Give P(total = 0) to P(total = 27), or null for a model without one.",
            row,
            file,
        )


def _check_intervals(table: pl.DataFrame, file: str | Path) -> None:
    if DELIVERED[0] not in table.columns:
        return
    lower, upper = (pl.col(column) for column in DELIVERED)
    ordered = (lower <= upper) & (lower >= 0) & (upper < TOTALS)
    absent = lower.is_null() & upper.is_null()
    row = _first(table, ~(absent | ordered.fill_null(False)))
    if row is not None:
        raise refuse(
            "An interval is not a lower and an upper end on the scale of 0 to 27.",
            "Give both ends in order, or null in both for a model without an interval.",
            row,
            file,
        )


def split_samples(table: pl.DataFrame, each: str = "label") -> list[Sample]:
    """One `Sample` per split (in the order of `SPLITS`) and instrument (PHQ-9 before PHQ-8).

    Args:
        table: of `tables.PREDICTIONS`.
        each: whose weights are the same, one of `config.WEIGHED`.

    Raises:
        LeadlineError: the table fails `check_predictions`, or a model or repeat lacks labels
            that others have.
    """
    check_predictions(table)
    samples = []
    for split in SPLITS:
        for instrument in MAXIMUM:
            part = table.filter((pl.col("split") == split) & (pl.col("instrument") == instrument))
            if part.height:
                samples.append(replace(_sample(part, split, instrument), each=each))
    return samples


def _sample(part: pl.DataFrame, split: str, instrument: str) -> Sample:
    labels = part.unique("label", keep="first").sort("label")
    models = {
        name: _estimates(part.filter(pl.col("model") == name), name, labels.height)
        for name in part["model"].unique(maintain_order=True)
    }
    names, person = np.unique(labels["person_id"].to_numpy(), return_inverse=True)
    return Sample(
        split=split,
        instrument=instrument,
        person=person,
        people=len(names),
        label=labels["label"].to_numpy(),
        gold=labels["total"].to_numpy().astype(float),
        user_turns=labels["user_turns"].cast(pl.Float64).to_numpy(),
        user_words=labels["user_words"].cast(pl.Float64).to_numpy(),
        models=models,
    )


def _estimates(rows: pl.DataFrame, name: str, labels: int) -> Estimates:
    rows = rows.sort("repeat", "label")
    counts = rows.group_by("repeat").len()["len"]
    if counts.n_unique() > 1 or int(counts[0]) != labels:
        raise refuse(
            f"The model {name!r} does not have one prediction for every label in each repeat, "
            "so models cannot be compared on the same people.",
            "Predict every label with every model and repeat.",
        )
    shape = (len(counts), labels)
    missing = rows["distribution"].null_count()
    if 0 < missing < rows.height:
        raise refuse(
            f"The model {name!r} gives a distribution in some rows only.",
            "Give it in every row of a model, or in none.",
        )
    totals = None
    if not missing:
        flat = rows["distribution"].explode().to_numpy()
        probabilities = flat.reshape(*shape, TOTALS)
        probabilities = probabilities / probabilities.sum(axis=2, keepdims=True)
        totals = tuple(Totals(of_repeat) for of_repeat in probabilities)
    lower, upper = _intervals(rows, name, shape)
    return Estimates(
        # rounding makes ties of values that differ by the order of a sum only
        mean=rows["mean"].round(9).to_numpy().reshape(shape),
        median=rows["median"].round(9).to_numpy().reshape(shape),
        totals=totals,
        lower=lower,
        upper=upper,
    )


def _intervals(
    rows: pl.DataFrame, name: str, shape: tuple[int, int]
) -> tuple[Array | None, Array | None]:
    """The delivered interval of a model, each end (repeats, labels); None without one."""
    missing = rows["lower"].null_count() if "lower" in rows.columns else rows.height
    if 0 < missing < rows.height:
        raise refuse(
            f"The model {name!r} gives an interval in some rows only.",
            "Give it in every row of a model, or in none.",
        )
    if missing:
        return None, None
    lower, upper = (rows[column].to_numpy().reshape(shape) for column in DELIVERED)
    return lower, upper
