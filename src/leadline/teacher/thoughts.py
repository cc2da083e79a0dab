"""A teacher's thoughts: told from the answer, and kept only when asked for.

Thoughts retell what a person said, more freely than a quote does. Nothing of them reaches the
request store, the labels, the manifest or a message. With `--keep-thoughts` they lie in a file of
their own that only its owner can read, and that can be deleted without any loss.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from leadline.artefact import FILE_MODE, private_folder
from leadline.errors import LeadlineError

THOUGHTS = "thoughts.sqlite"

OPENING, CLOSING = "<think>", "</think>"

CUT_THOUGHT = "thought cut off"  # the error of a request whose room went into its thoughts

SCHEMA = "CREATE TABLE IF NOT EXISTS thoughts (key TEXT NOT NULL, text TEXT NOT NULL)"


def split_thoughts(text: str, *, truncated: bool) -> tuple[str | None, str]:
    """Thoughts and answer of a text in which a server left both.

    Chat templates often open the thought themselves, so that only its end is in the text.

    Args:
        text: what the server gives as the answer.
        truncated: the text was cut off. What is then no beginning of a JSON object is taken as a
            thought: templates that open it leave no mark before its end.

    Returns:
        The thoughts, None if there are none, and the answer, which may be empty.
    """
    if is_json_like(text):
        return None, text
    before, mark, answer = text.rpartition(CLOSING)
    if mark:
        return before.strip().removeprefix(OPENING).strip() or None, answer.strip()
    if text.lstrip().startswith(OPENING) or (truncated and text.strip()):
        return text.strip().removeprefix(OPENING).strip() or None, ""
    return None, text


def is_json_like(text: str) -> bool:
    """True if a text begins as an object does, with or without a code fence."""
    return text.lstrip().startswith(("{", "```"))


class ThoughtStore:
    """Thoughts by the key of their request; use `open_thoughts`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def keep(self, thoughts: Sequence[tuple[str, str]]) -> None:
        """Add (key, thoughts); a request that is asked again adds its new ones."""
        with self._db:
            self._db.executemany("INSERT INTO thoughts VALUES (?, ?)", thoughts)

    def read(self) -> Iterator[tuple[str, str]]:
        """All (key, thoughts) in the order in which they came."""
        yield from self._db.execute("SELECT key, text FROM thoughts ORDER BY rowid")


@contextmanager
def open_thoughts(path: Path) -> Iterator[ThoughtStore]:
    """Open or make the file of thoughts; it is its owner's alone before anything is in it.

    Raises:
        LeadlineError: the file is not one of thoughts.
    """
    private_folder(path.parent)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
    path.chmod(FILE_MODE)
    with closing(sqlite3.connect(path)) as connection:
        try:
            connection.execute(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise LeadlineError(
                "This is not a file of thoughts, or it is damaged.",
                remedy="Move it away; labels do not need it.",
                file=path,
            ) from error
        yield ThoughtStore(connection)
