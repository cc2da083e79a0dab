"""Long tables: one row a turn, CSV, TSV, Parquet or Excel.

A column is known by a usual name in any writing (createdAt, created_at), else by what its name
looks like, if only one does. Rows that were never said to the other are left out by their flags,
rows that repeat a message by its identifier, and branches that were given up by their parents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError
from leadline.layouts.message import BOT_KEYS, INCOMING_KEYS
from leadline.layouts.table_rows import Left, omitted_rows, unsaid_mask
from leadline.sources.batch import RawTurnBatch, as_identifier
from leadline.sources.columns import find_columns, need
from leadline.sources.config import TABLE_COLUMNS, ImportConfig, pairs
from leadline.sources.files import table_batches, table_header
from leadline.sources.names import looks_like, usual_place, words
from leadline.sources.people import PeopleColumns
from leadline.sources.quoting import listed
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source
from leadline.sources.times import date_beside, joined

COLUMN_NAMES = {
    "person": ("person_id", "person", "user_id", "participant_id", "patient_id", "client_id"),
    "conversation": ("conversation_id", "conversation", "session_id", "chat_id", "thread_id",
                     "dialogue_id", "dialog_id", "transcript_id"),
    "turn": ("turn", "turn_index", "message_index", "position", "turn_id", "turn_number",
             "utterance_index", "utterance_idx", "utterance_number", "turn_no"),
    "role": ("role", "speaker", "author_role", "sender", "interlocutor", "sender_type",
             "speaker_role", "sender_role", "user_type"),
    "text": ("text", "message", "content", "body", "utterance", "utterance_text", "message_text"),
    "time": ("time", "timestamp", "created_at", "sent_at", "datetime", "at"),
}  # fmt: skip

OPTIONAL = ("conversation", "time")

NEEDED = ("person", "role", "text")

LATE_ROLES = ("type", "author", "from", "who", *BOT_KEYS, *INCOMING_KEYS)
"""Names of a role column where no other is there."""


@dataclass(frozen=True)
class Fixed:
    """What a source says of a whole file instead of in columns.

    Attributes:
        person: of every row, "" if a column says it.
        conversation: of every row, "" if a column says it or there is one only.
    """

    person: str = ""
    conversation: str = ""


@dataclass
class TableReader:
    """Draws raw turns from one long table."""

    source: Path
    settings: ImportConfig
    ledger: RejectedRows
    people: PeopleColumns
    fixed: Fixed = field(default_factory=Fixed)
    columns: dict[str, str] = field(init=False)
    header: list[str] = field(init=False)
    date: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.header = table_header(self.source, self.ledger)
        self.columns = columns_of(self.source, self.settings, self.ledger, self.header)
        self._settle_person()
        extra = {name: name for name in self.settings.people_column}
        find_columns(self.header, extra, {}, "--people-column", self.source)
        self.date = date_beside(self.header, self.columns.get("time", ""))
        uses = self.ledger.uses
        if self.date:
            uses.take(self.source, self.date, "date")
        uses.meet(self.source, [name for name in self.header if name])
        for kind, name in self.columns.items():
            uses.take(self.source, name, kind)
        for name in self.settings.people_column:
            uses.take(self.source, name, "about the person")

    def _settle_person(self) -> None:
        """The person as a column, or as the settings say."""
        if self.fixed.person or self.settings.person:
            self.columns.pop("person", None)
            self.fixed = Fixed(self.fixed.person or self.settings.person, self.fixed.conversation)
        elif self.settings.one_person_per_conversation:
            self.columns.pop("person", None)
            if not self.fixed.conversation:
                need(self.columns, ("conversation",), "--column", self.source)
        needs_person = not self.fixed.person and not self.settings.one_person_per_conversation
        if needs_person and "person" not in self.columns:
            raise LeadlineError(
                "The table has no column for the person.",
                remedy="Say which one it is with --column person=NAME, or give "
                "--one-person-per-conversation if each conversation is another person, or --person "
                f"ID if all is of one. The table has: {listed(self.header)}.",
                file=self.source,
                row=1,
            )
        need(self.columns, ("role", "text"), "--column", self.source)

    def batches(self) -> Iterator[RawTurnBatch]:
        """Raw turns of all rows."""
        omitted = omitted_rows(self.source, self.columns, self.header, self.ledger)
        flags = omitted.flags
        names = [*self.columns.values(), *self.people.columns, *flags]
        names += [self.date] if self.date else []
        for frame in table_batches(self.source, self.ledger, list(dict.fromkeys(names))):
            self.ledger.account.arrived += frame.height
            frame = self._leave_out(frame, omitted)
            yield RawTurnBatch(self.source, self._rows(frame))

    def _leave_out(self, frame: pl.DataFrame, omitted: Left) -> pl.DataFrame:
        for reason, numbers in omitted.rows.items():
            mask = frame["__row"].is_in(numbers)
            self.ledger.omit(reason, int(mask.sum()))
            frame = frame.filter(~mask)
        if not omitted.flags:
            return frame
        reasons = unsaid_mask(frame, omitted.flags)
        for reason, count in reasons.drop_nulls().value_counts().iter_rows():
            self.ledger.omit(reason, count)
        return frame.filter(reasons.is_null())

    def _rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        names = {"person": "person", "conversation": "conversation", "turn": "turn",
                 "role": "speaker", "text": "text", "time": "time"}  # fmt: skip
        rows = frame.select(
            pl.col("__row").alias("row"),
            *(pl.col(column).alias(names[kind]) for kind, column in self.columns.items()),
        )
        if self.date:
            time = joined(frame[self.date], rows["time"])
            rows = rows.with_columns(time.alias("time"))
        if self.fixed.conversation and "conversation" not in self.columns:
            rows = rows.with_columns(conversation=pl.lit(self.fixed.conversation))
        if self.fixed.person:
            rows = rows.with_columns(person=pl.lit(self.fixed.person))
        elif "person" not in self.columns:
            rows = rows.with_columns(person=pl.col("conversation"))
        if rows.schema["speaker"] == pl.Boolean:
            rows = rows.with_columns(pl.col("speaker").cast(pl.String))
        if self.people.columns:
            person = as_identifier(rows["person"], "person", self.source)
            people_rows = frame.select(pl.col("__row").alias("row"), person, *self.people.columns)
            self.people.add_rows(people_rows, self.source, self.ledger)
        return rows


def columns_of(
    path: Path,
    settings: ImportConfig,
    ledger: RejectedRows,
    header: list[str] | None = None,
) -> dict[str, str]:
    """Which column of a long table holds what.

    Raises:
        LeadlineError: several columns could be meant.
    """
    header = table_header(path, ledger) if header is None else header
    explicit = pairs(settings.column, "column", TABLE_COLUMNS)
    columns = find_columns(header, explicit, COLUMN_NAMES, "--column", path)
    for kind in (*NEEDED, *OPTIONAL):
        if kind in columns:
            continue
        spare = [name for name in header if name and name not in columns.values()]
        likely = [name for name in spare if looks_like(name) == kind]
        if kind == "role":
            likely = likely or [name for name in spare if usual_place(name, LATE_ROLES) is not None]
        if kind == "text":
            likely = [name for name in likely if "id" not in words(name)]
        if kind == "person":
            likely = likely or [name for name in spare if name.strip().lower() == "id"
                                and "conversation" in columns]  # fmt: skip
        if len(likely) == 1:
            columns[kind] = likely[0]
        elif len(likely) > 1 and kind != "conversation":
            survey = " If each row is a person's answers, give --mapping FILE.toml."
            raise LeadlineError(
                f"More than one column could be the {kind}: {listed(likely, header)}.",
                remedy=f"Say which with --column {kind}=NAME.{survey if kind == 'text' else ''}",
                file=path,
                row=1,
            )
    return columns


def read_table(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a long table. Person, role and text are needed; the rest is optional.

    Without a conversation column all turns of a person are one conversation; without a turn
    column they are ordered by time, or by row where times are missing.
    """
    people = PeopleColumns(settings.people_column)
    reader = TableReader(source, settings, ledger, people)
    words_of_source = tree_words(reader.columns)
    return Source(reader.batches(), roles_of(settings, words_of_source), people, inputs=[source],
                  shared_conversations="conversation" in reader.columns
                  and "person" in reader.columns)  # fmt: skip


def tree_words(columns: Mapping[str, str]) -> dict[str, str]:
    """Words for speakers that a kind of table has: booleans of a column such as `is_bot`."""
    name = columns.get("role", "")
    if usual_place(name, BOT_KEYS) is not None:
        return {"true": "assistant", "1": "assistant", "false": "user", "0": "user"}
    if usual_place(name, INCOMING_KEYS) is not None:
        return {"true": "user", "1": "user"}
    return {}
