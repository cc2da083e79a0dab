"""PHQ-9 labels: raw rows of any source to the table `phq9.parquet`, and label tables.

A table has one row an administration: items, a total, or both. Answers are numbers or the words of
the questionnaire in any of its languages, and count from 0 or, where the answers or the totals
prove it, from 1. Rows in which nothing was answered are passed over and counted.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from leadline.errors import LeadlineError
from leadline.phq9.items import INSTRUMENTS, ITEM_COLUMNS
from leadline.phq9.scoring import score
from leadline.questionnaires.answers import MISSING, answer, number
from leadline.questionnaires.columns import FLAG, LabelColumns, label_columns
from leadline.questionnaires.shapes import one_row_each
from leadline.sources.batch import as_identifier
from leadline.sources.columns import check_present
from leadline.sources.config import LABEL_COLUMNS, ImportConfig, pairs
from leadline.sources.files import question_texts, table_batches, table_header
from leadline.sources.identity import Identities, key_of
from leadline.sources.label import Label
from leadline.sources.quoting import listed
from leadline.sources.rejects import RejectedRows
from leadline.sources.times import (
    FUTURE,
    TIME_REMEDY,
    UNREADABLE,
    ambiguous_error,
    date_beside,
    end_of_day,
    joined,
    latest,
    naive_error,
    to_utc,
)
from leadline.tables import PHQ9

EMPTY_ROWS = "rows without an answer to the PHQ-9, passed over"

UNSUBMITTED = "forms that were not submitted ([not completed]), passed over"

NOT_COMPLETED = "[not completed]"

CODED_FROM_1 = "administrations whose answers count from 1, brought to 0-3"

ENOUGH_ROWS = 5  # administrations without a single 0 that leave in doubt what answers count from


def table_labels(path: Path, settings: ImportConfig, ledger: RejectedRows) -> Iterator[Label]:
    """Labels of a table with one row an administration: items, a total, or both.

    Raises:
        LeadlineError: columns are absent or not clear, or no row holds a PHQ-9.
    """
    explicit = pairs(settings.phq9_column, "phq9_column", LABEL_COLUMNS)
    met = table_header(path, ledger)
    check_present(met, explicit, FLAG, path)
    batches = list(table_batches(path, ledger))
    if not batches:
        raise LeadlineError(
            "The table has a header and no row.", remedy="Export it again.", file=path, row=1
        )
    frame = pl.concat(batches, how="diagonal_relaxed")
    table = one_row_each(frame, explicit, question_texts(path), path, ledger)
    header = [name for name in table.frame.columns if name != "__row"]
    columns = label_columns(header, explicit, table.texts, settings.instrument, path)
    _say_uses(path, met, columns, table.used, ledger)
    date = date_beside(header, columns.time)
    if date:
        ledger.uses.take(path, date, "date")
    rows = _dated(table.frame, columns.time, date)
    labels = list(_rows(path, rows, columns, settings, ledger))
    if not labels:
        raise LeadlineError(
            "No row of the table holds a PHQ-9: nothing is answered in "
            f"{listed(columns.all(), header, 12)}.",
            remedy=f"Name the columns with --phq9-column. The table has: {listed(header)}.",
            file=path,
        )
    yield from from_zero(labels, settings.item_coding, ledger)


def _dated(batch: pl.DataFrame, time: str, date: str | None) -> pl.DataFrame:
    """A batch whose clocks have their dates."""
    return batch.with_columns(joined(batch[date], batch[time]).alias(time)) if date else batch


def _say_uses(
    path: Path,
    header: Sequence[str],
    columns: LabelColumns,
    used: Mapping[str, str],
    ledger: RejectedRows,
) -> None:
    uses = ledger.uses
    uses.meet(path, [name for name in header if name])
    kinds = {"person": columns.person, "time": columns.time,
             f"total ({columns.instrument})": columns.total,
             "instrument": columns.instrument_column}  # fmt: skip
    kinds |= {kind: name or "" for kind, name in zip(ITEM_COLUMNS, columns.items, strict=True)}
    for kind, name in kinds.items():
        if name in header:
            uses.take(path, name, kind)
    for name, kind in used.items():
        uses.take(path, name, kind)


def _rows(
    path: Path,
    batch: pl.DataFrame,
    columns: LabelColumns,
    settings: ImportConfig,
    ledger: RejectedRows,
) -> Iterator[Label]:
    batch = batch.with_columns(__person=as_identifier(batch[columns.person], "person", path))
    item_columns = sum(name is not None for name in columns.items)
    for row in batch.iter_rows(named=True):
        items = tuple(None if name is None else answer(row[name], settings.missing)
                      for name in columns.items)  # fmt: skip
        total = number(row[columns.total], settings.missing) if columns.total else None
        time = row[columns.time] if columns.time else None
        blank = all(item is None for item in items)
        if blank and item_columns >= 2 and total == 0:
            total = None  # a form's sum of nothing
        if blank and total is None:
            ledger.note(EMPTY_ROWS)
            continue
        if isinstance(time, str) and time.strip().lower() == NOT_COMPLETED:
            ledger.note(UNSUBMITTED)
            continue
        if isinstance(time, str) and time.strip().lower() in MISSING:
            time = None
        named = row[columns.instrument_column] if columns.instrument_column else None
        instrument = str(named or columns.instrument).lower().replace("-", "").replace(" ", "")
        yield Label(path, row["__row"], row["__person"], time, total, items, instrument)


def from_zero(labels: Sequence[Label], coding: str, ledger: RejectedRows) -> list[Label]:
    """Labels whose answers count from 0: those of a source that counts from 1 are brought there.

    A 4 without any 0 proves that answers count from 1, and so do totals that only then agree.

    Raises:
        LeadlineError: nothing proves it and there is reason to doubt.
    """
    answers = [item for label in labels for item in label.items if isinstance(item, int | float)]
    if coding == "0-3" or not answers:
        return list(labels)
    proof = coding == "1-4" or (0 not in answers and 4 in answers and max(answers) == 4)
    complete = [label for label in labels if _is_whole(label)]
    if coding == "auto" and not proof and 0 not in answers and max(answers) <= 3 and complete:
        sums = [
            sum(_answered(label)) == label.total for label in complete if label.total is not None
        ]
        lower = [sum(_answered(label)) - len(_answered(label)) == label.total
                 for label in complete if label.total is not None]  # fmt: skip
        proof = bool(lower) and all(lower)
        if not proof and not (sums and all(sums)) and len(complete) >= ENOUGH_ROWS:
            raise LeadlineError(
                "No answer of any person is 0, so that it is not clear whether answers count from "
                "0 or from 1.",
                remedy="Say so: --item-coding 1-4 or --item-coding 0-3.",
                file=labels[0].file,
            )
    if not proof:
        return list(labels)
    totals_too = all(label.total == sum(_answered(label)) for label in complete
                     if label.total is not None)  # fmt: skip
    ledger.note(CODED_FROM_1, sum(any(item is not None for item in label.items)
                                  for label in labels))  # fmt: skip
    return [_lowered(label, totals_too) for label in labels]


def _is_whole(label: Label) -> bool:
    items = label.items[: {"phq8": 8, "phq2": 2}.get(label.instrument, 9)]
    return bool(items) and all(isinstance(item, int | float) for item in items)


def _answered(label: Label) -> list[float]:
    return [item for item in label.items if isinstance(item, int | float)]


def _lowered(label: Label, totals_too: bool) -> Label:
    items = tuple(item - 1 if isinstance(item, int | float) else item for item in label.items)
    if any(item is not None for item in items) and totals_too:
        return label._replace(items=items, total=None)
    return label._replace(items=items)


def label_table(
    labels: Iterable[Label],
    settings: ImportConfig,
    ledger: RejectedRows,
    people: Container[str],
    identities: Identities | None = None,
) -> pl.DataFrame:
    """Check and score labels; return the table of `schema.PHQ9`, by person and time.

    A label of someone who is not in `people`, two labels of a person at one time, and
    answers that give no total are bad rows.
    """
    label_list = list(labels)
    if identities is not None:
        label_list = _same_people(label_list, people, identities)
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
            remedy = f"{error.remedy} {NO_ANSWER_CODES}"
            ledger.reject(label.file, label.row, error.problem, remedy)
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


NO_ANSWER_CODES = "A number that means no answer is named with --missing (--missing 999)."

NO_TOTAL = (
    "Too many items are missing for a total (at most 2, and never item 9 of a PHQ-9).",
    "Give the total, or --instrument phq8 if item 9 was not asked.",
)


def _same_people(
    labels: Sequence[Label], people: Container[str], identities: Identities
) -> list[Label]:
    """Labels under the identifiers of the conversations, where they are alike and joined."""
    identified = []
    for label in labels:
        if not label.person or label.person in people:
            identified.append(label)
            continue
        alike = identities.names.get(key_of(label.person))
        if alike is None or identities.mode == "keep":
            identified.append(label)
        elif identities.mode == "join":
            identities.joined.add(label.person)
            identified.append(label._replace(person=alike))
        else:
            raise LeadlineError(
                "The label's identifier differs from one of the conversations only in case, by "
                "spaces or by a trailing .0.",
                remedy="Give --similar-ids join if they are one person, or --similar-ids keep.",
                file=label.file,
                row=label.row,
            )
    return identified


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
                  settings.timezone, settings.date_order)  # fmt: skip
    times = times.with_columns(end_of_day(times["time"], settings.timezone))
    last = latest()
    result: list[Any] = []
    for label, row in zip(labels, times.iter_rows(named=True), strict=True):
        if row["ambiguous"]:
            raise ambiguous_error(label.file, label.row)
        if row["naive"]:
            raise naive_error(label.file, label.row)
        time = row["time"]
        bad = row["bad"] or row["offset"] is not None
        if bad or (time is not None and time > last):
            reason = UNREADABLE if bad else FUTURE
            ledger.reject(label.file, label.row, reason, TIME_REMEDY)
            result.append(UNREADABLE)
            continue
        if row["date_only"]:
            ledger.note(f"PHQ-9 dates without a time, taken as the {settings.label_day} of the day")
            time = row["end"] if settings.label_day == "end" else time
        result.append(time)
    return result
