"""Long tables: one row a turn, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from leadline.sources.batch import RawTurnBatch, as_identifier
from leadline.sources.columns import find_columns, need
from leadline.sources.config import TABLE_COLUMNS, ImportConfig, pairs
from leadline.sources.files import table_batches, table_header
from leadline.sources.people import PeopleColumns
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

COLUMN_NAMES = {
    "person": ("person_id", "person", "user_id", "participant_id", "patient_id", "client_id"),
    "conversation": ("conversation_id", "conversation", "session_id", "chat_id", "thread_id",
                     "dialogue_id", "dialog_id"),
    "turn": ("turn", "turn_index", "message_index", "position"),
    "role": ("role", "speaker", "author_role", "sender"),
    "text": ("text", "message", "content", "body", "utterance"),
    "time": ("time", "timestamp", "created_at", "sent_at", "datetime"),
}  # fmt: skip


def columns_of(path: Path, settings: ImportConfig, ledger: RejectedRows) -> dict[str, str]:
    """Which column of a long table holds what."""
    explicit_columns = pairs(settings.column, "column", TABLE_COLUMNS)
    return find_columns(
        table_header(path, ledger), explicit_columns, COLUMN_NAMES, "--column", path
    )


def read_table(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a long table. Person, role and text are needed; the rest is optional.

    Without a conversation column all turns of a person are one conversation; without a turn
    column they are ordered by time, or by row where times are missing.
    """
    columns = columns_of(source, settings, ledger)
    need(columns, ("person", "role", "text"), "--column", source)
    extra = {name: name for name in settings.people_column}
    find_columns(table_header(source, ledger), extra, {}, "--people-column", source)
    people = PeopleColumns(settings.people_column)
    batches = _batches(source, columns, people, ledger)
    return Source(batches, roles_of(settings), people, inputs=[source])


def _batches(
    source: Path, columns: dict[str, str], people: PeopleColumns, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    source_columns = list(dict.fromkeys([*columns.values(), *people.columns]))
    for frame in table_batches(source, ledger, source_columns):
        names = {"person": "person", "conversation": "conversation", "turn": "turn",
                 "role": "speaker", "text": "text", "time": "time"}  # fmt: skip
        rows = frame.select(
            pl.col("__row").alias("row"),
            *(pl.col(column).alias(names[kind]) for kind, column in columns.items()),
        )
        if people.columns:
            people_rows = frame.select(
                pl.col("__row").alias("row"),
                as_identifier(frame[columns["person"]], "person", source).alias("person"),
                *people.columns,
            )
            people.add_rows(people_rows, source, ledger)
        yield RawTurnBatch(source, rows)
