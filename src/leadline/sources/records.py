"""Raw turns from records (JSON objects, transcript lines): values checked one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from leadline.errors import LeadlineError
from leadline.sources.batch import RawTurnBatch
from leadline.sources.names import normal
from leadline.sources.rejects import RejectedRows

FULL = 100_000  # rows after which a batch is handed on

COLUMNS = ("row", "person", "conversation", "speaker", "text", "time")


class RawTurns:
    """Raw turns of one file, collected until there are enough for a batch."""

    def __init__(self, file: Path, ledger: RejectedRows) -> None:
        self.file = file
        self.ledger = ledger
        self.rows: list[tuple[str | None, ...]] = []

    def add(
        self, row: str, person: str, conversation: str, speaker: Any, text: Any, time: Any
    ) -> None:
        """Take one turn; a value of the wrong type is a bad row. None is judged later."""
        self.ledger.account.arrived += 1
        if speaker is not None and not isinstance(speaker, str):
            self.reject(row, "The role is not text.", "Write the role as text.", 1)
        elif text is not None and not isinstance(text, str):
            self.reject(row, "The text of the turn is not text.", "Write the text as a string.", 1)
        elif isinstance(time, bool) or not isinstance(time, str | int | float | None):
            self.reject(row, "The time is neither text nor a number.", "Write it as ISO 8601.", 1)
        elif not encodable(text) or not encodable(speaker):
            self.reject(
                row, "The text holds half a character (a lone surrogate).", "Export it again.", 1
            )
        elif isinstance(time, str) and not encodable(time):
            self.reject(
                row, "The time holds half a character (a lone surrogate).", "Export it again.", 1
            )
        else:
            when = None if time is None else str(time)
            self.rows.append((row, person, conversation, speaker, text, when))

    def reject(self, row: str, problem: str, remedy: str, messages: int = 0) -> None:
        """Leave a row of this file out, with the messages that have arrived and are lost."""
        self.ledger.reject(self.file, row, problem, remedy, messages)

    def lose(self, row: str, problem: str, remedy: str, messages: int = 1) -> None:
        """Leave messages out that have not been counted yet: they arrive and are lost."""
        self.ledger.account.arrived += messages
        self.ledger.reject(self.file, row, problem, remedy, messages)

    def omit(self, why: str, messages: int = 1) -> None:
        """Leave messages out by rule: they arrive and are no turns."""
        self.ledger.account.arrived += messages
        self.ledger.omit(why, messages)

    @property
    def full(self) -> bool:
        """Whether there are enough rows for a batch."""
        return len(self.rows) >= FULL

    def batch(self) -> RawTurnBatch:
        """The rows so far as a batch; starts anew."""
        schema = dict.fromkeys(COLUMNS, pl.String())
        frame = pl.DataFrame(self.rows, schema=schema, orient="row")
        self.rows = []
        return RawTurnBatch(self.file, frame)


def encodable(text: str | None) -> bool:
    """Whether a text can be written as UTF-8 (lone surrogates cannot)."""
    if text is None or text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def at(record: Mapping[str, Any], path: str) -> Any:
    """The value at a key, or at a dotted path such as ``metadata.user_id``; None if absent.

    A key is found in another case or writing too (``userId`` for ``user_id``).
    """
    if path in record:
        return record[path]
    value: Any = record
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value[key] if key in value else _in_another_writing(value, key)
    return value


def _in_another_writing(record: Mapping[str, Any], key: str) -> Any:
    name_sought = normal(key)
    return next((value for name, value in record.items() if normal(name) == name_sought), None)


def first_of(record: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first of `keys` that the record has and that is not null, else None."""
    return next((record[key] for key in keys if record.get(key) is not None), None)


def identifier(value: Any) -> str | None:
    """An identifier as text; None if it is neither text nor a whole number, or is blank.

    A whole number that was written as 7.0 is 7; one that a floating-point number cannot hold is no
    identifier any more.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return text if text.strip() and encodable(text) else None


def require_mapping(value: Any, file: Path, row: str | None = None) -> Mapping[str, Any]:
    """The JSON object `value`.

    Raises:
        LeadlineError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise LeadlineError(
            "A JSON object is needed here, with keys and values.",
            remedy="Check that the file has the layout that --format names.",
            file=file,
            row=row,
        )
    return value
