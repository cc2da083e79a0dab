"""Rows of a long table that are no turns: never said, repeated, or of a branch that was given up.

What needs the whole table (identifiers that occur twice, one row an annotator, parents) is worked
out before it is read, from the few columns that say it; tables without such columns cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from leadline.layouts.branches import PARENT_KEYS, active_branch
from leadline.layouts.unsaid import (
    BRANCHES,
    FLAGS,
    KIND_KEYS,
    REPEATS,
    SHOWN,
    is_false,
    is_true,
    kind_says,
)
from leadline.sources.files import table_batches
from leadline.sources.names import normal, words
from leadline.sources.rejects import RejectedRows

ID_COLUMNS = ("message_id", "msg_id", "message_uuid", "utterance_id", "id", "uuid")

ANNOTATORS = ("annotator", "rater", "coder", "labeler", "labeller", "worker", "crowdworker")

EDITS = ("is_edited", "edited", "edited_at", "edit_count", "edit_number", "version", "revision")
"""Columns that say that a message may come again with other words."""

ANNOTATED = "further rows of a message that several annotators judged, left out"


@dataclass
class Left:
    """What is left out of a table.

    Attributes:
        rows: reason -> numbers of rows.
        flags: columns that say of a row whether it was said.
    """

    rows: dict[str, pl.Series] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)


def omitted_rows(
    path: Path, columns: Mapping[str, str], header: Sequence[str], ledger: RejectedRows
) -> Left:
    """What is left out of a long table, by its columns."""
    spare = [name for name in header if name and name not in columns.values()]
    omitted = Left(flags=[name for name in spare if normal(name) in (*FLAGS, *SHOWN, *KIND_KEYS)])
    for name in omitted.flags:
        ledger.uses.take(path, name, "whether it was said")
    usual = {normal(name): name for name in spare}
    identifier = next((usual[name] for name in ID_COLUMNS if name in usual), None)
    if identifier is not None and identifier == columns.get("conversation"):
        identifier = None
    annotator = next((name for name in spare if set(words(name)) & set(ANNOTATORS)), None)
    parent = next((usual[name] for name in PARENT_KEYS if name in usual), None)
    if identifier is not None:
        ledger.uses.take(path, identifier, "identifier of the message")
    if annotator is not None:
        ledger.uses.take(path, annotator, "annotator")
        _leave_repeats(omitted, path, columns, identifier or columns.get("turn"), ANNOTATED, ledger)
    elif identifier is not None:
        _leave_repeats(omitted, path, columns, identifier, REPEATS, ledger)
        edits = [name for name in spare if normal(name) in EDITS]
        if edits:
            ledger.uses.take(path, edits[0], "whether it was edited")
            _leave_edited(omitted, path, columns, identifier, ledger)
    if parent is not None and identifier is not None:
        ledger.uses.take(path, parent, "the message before it")
        _leave_branches(omitted, path, columns, identifier, parent, ledger)
    return omitted


def _leave_repeats(
    omitted: Left,
    path: Path,
    columns: Mapping[str, str],
    identifier: str | None,
    reason: str,
    ledger: RejectedRows,
) -> None:
    """Rows that have the conversation, identifier, speaker and words of an earlier one."""
    if identifier is None or "text" not in columns:
        return
    keys = [columns[kind] for kind in ("conversation", "person", "role") if kind in columns]
    read = list(dict.fromkeys([identifier, columns["text"], *keys]))
    pieces = []
    for frame in table_batches(path, ledger, read):
        mark = pl.struct(pl.col(name).cast(pl.String) for name in read).hash(0)
        absent = pl.col(identifier).is_null()
        pieces.append(frame.select("__row", mark=mark, absent=absent))
    marks = pl.concat(pieces) if pieces else pl.DataFrame()
    if marks.is_empty():
        return
    repeated = marks.filter(~pl.col("absent") & ~pl.col("mark").is_first_distinct())
    if repeated.height:
        omitted.rows[reason] = repeated["__row"]


def _leave_edited(
    omitted: Left,
    path: Path,
    columns: Mapping[str, str],
    identifier: str,
    ledger: RejectedRows,
) -> None:
    """Rows whose message comes again, with other words, further down: they were edited away."""
    keys = [columns[kind] for kind in ("conversation", "person", "role") if kind in columns]
    read = list(dict.fromkeys([identifier, *keys]))
    texts = [pl.col(name).cast(pl.String) for name in read]
    table = pl.concat(frame.select("__row", *texts) for frame in table_batches(path, ledger, read))
    for rows in omitted.rows.values():
        table = table.filter(~pl.col("__row").is_in(rows))
    again = table.filter(~pl.struct(read).is_last_distinct() & pl.col(identifier).is_not_null())
    if again.height:
        omitted.rows[BRANCHES] = again["__row"]


def _leave_branches(
    omitted: Left,
    path: Path,
    columns: Mapping[str, str],
    identifier: str,
    parent: str,
    ledger: RejectedRows,
) -> None:
    """Rows of branches that were edited away or regenerated."""
    names = {identifier: "id", parent: "parent_id"}
    for kind, name in (("role", "role"), ("time", "created_at"), ("conversation", "in")):
        if kind in columns:
            names[columns[kind]] = name
    texts = [pl.col(name).cast(pl.String).alias(new) for name, new in names.items()]
    frames = table_batches(path, ledger, list(names))
    table = pl.concat([frame.select("__row", *texts) for frame in frames])
    for rows in omitted.rows.values():
        table = table.filter(~pl.col("__row").is_in(rows))
    groups = table.partition_by("in") if "in" in table.columns else [table]
    numbers: list[int] = []
    for group in groups:
        branch = active_branch(group.drop("__row").to_dicts())
        if branch is not None:
            kept_places = set(branch.places)
            numbers += [row for place, row in enumerate(group["__row"])
                        if place not in kept_places]  # fmt: skip
    if numbers:
        earlier = omitted.rows.get(BRANCHES, pl.Series(dtype=pl.Int64)).cast(pl.Int64)
        omitted.rows[BRANCHES] = earlier.append(pl.Series(numbers, dtype=pl.Int64))


def unsaid_mask(frame: pl.DataFrame, flags: Sequence[str]) -> pl.Series:
    """Why each row was not said to the other; null for a turn."""
    reasons = pl.Series("reason", [None] * frame.height, dtype=pl.String)
    for name in flags:
        values = frame[name].unique().to_list()
        says = {value: why for value in values if (why := _says(normal(name), value))}
        if says:
            # Booleans are compared as they are, everything else as text, so that 1 and "1" are one.
            as_text = frame[name].dtype != pl.Boolean
            column = frame[name].cast(pl.String) if as_text else frame[name]
            table = {str(value) if as_text else value: why for value, why in says.items()}
            reasons = reasons.fill_null(
                column.replace_strict(table, default=None, return_dtype=pl.String)
            )
    return reasons


def _says(name: str, value: object) -> str:
    if name in FLAGS:
        return FLAGS[name] if is_true(value) else ""
    if name in SHOWN:
        return SHOWN[name] if is_false(value) else ""
    return kind_says(name, value) if isinstance(value, str) else ""
