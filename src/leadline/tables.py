"""The tables that lie on disk between two rooms, and what each column means.

A cohort: `turns` holds one row a message, `phq9` one row an administration of the questionnaire
(gold labels only), `people` one row a person. Times are UTC; a null time means that the source
did not say, and then the order of rows is the order of speech.

A run: `predictions` has one row per gold label, model and repeat: what a model that never saw
the person said of that label. `estimates` has one row per user turn: the running estimate.
`ledger` says who was left out of which model.

Labels: what teachers and students said, with where each label comes from. Gold labels are never
in it. `ancestors` names every person whose gold label or pseudolabel a label depends on,
directly or through others; few-shot examples count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError
from leadline.phq9.items import CUTS, ITEM_COLUMNS, TOTALS

UTC_TIME = pl.Datetime("us", "UTC")

TURNS: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "conversation_id": pl.String(),
    "turn": pl.Int32(),  # position in the conversation, from 0
    "role": pl.String(),  # one of ROLES; "user" is the person whose severity is estimated
    "text": pl.String(),
    "time": UTC_TIME,
}

PHQ9: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "time": UTC_TIME,
    "total": pl.Float64(),  # 0-27 (phq9), 0-24 (phq8), 0-6 (phq2); rounded if prorated
    "raw_total": pl.Float64(),  # before rounding; equals total unless prorated
    **{item: pl.Int8() for item in ITEM_COLUMNS},  # 0-3, null where not answered or not given
    "instrument": pl.String(),  # one of INSTRUMENTS
    "prorated": pl.Boolean(),
}

PEOPLE: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "locked": pl.Boolean(),  # True: a locked test person; no verb trains or selects on them
}  # further columns (age, gender, site ...) are kept as the source gave them

ON_SCALE = ("mean", "median", "lower", "upper")
"""Columns of `ESTIMATES` that are points of the PHQ-9."""

IDENTIFYING = {"person_id", "turn", "mean", "lower", "upper"}
"""Columns by which a table of estimates is known, of whatever version."""

MADE_BY = "leadline.made_by"
"""Key of the metadata in which a file of estimates names its run: SHA-256 of files by name."""

SLACK = 1e-6  # of sums and bounds: numbers are rounded

DISTRIBUTION = pl.List(pl.Float64())  # TOTALS probabilities that sum to 1

PREDICTIONS: dict[str, pl.DataType] = {
    "model": pl.String(),  # "leadline" for the run's own model, else a baseline's name
    "repeat": pl.Int16(),  # which seed of the cross-validation, from 0
    "fold": pl.Int16(),  # the fold that was left out; -1 for the locked test
    "split": pl.String(),  # "out-of-fold" or "locked"
    "person_id": pl.String(),
    "label": pl.Int64(),  # row of the label in the cohort's phq9.parquet
    "time": UTC_TIME,  # of the PHQ-9
    "total": pl.Float64(),  # the gold total
    "instrument": pl.String(),
    "mean": pl.Float64(),
    "median": pl.Float64(),
    "distribution": DISTRIBUTION,  # null where the model gives none
    "lower": pl.Float64(),  # the interval that is delivered; null where the model gives none
    "upper": pl.Float64(),
    "user_turns": pl.Int32(),  # user turns in the window
    "user_words": pl.Int32(),  # their words
}

DELIVERED = ("lower", "upper")
"""Columns of `PREDICTIONS` that runs of before did not write."""

MASKED_ARM = "questionnaire masked"
"""The model of `predictions` that reads no questionnaire where the run's own model does."""

PROFILES: dict[str, pl.DataType] = {
    "model": pl.String(),  # "leadline", "total only" (no word of the text) or "marginal"
    "repeat": pl.Int16(),
    "fold": pl.Int16(),
    "split": pl.String(),
    "person_id": pl.String(),
    "label": pl.Int64(),
    "instrument": pl.String(),
    "item": pl.Int8(),  # 1 to 9; item 9 is a part of the total and no sign of risk or safety
    "answer": pl.Int8(),  # gold, null where it was not given
    "expected": pl.Float64(),  # expected answer; over the items of a label they sum to its mean
    "chances": pl.List(pl.Float64()),  # of the answers 0 to 3
    "lower": pl.Int8(),  # the interval that holds 90% or more
    "upper": pl.Int8(),
}
"""Of a run whose people's PHQ-9s have items: what is said of each item of each PHQ-9."""

ESTIMATES: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "conversation_id": pl.String(),
    "turn": pl.Int32(),
    "time": UTC_TIME,  # when everything that was read had been said; null where the turn has none
    "distribution": DISTRIBUTION,
    "mean": pl.Float64(),
    "median": pl.Float64(),
    "lower": pl.Float64(),  # central interval, bounds on the 0-27 scale
    "upper": pl.Float64(),
    **{f"p_ge_{threshold}": pl.Float64() for threshold in CUTS},
    "increment": pl.Float64(),  # mean minus the mean after the turn before
    "departure": pl.Float64(),  # part of it because turns grew too old; the rest is this turn's
    "model_id": pl.String(),
}

