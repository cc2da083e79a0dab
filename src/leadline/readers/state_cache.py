"""Turn states on disk, so that a frozen reader reads each conversation once.

The key of a state is what it depends on: for a contextual reader a hash chained over the
role and text of every message so far, so that a new or edited turn invalidates exactly what
follows it; for a sentence reader the text alone. Equal texts of two people share a key and
stay two records. The hashes are keyed by a secret of the cache, and text is never stored.
Each state has a seal, a hash under that secret over key and state: one that was changed, or moved
to another key, is read anew. States that lay there before there were seals are sealed once.

One SQLite file per reader, write-ahead log, readable by its owner only. Two processes may
fill it at once. A damaged file is replaced by an empty one with a warning.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import time
import warnings
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from leadline.arrays import States
from leadline.artefact import private_folder
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.progress import Advance
from leadline.readers.fetch import leadline_home
from leadline.readers.protocol import Conversation, Reader

CACHE_FORMAT = 1

FIXED_WORDS = (
    "database or disk is full", "database is locked", "disk I/O error",
    "attempt to write a readonly database", "unable to open database file",
)  # fmt: skip
"""What SQLite says of a disk or a lock; its other messages may quote what lies in a file."""

CHUNK = 16_384
"""Characters read between two writes, some 4,000 tokens: what a killed reading loses at most, or
one conversation where that is longer. It is fixed, so that the same conversations are read in the
same batches however fast the machine is."""

_LOOKUP = 500

_SEAL_BYTES = 16


class StateCache:
    """The states of one reader on disk.

    Args:
        reader: the reader whose states are kept; its identity names the file.
        home: where Leadline keeps its files, see `fetch.leadline_home`.
    """

    def __init__(self, reader: Reader, *, home: Path | None = None) -> None:
        self.width = reader.width
        self.contextual = reader.contextual
        folder = private_folder(leadline_home(home) / "states")
        self.path = folder / f"{reader.identity[:32]}.sqlite"
        try:
            self._secret = self._open()
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._secret = self._open()

    def keys(self, talk: Conversation) -> list[bytes]:
        """The key of each user turn of a conversation, in order."""
        turn_keys = []
        chain = b""
        for role, text in talk:
            words = text.encode("utf-8", "surrogatepass")
            if self.contextual:
                chain = self._hash(chain, role.encode(), words)
            if role == "user":
                turn_keys.append(chain if self.contextual else self._hash(words))
        return turn_keys

    def get(self, keys: Sequence[bytes]) -> dict[bytes, States]:
        """The states that are there, float32 (width,) each."""
        try:
            return self._select(keys)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._secret = self._open(self._secret)
            return {}

    def put(self, states: dict[bytes, States]) -> None:
        """Store states; one that is there already is replaced."""
        rows = [
            (key, value, _seal(self._secret, key, value))
            for key, value in ((key, np.asarray(v, "<f4").tobytes()) for key, v in states.items())
        ]
        try:
            self._insert(rows)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._secret = self._open(self._secret)
            self._insert(rows)

    def _insert(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        with self._connect() as connection, connection:
            connection.executemany(
                "INSERT OR REPLACE INTO states VALUES (?, ?)", (row[:2] for row in rows)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO seals VALUES (?, ?)", (row[::2] for row in rows)
            )

    def _select(self, keys: Sequence[bytes]) -> dict[bytes, States]:
        stored_states: dict[bytes, States] = {}
        changed = 0
        with self._connect() as connection:
            for at in range(0, len(keys), _LOOKUP):
                chunk = keys[at : at + _LOOKUP]
                marks = ",".join("?" * len(chunk))
                query = (
                    "SELECT key, states.value, seals.value FROM states LEFT JOIN seals USING (key) "
                    f"WHERE key IN ({marks})"
                )
                for key, value, seal in connection.execute(query, chunk):
                    if not isinstance(value, bytes) or seal != _seal(self._secret, key, value):
                        changed += seal is not None
                    elif len(value) == 4 * self.width:
                        stored_states[key] = np.frombuffer(value, "<f4")
        if changed:
            warnings.warn(
                f"{changed:,} states of the state cache {self.path} are not as they were written; "
                "they are read anew.",
                LeadlineWarning,
                stacklevel=3,
            )
        return stored_states

    def _hash(self, *parts: bytes) -> bytes:
        state = hashlib.blake2b(digest_size=20, key=self._secret)
        for part in parts:
            state.update(len(part).to_bytes(8, "little"))
            state.update(part)
        return state.digest()

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=60)) as connection:
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection

    def _open(self, secret: bytes | None = None) -> bytes:
        """Create the file if it is not there and return the secret of its keys."""
        if not self.path.exists():
            # Created before SQLite writes, so that it is never readable by others.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._connect() as connection:
            _write_ahead(connection)
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("CREATE TABLE IF NOT EXISTS about (name PRIMARY KEY, value)")
                for table in ("states", "seals"):
                    connection.execute(
                        f"CREATE TABLE IF NOT EXISTS {table} "
                        "(key BLOB PRIMARY KEY, value BLOB NOT NULL)"
                    )
                entries = {"secret": secret or secrets.token_bytes(32), "format": CACHE_FORMAT}
                connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", entries.items())
                properties = dict(connection.execute("SELECT name, value FROM about"))
                if properties["format"] != CACHE_FORMAT or not _is_secret(properties["secret"]):
                    raise sqlite3.DatabaseError("another format")
                if "sealed" not in properties:
                    _seal_all(connection, properties["secret"])
        return bytes(properties["secret"])

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        # A full disk or a lock is no damage; a table that is gone is.
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
            reason = str(error) if str(error) in FIXED_WORDS else type(error).__name__
            raise LeadlineError(
                f"The state cache cannot be used ({reason}).",
                remedy="Free space there, or set LEADLINE_HOME to another folder.",
                file=self.path,
            ) from error
        warnings.warn(
            f"The state cache {self.path} is damaged ({type(error).__name__}); states are read "
            "anew.",
            LeadlineWarning,
            stacklevel=3,
        )
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _is_secret(value: Any) -> bool:
    return isinstance(value, bytes) and 0 < len(value) <= hashlib.blake2b.MAX_KEY_SIZE


def _seal(secret: bytes, key: bytes, value: bytes) -> bytes:
    """What binds a state to its key."""
    seal = hashlib.blake2b(key, digest_size=_SEAL_BYTES, key=secret, person=b"seal")
    seal.update(value)
    return seal.digest()


def _seal_all(connection: sqlite3.Connection, secret: bytes) -> None:
    """Seal what an earlier version of Leadline kept."""
    connection.create_function("seal", 2, lambda key, value: _seal(secret, key, value))
    connection.execute(
        "INSERT OR IGNORE INTO seals "
        "SELECT key, seal(key, value) FROM states WHERE typeof(value) = 'blob'"
    )
    connection.execute("INSERT INTO about VALUES ('sealed', 1)")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite does not wait by itself if another process does."""
    for _ in range(200):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
        else:
            return


