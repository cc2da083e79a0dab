"""PHQ-9 labels: raw rows of any source to the table `phq9.parquet`, and label tables."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from leadline.errors import LeadlineError
from leadline.phq9.items import INSTRUMENTS, ITEM_COLUMNS
from leadline.phq9.scoring import score
from leadline.sources.batch import as_identifier
from leadline.sources.columns import find_columns, need
from leadline.sources.config import LABEL_COLUMNS, ImportConfig, pairs
from leadline.sources.files import table_batches, table_header
from leadline.sources.label import Label
from leadline.sources.rejects import RejectedRows
from leadline.sources.times import (
    FUTURE,
    TIME_REMEDY,
    UNREADABLE,
    end_of_day,
    latest,
    naive_error,
    to_utc,
)
from leadline.tables import PHQ9

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "."))

LABEL_COLUMN_NAMES = {
    "person": ("person_id", "person", "user_id", "participant_id", "patient_id", "client_id",
               "subject_id", "participant"),
    "time": ("time", "date", "timestamp", "completed_at", "created_at", "authored"),
    "total": ("total", "phq9_total", "phq_total", "phq9", "phq9tot", "phq8_score", "phq_score",
              "phq8_total", "phq9_score", "phq_8total"),
    "instrument": ("instrument",),
    **{
        item: (item, f"item{n}", f"phq9_{n}", f"phq{n}", f"phq_{n}", f"phq9_item_{n}",
               f"phq9_item{n}", f"q{n}")
        for n, item in enumerate(ITEM_COLUMNS, 1)
    },
}  # fmt: skip


def number(value: Any) -> Any:
    """A number from text; None where it is missing; anything else unchanged, to be refused."""
    if isinstance(value, str):
        if value.strip().lower() in MISSING:
            return None
        try:
            return float(value)
        except ValueError:
            return value
    return value


def table_labels(path: Path, settings: ImportConfig, ledger: RejectedRows) -> Iterator[Label]:
    """Labels of a table with one row an administration: items, a total, or both."""
    header = table_header(path, ledger)
    explicit_columns = pairs(settings.phq9_column, "phq9_column", LABEL_COLUMNS)
    columns = find_columns(header, explicit_columns, LABEL_COLUMN_NAMES, "--phq9-column", path)
    need(columns, ("person",), "--phq9-column", path)
    items = [columns.get(item) for item in ITEM_COLUMNS]
    if "total" not in columns and not any(items):
        need(columns, ("total",), "--phq9-column", path)
    for batch in table_batches(path, ledger, list(dict.fromkeys(columns.values()))):
        person = as_identifier(batch[columns["person"]], "person", path)
        batch = batch.with_columns(__person=person)
        for row in batch.iter_rows(named=True):
            instrument = row[columns["instrument"]] if "instrument" in columns else None
            yield Label(
                path,
                row["__row"],
                row["__person"],
                row[columns["time"]] if "time" in columns else None,
                number(row[columns["total"]]) if "total" in columns else None,
                tuple(None if name is None else number(row[name]) for name in items),
                str(instrument or settings.instrument).lower().replace("-", ""),
            )


def label_table(
    labels: Iterable[Label], settings: ImportConfig, ledger: RejectedRows, people: Container[str]
) -> pl.DataFrame:
    """Check and score labels; return the table of `schema.PHQ9`, by person and time.

    A label of someone who is not in `people`, two labels of a person at one time, and
    answers that give no total are bad rows.
    """
    label_list = list(labels)
    times = _label_times(label_list, settings, ledger)
    rows: list[dict[str, Any]] = []
    administrations: set[tuple[str, datetime | None]] = set()
    for label, time in zip(label_list, times, strict=True):
        if time is UNREADABLE:
            continue
        problem = _label_problem(label, people, (label.person, time) in administrations)
        if problem:
            ledger.reject(label.file, label.row, *problem)
            continue
        try:
            result = score(label.items, label.total, label.instrument)
        except LeadlineError as error:
            ledger.reject_error(label.file, label.row, error)
            continue
        if result.total is None:
            ledger.reject(label.file, label.row, *NO_TOTAL)
            continue
        administrations.add((label.person, time))
        items = dict(zip(ITEM_COLUMNS, result.items, strict=True))
        rows.append(
            {"person_id": label.person, "time": time, "total": result.total,
             "raw_total": result.raw_total, **items, "instrument": result.instrument,
             "prorated": result.prorated}
        )  # fmt: skip
    table = pl.DataFrame(rows, schema=dict(PHQ9))
    return table.sort("person_id", "time", nulls_last=True, maintain_order=True)


NO_TOTAL = (
    "Too many items are missing for a total (at most 2, and never item 9 of a PHQ-9).",
    "Give the total, or --instrument phq8 if item 9 was not asked.",
)


def _label_problem(label: Label, people: Container[str], repeated: bool) -> tuple[str, str] | None:
    if not label.person or not str(label.person).strip():
        return "The person identifier is missing.", "Fill it in."
    if label.instrument not in INSTRUMENTS:
        return "The instrument is not known.", f"Use one of: {', '.join(INSTRUMENTS)}."
    if label.person not in people:
        return (
            "The label belongs to a person who says nothing in the conversations.",
            "Check that both sources use the same identifiers.",
        )
    if repeated:
        return (
            "The person has two labels at the same time.",
            "Keep one, or give each label its time.",
        )
    return None


def _label_times(
    labels: Sequence[Label], settings: ImportConfig, ledger: RejectedRows
) -> list[Any]:
    """UTC times, `UNREADABLE` in the place of a bad one (then already rejected)."""
    values = [label.time for label in labels]
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 or not kinds <= {str, int, float, datetime}:
        values = [None if value is None else str(value) for value in values]
    times = to_utc(pl.Series(values, strict=False) if kinds else pl.Series(values, dtype=pl.Null),
                  settings.timezone)  # fmt: skip
    times = times.with_columns(end_of_day(times["time"], settings.timezone))
    last = latest()
    result: list[Any] = []
    for label, row in zip(labels, times.iter_rows(named=True), strict=True):
        if row["naive"]:
            raise naive_error(label.file, label.row)
        time = row["time"]
        if row["bad"] or (time is not None and time > last):
            reason = UNREADABLE if row["bad"] else FUTURE
            ledger.reject(label.file, label.row, reason, TIME_REMEDY)
            result.append(UNREADABLE)
            continue
        if row["date_only"]:
            ledger.note(f"PHQ-9 dates without a time, taken as the {settings.label_day} of the day")
            time = row["end"] if settings.label_day == "end" else time
        result.append(time)
    return result
