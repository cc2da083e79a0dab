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
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
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

# Conversations read between two writes: what a killed run loses at most.
GROUP = 256

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
    """States of every user turn, read only where the cache lacks them.

    A contextual reader reads a conversation again if any of its states is missing; a sentence
    reader reads the missing turns. Without a cache everything is read, in the same batches as
    with an empty one.

    Returns:
        One float32 array (user turns, width) a conversation.
    """
    out: list[States] = []
    for at in range(0, len(conversations), GROUP):
        group = conversations[at : at + GROUP]
        shifted = _shifted(progress, at, len(group), len(conversations))
        if cache is None:
            out += reader.states(group, shifted)
        else:
            out += _group(reader, group, cache, shifted)
    return out


def _shifted(progress: Advance | None, at: int, size: int, total: int) -> Advance | None:
    """Progress within a group of conversations as progress over all of them."""
    if progress is None:
        return None
    return lambda position, length: progress(at + size * position // max(length, 1), total)


def _group(
    reader: Reader,
    conversations: Sequence[Conversation],
    cache: StateCache,
    progress: Advance | None,
) -> list[States]:
    keys = [cache.keys(talk) for talk in conversations]
    states_by_key = cache.get(list(dict.fromkeys(key for turn_keys in keys for key in turn_keys)))
    missing = [
        index
        for index, turn_keys in enumerate(keys)
        if any(key not in states_by_key for key in turn_keys)
    ]
    if missing:
        new_states: dict[bytes, States] = {}
        talks = [conversations[index] for index in missing]
        if not reader.contextual:
            talks = [_missing_turns(talk, cache, states_by_key) for talk in talks]
        for talk, states in zip(talks, reader.states(talks, progress), strict=True):
            new_states.update(zip(cache.keys(talk), states, strict=True))
        cache.put({key: value for key, value in new_states.items() if key not in states_by_key})
        # What was stored before stays as it was, so that a state never depends on the batch.
        states_by_key = {**new_states, **states_by_key}
    if progress is not None:
        progress(1, 1)
    empty = np.zeros((0, reader.width), np.float32)
    return [
        np.stack([states_by_key[key] for key in turn_keys]) if turn_keys else empty
        for turn_keys in keys
    ]


def _missing_turns(
    talk: Conversation, cache: StateCache, stored_states: dict[bytes, States]
) -> Conversation:
    turns = [message for message in talk if message.role == "user"]
    return [turn for turn in turns if cache.keys([turn])[0] not in stored_states]