def cached_states(
    reader: Reader,
    conversations: Sequence[Conversation],
    cache: StateCache | None = None,
    progress: Advance | None = None,
) -> list[States]:
    """States of every user turn, read only where the cache lacks them, and kept as they are made.

    A contextual reader reads a conversation again if any of its states is missing; a sentence
    reader reads the missing turns. Without a cache everything is read, in the same batches as
    with an empty one. `progress` counts tokens that have been read; how many there are is exact for
    the `CHUNK` in hand and taken from the characters for what follows it.

    Returns:
        One float32 array (user turns, width) a conversation.
    """
    keys = _keys(reader, conversations, cache)
    distinct = list(dict.fromkeys(key for turn_keys in keys for key in turn_keys))
    stored_states = {} if cache is None else cache.get(distinct)
    jobs = _missing(reader, conversations, keys, stored_states)
    new_states: dict[bytes, States] = {}
    tally = _Tokens(progress, sum(job.characters for job in jobs))
    for chunk in _chunks(jobs):
        chunk_states: dict[bytes, States] = {}
        talks = [job.talk for job in chunk]
        within = tally.within(sum(job.characters for job in chunk))
        for job, states in zip(chunk, reader.states(talks, within), strict=True):
            chunk_states.update(zip(job.keys, states, strict=True))
        if cache is not None:
            cache.put({k: v for k, v in chunk_states.items() if k not in stored_states})
        new_states |= chunk_states
    tally.finish()
    # What was stored before stays as it was, so that a state never depends on the batch.
    states_by_key = {**new_states, **stored_states}
    empty = np.zeros((0, reader.width), np.float32)
    return [
        np.stack([states_by_key[key] for key in turn_keys]) if turn_keys else empty
        for turn_keys in keys
    ]


