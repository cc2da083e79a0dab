"""A cohort of a few people, written turn by turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from leadline.cohort.store import Cohort, write_cohort
from leadline.tables import PEOPLE, PHQ9, TURNS

DAY = datetime(2024, 5, 1, tzinfo=UTC)
COPIED = "this very sentence was pasted into more than one conversation"
ITEM = "How often have you been bothered by feeling tired or having little energy?"


def turn(person: str, conversation: str, number: int, role: str, text: str, day: int | None) -> Any:
    """A row of `turns`, so many days after `DAY`."""
    time = None if day is None else DAY + timedelta(days=day)
    return person, conversation, number, role, text, time


def phq9(person: str, day: int | None, total: float) -> Any:
    """A row of `phq9` without items."""
    time = None if day is None else DAY + timedelta(days=day)
    return person, time, total, total, *[None] * 9, "phq9", False


def build(path: Path, **changes: Any) -> Cohort:
    """Four people of whom one is locked, one undated, one twice the same, one silent."""
    turns = [
        turn("a", "1", 0, "assistant", ITEM, 0),
        turn("a", "1", 1, "user", "2", 0),
        turn("a", "2", 0, "user", COPIED, 10),
        turn("b", "1", 0, "user", COPIED, None),
        turn("c", "1", 0, "user", "words of three", 0),
        turn("c", "2", 0, "user", "words of three", 1),
    ]
    labels = [phq9("a", 5, 12), phq9("a", 40, 22), phq9("b", 3, 0), phq9("c", 0, 4)]
    tables = {
        "turns": pl.DataFrame(turns, schema=dict(TURNS), orient="row"),
        "phq9": pl.DataFrame(labels, schema=dict(PHQ9), orient="row"),
        "people": pl.DataFrame(
            [("a", True, 30), ("b", False, None), ("c", False, 50), ("d", False, 60)],
            schema={**PEOPLE, "age": pl.Int64()}, orient="row",
        ),
        **changes,
    }  # fmt: skip
    return write_cohort(path, **tables, command="test", settings={}, inputs={}, simulated=True)
