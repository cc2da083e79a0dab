"""People who are in a cohort twice: the same words under a second id, edited or cut."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from leadline.cohort.store import Cohort

AGAIN = "-again"


def edited(text: str, share: float, draw: random.Random) -> str:
    """`text` with a share of its words replaced."""
    return " ".join(f"w{draw.random():.6f}" if draw.random() < share else w for w in text.split())


def with_copies(
    cohort: Cohort, people: Iterable[str], *, share: float = 0.1, locked: bool | None = False
) -> Cohort:
    """The cohort with `people` a second time, each as ``ID-again`` with the PHQ-9s of ID.

    Args:
        cohort: in memory.
        people: who is doubled.
        share: of the words of a copy that are changed.
        locked: whether the copies are; None as the people themselves.
    """
    draw = random.Random(5)
    doubled_people = pl.col("person_id").is_in(list(people))
    name = (pl.col("person_id") + AGAIN).alias("person_id")
    turns = cohort.turns.filter(doubled_people)
    texts = [edited(text, share, draw) for text in turns["text"]]
    rows = cohort.people.filter(doubled_people).with_columns(name)
    if locked is not None:
        rows = rows.with_columns(pl.lit(locked).alias("locked"))
    return replace(
        cohort,
        turns=pl.concat([cohort.turns, turns.with_columns(name, pl.Series("text", texts))]),
        phq9=pl.concat([cohort.phq9, cohort.phq9.filter(doubled_people).with_columns(name)]),
        people=pl.concat([cohort.people, rows]),
        path=None,
    )