FOLD_LEDGER: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "repeat": pl.Int16(),
    "fold": pl.Int16(),  # the fold that left this person out; -1 for locked test people
    "labels": pl.Int32(),  # gold labels of the person that were read
}

LABELS: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "time": UTC_TIME,  # as of when; null where the source has no times
    "first": pl.Int32(),  # of the person's user turns, included
    "last": pl.Int32(),  # of the person's user turns, included
    "source": pl.String(),  # one of SOURCES
    "round": pl.Int16(),  # 0: the teacher; 1 and on: rounds of self-training
    "model": pl.String(),
    "draw": pl.Int16(),
    **{item: pl.Int8() for item in ITEM_COLUMNS},  # 0-3, null where there was no evidence
    "total": pl.Float64(),
    "weight": pl.Float64(),  # relative to a gold label's 1; 1 for a raw draw
    "ancestors": pl.List(pl.String()),
    "confidence": pl.Float64(),  # share of items rated with high confidence
    "quotes": pl.Int16(),  # spans quoted as evidence
    "quotes_found": pl.Int16(),  # of them, those that the person said
    "user_words": pl.Int32(),
}

COSTS: dict[str, pl.DataType] = {
    "input_tokens": pl.Float64(),  # readings of equal text share a request, so not whole numbers
    "output_tokens": pl.Float64(),  # thoughts included
    "reasoning_tokens": pl.Float64(),  # of the output tokens; 0 where the server does not count
    "usd": pl.Float64(),
}

TEACHER_LABELS: dict[str, pl.DataType] = {
    **LABELS,
    "rubric": pl.String(),  # version of the rubric
    "reasoning": pl.String(),  # as asked for; "default" is the server's own
    **COSTS,
}
"""Labels of teachers; tables of before have the columns of `LABELS` alone, and null here."""


def type_name(kind: pl.DataType | None) -> str:
    """A type in one word; in full it may quote names of fields and categories out of a file.

    >>> type_name(pl.Struct({"so tired": pl.String()}))
    'Struct'
    """
    if isinstance(kind, pl.Struct | pl.List | pl.Array | pl.Enum):
        return str(kind.base_type())
    return str(kind)


def check_columns(
    table: pl.DataFrame, schema: Mapping[str, pl.DataType], file: str | Path | None, remedy: str
) -> None:
    """Check that `table` has every column of `schema` with its type; it may have others.

    Args:
        table: any table, such as an empty one with the columns of a file.
        schema: one of the tables above, or a room's own.
        file: where the table lies, for the message.
        remedy: what to do about a table of another schema.

    Raises:
        LeadlineError: a column is absent or of another type.
    """
    for column, kind in schema.items():
        column_type = table.schema.get(column)
        if column_type != kind:
            raise LeadlineError(
                f"Column {column!r} should be {kind}, found {type_name(column_type)}.",
                remedy=remedy,
                file=file,
            )


def check_estimates(
    table: pl.DataFrame, file: str | Path | None, *, first: int = 1, part: str = ""
) -> None:
    """Check that every estimate of a table of `ESTIMATES` is one: finite, on the scale, in order.

    Tables of before may lack columns other than those of `IDENTIFYING`.

    Args:
        table: the table, or rows of one.
        file: where it lies, for the message.
        first: number of its first row.
        part: which part of the file it is, where the row counts within a part.

    Raises:
        LeadlineError: a number is absent, not finite or off the scale. The row is named.
    """
    has = set(table.columns)
    shares, masses = [f"p_ge_{cut}" for cut in CUTS], pl.col("distribution")
    conditions = [
        *(pl.col(name).is_between(-SLACK, TOTALS - 1 + SLACK) for name in ON_SCALE if name in has),
        *(pl.col(name).is_between(-SLACK, 1 + SLACK) for name in shares if name in has),
        *(pl.col(name).is_finite() for name in ("increment", "departure") if name in has),
        pl.col("lower") <= pl.col("upper"),
    ]
    if "distribution" in has:
        conditions += [
            masses.list.len() == TOTALS,
            masses.list.min() >= -SLACK,
            (masses.list.sum() - 1).abs() <= SLACK,
        ]
    holds = pl.all_horizontal(condition.fill_null(value=False) for condition in conditions)
    rows = table.select(pl.arg_where(~holds)).to_series()
    if len(rows):
        row = int(rows[0]) + first
        raise LeadlineError(
            "An estimate is absent, not finite or off the scale.",
            remedy="Use nothing of this; check the run with leadline verify, and score again.",
            file=file,
            row=f"{part}, row {row}" if part else row,
        )