@dataclass(frozen=True)
class _Job:
    """A conversation to be read, or of a sentence reader turns of one; a key for each user turn."""

    talk: Conversation
    keys: Sequence[bytes]

    @cached_property
    def characters(self) -> int:
        """What reading it costs, before it is tokenised; the marks of a message count too."""
        return sum(len(message.text) + MARKS for message in self.talk)


CHARACTERS_A_TOKEN = 4
"""What is expected before the first text was tokenised."""

MARKS = 16
"""Characters as which the opening and closing of a message count."""


def _keys(
    reader: Reader, conversations: Sequence[Conversation], cache: StateCache | None
) -> list[list[bytes]]:
    """A key for each user turn: of the cache, or without one of the place or the text."""
    if cache is not None:
        return [cache.keys(talk) for talk in conversations]
    spoken = [[m.text for m in talk if m.role == "user"] for talk in conversations]
    return [
        [
            f"{index} {row}".encode()
            if reader.contextual
            else text.encode("utf-8", "surrogatepass")
            for row, text in enumerate(texts)
        ]
        for index, texts in enumerate(spoken)
    ]


def _missing(
    reader: Reader,
    conversations: Sequence[Conversation],
    keys: Sequence[Sequence[bytes]],
    stored_states: Container[bytes],
) -> list[_Job]:
    """What has to be read: whole conversations in their context, else each missing turn once."""
    if reader.contextual:
        return [
            _Job(talk, turn_keys)
            for talk, turn_keys in zip(conversations, keys, strict=True)
            if any(key not in stored_states for key in turn_keys)
        ]
    turns = {
        key: message
        for talk, turn_keys in zip(conversations, keys, strict=True)
        for message, key in zip((m for m in talk if m.role == "user"), turn_keys, strict=True)
        if key not in stored_states
    }
    return [_Job([message], [key]) for key, message in turns.items()]


def _chunks(jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
    """Jobs of like length together, longest first, `CHUNK` characters or a single longer one."""
    chunk: list[_Job] = []
    size = 0
    for job in sorted(jobs, key=lambda job: -job.characters):
        if chunk and size + job.characters > CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(job)
        size += job.characters
    if chunk:
        yield chunk


class _Tokens:
    """Tokens read of all that are to be read, from those of one chunk after another."""

    def __init__(self, progress: Advance | None, characters: int) -> None:
        self.progress, self.characters = progress, characters
        self.tokens = self.characters_read = 0
        if progress is not None and characters:
            progress(0, max(characters // CHARACTERS_A_TOKEN, 1))

    def within(self, characters: int) -> Advance | None:
        """What a reader calls while it reads a chunk of so many characters."""
        if self.progress is None:
            return None
        before = self.tokens
        self.characters_read += characters

        def advance(position: int, total: int) -> None:
            self.tokens = before + position
            rest = self.characters - self.characters_read
            expected = round(rest * (before + total) / max(self.characters_read, 1))
            if self.progress is not None:
                self.progress(self.tokens, before + total + expected)

        return advance

    def finish(self) -> None:
        """Everything is read; nothing at all, where every state was stored."""
        if self.progress is not None:
            self.progress(self.tokens, self.tokens)
