"""Whether a questionnaire was given in the chat that is about to be read, and what to do about it.

The answers of a questionnaire that was given in the chat are the label itself, or nearly: a model
that reads them measures how well it reads numbers. So whoever trains or labels looks first, and
stops unless the user has said which of two ways to go: blank these turns
(`WindowConfig.mask_questionnaire`) or read them (`keep_questionnaire`).

A reader of context sees everything before the end of a reading, so for training all of it counts;
a teacher is shown the reading alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.masking import cohort_spans
from leadline.cohort.store import FILES, Cohort
from leadline.cohort.windows import label_readings, unlabelled_readings
from leadline.errors import LeadlineError
from leadline.phq9.wordings import wordings

WAYS = "Add --mask-questionnaire to blank these turns before anything is read, or " \
    "--keep-questionnaire to read them all the same."  # fmt: skip

NONE, MASKED, KEPT = "none found", "masked", "kept"


@dataclass(frozen=True)
class QuestionnaireCounts:
    """What is read of people, and how much of it looks like a questionnaire.

    Attributes:
        people, turns: that hold a questionnaire, of those read.
        people_read, turns_read: all.
        reasons: kind of span -> spans.
        labels: row of each label (`label`) with the turns of its reading that hold one (`turns`).
        first_row: row of the first such turn in `turns.parquet`, from 1; 0 without any.
    """

    people: int
    people_read: int
    turns: int
    turns_read: int
    reasons: dict[str, int]
    labels: pl.DataFrame = field(compare=False)
    first_row: int

    def facts(self, window: WindowConfig) -> dict[str, Any]:
        """The counts as plain values, and which way was gone (``arm``)."""
        counts = {name: value for name, value in vars(self).items() if name != "labels"}
        arm = NONE if not self.turns else MASKED if window.mask_questionnaire else KEPT
        counts |= {"asked_labels": self.labels["label"].to_list(), "words": self.words()}
        return {"arm": arm, **counts, "languages": list(wordings())}

    def words(self) -> str:
        """The counts in words."""
        kinds = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        return (
            f"{self.people:,} of {self.people_read:,} people "
            f"({_share(self.people, self.people_read)}), {self.turns:,} of {self.turns_read:,} "
            f"turns ({_share(self.turns, self.turns_read)}; {kinds})"
        )


def _share(part: int, total: int) -> str:
    share = part / max(total, 1)
    return "under 1%" if 0 < share < 0.01 else f"{share:.0%}"


def count_questionnaires(
    cohort: Cohort, readings: pl.DataFrame, *, context: bool = True
) -> QuestionnaireCounts:
    """How much of what is read looks like a questionnaire given in the chat.

    Args:
        cohort: whose turns are read, as they are.
        readings: columns person_id, first and last (user turns, both included), and label where
            readings have one.
        context: all before the end of a reading is read, not the reading alone.
    """
    ends = readings.with_columns(first=pl.lit(0, pl.Int32) if context else pl.col("first"))
    is_user = pl.col("role") == "user"
    places = (
        cohort.turns.lazy()
        .with_row_index("row", offset=1)
        .join(ends.lazy().select("person_id").unique(), on="person_id", how="semi")
        .with_columns(
            at=(is_user.cast(pl.Int32).cum_sum().over("person_id") - is_user.cast(pl.Int32))
        )
    ).collect()
    spans = cohort_spans(places.select(cohort.turns.columns))
    keys = ["person_id", "conversation_id", "turn"]
    flagged = places.select("row", "at", *keys).join(
        spans.select(keys).unique(), on=keys, how="semi"
    )
    read = _read(places.select("row", "at", "person_id"), ends)
    hits = _read(flagged, ends)
    rows = set(hits["row"])
    numbers = flagged.filter(pl.col("row").is_in(list(rows))).select(keys)
    reasons = spans.join(numbers, on=keys, how="semi")["reason"].value_counts(sort=True)
    labels = pl.DataFrame(schema={"label": pl.Int64(), "turns": pl.Int32()})
    if "label" in readings.columns:
        labels = (
            hits.drop_nulls("label")
            .group_by(pl.col("label").cast(pl.Int64))
            .agg(turns=pl.col("row").n_unique().cast(pl.Int32))
            .sort("label")
        )
    return QuestionnaireCounts(
        people=hits["person_id"].n_unique(),
        people_read=readings["person_id"].n_unique(),
        turns=len(rows),
        turns_read=read["row"].n_unique(),
        reasons=dict(reasons.iter_rows()),
        labels=labels,
        first_row=min(rows, default=0),
    )


def _read(places: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """The turns that lie in a reading, one row a turn and reading."""
    joined = places.join(ends, on="person_id")
    return joined.filter(pl.col("at").is_between("first", "last"))


def check_questionnaires(
    cohort: Cohort, window: WindowConfig, readings: pl.DataFrame, *, context: bool = True
) -> QuestionnaireCounts:
    """The counts, where a questionnaire may be read or is masked, or none is there.

    Args:
        cohort: whose turns are read, as they are.
        window: which of the two ways the user has chosen.
        readings: as `count_questionnaires` takes them.
        context: as `count_questionnaires` takes it.

    Raises:
        LeadlineError: there is a questionnaire, however small, and no way was chosen.
    """
    counts = count_questionnaires(cohort, readings, context=context)
    if counts.turns and not (window.mask_questionnaire or window.keep_questionnaire):
        raise LeadlineError(
            f"A questionnaire was given or quoted in the chat: {counts.words()}. Its answers are "
            "the label: a model that reads them is only reading numbers.",
            remedy=WAYS,
            file=None if cohort.path is None else cohort.path / FILES[0],
            row=counts.first_row,
        )
    return counts


def readings_of(cohort: Cohort, window: WindowConfig, who: str = "all") -> pl.DataFrame:
    """The readings of a cohort, as `count_questionnaires` takes them.

    Args:
        cohort: with its gold labels.
        window: which text counts.
        who: ``labelled`` (readings of labels, without locked people), ``unlabelled`` (the last
            reading of people without any) or ``all``.
    """
    columns = {"person_id": pl.String(), "label": pl.Int64(), "first": pl.Int32(),
               "last": pl.Int32()}  # fmt: skip
    tables = [pl.DataFrame(schema=columns)]
    if who != "unlabelled":
        gold = label_readings(cohort, window).filter(~pl.col("locked"))
        tables.append(gold.select(list(columns)))
    if who != "labelled":
        rows = [
            (timeline.person_id, None, span.first, span.last)
            for timeline, span in unlabelled_readings(cohort, window)
        ]
        tables.append(pl.DataFrame(rows, schema=columns, orient="row"))
    return pl.concat(tables)
