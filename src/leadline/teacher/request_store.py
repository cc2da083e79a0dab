"""The request store: every question to a teacher, asked once, paid once, on disk before it goes.

One SQLite file. A request is identified by a hash of all that decides its answer, so planning
the same work again adds nothing. Its state is committed before it is sent and after it is
answered; a process killed between the two leaves the row `sent`, which the next process can
tell from its own by the run token. Write-ahead logging with full synchronisation keeps the
file whole at any kill (https://www.sqlite.org/wal.html).

The tables `readings` and `asked` say whose request it was. They stay in this file: nothing of
them is part of what a client is given to send.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from leadline.artefact import FILE_MODE, locked, private_folder
from leadline.errors import LeadlineError
from leadline.teacher.config import REPEATABLE, STATES
from leadline.teacher.rubric import user_prompt
from leadline.teacher.transcript import Request, TeacherReading

STORE_FORMAT = 1

CHUNK = 2000

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS systems (
    hash TEXT PRIMARY KEY, text TEXT NOT NULL, ancestors TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transcripts (hash TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, teacher TEXT NOT NULL,
    system TEXT NOT NULL, transcript TEXT NOT NULL, draw INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', run TEXT, batch TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    reserved REAL NOT NULL DEFAULT 0, cost REAL NOT NULL DEFAULT 0,
    at_risk REAL NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
    quotes INTEGER NOT NULL DEFAULT 0, quotes_found INTEGER NOT NULL DEFAULT 0,
    reply TEXT, error TEXT);
CREATE INDEX IF NOT EXISTS by_state ON requests (teacher, state, draw, id);
CREATE INDEX IF NOT EXISTS by_batch ON requests (batch) WHERE batch IS NOT NULL;
CREATE TABLE IF NOT EXISTS money (usd REAL NOT NULL);
INSERT INTO money SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM money);
CREATE TRIGGER IF NOT EXISTS spend AFTER UPDATE OF reserved, cost, at_risk ON requests BEGIN
    UPDATE money SET usd = usd + (new.reserved + new.cost + new.at_risk)
        - (old.reserved + old.cost + old.at_risk); END;
CREATE TABLE IF NOT EXISTS batches (
    token TEXT PRIMARY KEY, teacher TEXT NOT NULL, provider_id TEXT,
    state TEXT NOT NULL, started TEXT NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readings (
    hash TEXT PRIMARY KEY, person_id TEXT NOT NULL, as_of TEXT, first INTEGER NOT NULL,
    last INTEGER NOT NULL, user_words INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (
    key TEXT NOT NULL, reading TEXT NOT NULL, PRIMARY KEY (key, reading)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reasoning (
    key TEXT PRIMARY KEY, tokens INTEGER NOT NULL) WITHOUT ROWID;
"""

ASKED = "(SELECT count(*) FROM asked b WHERE b.key = r.key)"

SHARES = tuple(
    f"1.0 * {column} / {ASKED}"
    for column in ("r.input_tokens", "r.output_tokens", "coalesce(t.tokens, 0)", "r.cost")
)


def digest(*parts: str) -> str:
    """64 hex digits that identify a sequence of strings (no two sequences run together)."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@lru_cache(maxsize=64)
def _digest_of_system(text: str) -> str:
    """Digest of a system prompt: long, and the same for thousands of requests."""
    return digest(text)


@dataclass(frozen=True)
class Planned:
    """Requests to be made for one reading, one per draw.

    Attributes:
        teacher: provider, model and whatever else decides the answer besides the prompt.
        system: the system prompt.
        ancestors: people whose gold labels the system prompt shows.
        transcript: the rendered transcript.
        draws: how many independent answers.
        reading: whose transcript it is.
    """

    teacher: str
    system: str
    ancestors: tuple[str, ...]
    transcript: str
    draws: int
    reading: TeacherReading

    def request_keys(self) -> list[str]:
        """Identity and `custom_id` of each draw: 64 hex digits without any id in them."""
        prompt = digest(user_prompt(self.transcript))
        system = _digest_of_system(self.system)
        return [digest(self.teacher, system, prompt, str(draw)) for draw in range(self.draws)]


@dataclass(frozen=True)
class Outcome:
    """How a request ended.

    Attributes:
        state: one of `STATES`; ``pending`` puts it back.
        reply: the answer's text, if there was one.
        error: a short code without transcript text.
        input_tokens, output_tokens: as billed.
        reasoning_tokens: those of the output tokens that were thoughts.
        cost: US dollars that are known to be spent.
        at_risk: US dollars that may have been spent without an answer.
        quotes, quotes_found: quoted spans, and those that are in the transcript.
        thoughts: what the teacher thought; no part of the store.
    """

    state: str
    reply: str | None = None
    error: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    at_risk: float = 0.0
    quotes: int = 0
    quotes_found: int = 0
    reasoning_tokens: int = 0
    thoughts: str | None = field(default=None, repr=False)


class RequestStore:
    """The open store. One process at a time; use `open_store`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.run = secrets.token_hex(8)

    # Planning

    def bind(self, name: str, value: str) -> None:
        """Record a fact about the store, or check that it is the recorded one.

        Raises:
            LeadlineError: the store was made for another value (another cohort, say).
        """
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
        (bound_value,) = self._db.execute(
            "SELECT value FROM meta WHERE name = ?", (name,)
        ).fetchone()
        if bound_value != value:
            raise LeadlineError(
                f"These labels were begun for another {name}.",
                remedy=f"Choose another --out, or use the {name} that they were begun with.",
            )

    def fact(self, name: str) -> str | None:
        """A fact that was recorded about the store, None if it was not."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def record(self, name: str, value: str) -> None:
        """Record a fact about the store, in the place of an earlier one."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def drop_reworded(self, requests: Iterable[Planned]) -> int:
        """Take out what was never sent and would now be asked in other words; return how much.

        For a store that other code began: its answers are to the words that it sent. Where the
        words are the same, answers are kept as ever.

        Raises:
            LeadlineError: readings were rated, or are being rated, in other words. Asking again
                would pay twice, and the labels would be of two wordings. Nothing is changed.
        """
        self._db.execute("CREATE INDEX IF NOT EXISTS by_reading ON asked (reading)")
        sent_readings, stale_keys = 0, []
        for item in requests:
            rows = self._db.execute(
                "SELECT r.key, r.state = 'pending' AND r.attempts = 0 FROM asked a "
                "JOIN requests r ON r.key = a.key WHERE a.reading = ? AND r.teacher = ? "
                "AND (r.system != ? OR r.transcript != ?)",
                (
                    *(reading_hash(item.reading), item.teacher),
                    *(digest(item.system, *item.ancestors), digest(item.transcript)),
                ),
            ).fetchall()
            stale_keys += [(key,) for key, is_unsent in rows if is_unsent]
            sent_readings += any(not is_unsent for _, is_unsent in rows)
        if sent_readings:
            raise LeadlineError(
                f"{sent_readings} of these readings were sent to the teacher in other words by "
                "another version of Leadline.",
                remedy="Go on with the version that began these labels, or choose another --out. "
                "Nothing is lost: labels that are finished stay as they are.",
            )
        with self._db:
            self._db.executemany("DELETE FROM asked WHERE key = ?", stale_keys)
            self._db.executemany("DELETE FROM requests WHERE key = ?", stale_keys)
        return len(stale_keys)

    def ask_again(self, teacher: str) -> int:
        """Put every answer of a teacher back to be asked once more; return how many."""
        with self._db:
            return self._db.execute(
                "UPDATE requests SET state = 'pending', reply = NULL, error = NULL "
                "WHERE teacher = ? AND state NOT IN ('pending', 'batch')",
                (teacher,),
            ).rowcount

    def plan(self, requests: Iterable[Planned]) -> int:
        """Add requests that are not there yet; return how many were new. Safe to repeat.

        Once something is planned, this process sends nothing else: a smaller plan than that of
        an earlier run buys no more than it says.
        """
        added = 0
        stream = iter(requests)
        systems: dict[tuple[str, tuple[str, ...]], str] = {}
        while chunk := list(islice(stream, CHUNK)):
            with self._db:
                for item in chunk:
                    added += self._plan_one(item, systems)
        return added

    def _plan_one(self, item: Planned, systems: dict[tuple[str, tuple[str, ...]], str]) -> int:
        prompt = (item.system, item.ancestors)
        if prompt not in systems:
            systems[prompt] = digest(item.system, *item.ancestors)
            self._db.execute(
                "INSERT OR IGNORE INTO systems VALUES (?, ?, ?)",
                (systems[prompt], item.system, json.dumps(item.ancestors)),
            )
        keys = item.request_keys()
        reading, body = reading_hash(item.reading), digest(item.transcript)
        new = self._db.executemany(
            "INSERT OR IGNORE INTO requests (key, teacher, system, transcript, draw) "
            "VALUES (?, ?, ?, ?, ?)",
            [(key, item.teacher, systems[prompt], body, draw) for draw, key in enumerate(keys)],
        ).rowcount
        linked = self._db.executemany(
            "INSERT OR IGNORE INTO asked VALUES (?, ?)", [(key, reading) for key in keys]
        ).rowcount
        if new:
            self._db.execute(
                "INSERT OR IGNORE INTO transcripts VALUES (?, ?)",
                (body, zlib.compress(item.transcript.encode(), 1)),
            )
        self._db.executemany("INSERT OR IGNORE INTO planned VALUES (?)", [(key,) for key in keys])
        if linked:
            who = item.reading
            self._db.execute(
                "INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?, ?, ?)",
                (reading, who.person_id, _stamp(who.as_of), who.first, who.last, who.user_words),
            )
        return new

    # Doing

    def recover(self, teacher: str, *, repeat: Sequence[str], resend_lost: bool) -> dict[str, int]:
        """Put back what an earlier run left behind; return how many of each kind.

        Args:
            teacher: whose requests.
            repeat: final states to try again (``failed`` and so on).
            resend_lost: send requests again whose answer was lost by a kill. They may have
                been paid: what they reserved then counts as spent for good.
        """
        counts: dict[str, int] = {}
        with self._db:
            for state in repeat:
                assert state in REPEATABLE
                counts[state] = self._db.execute(
                    "UPDATE requests SET state = 'pending', run = NULL, batch = NULL "
                    "WHERE teacher = ? AND state = ?",
                    (teacher, state),
                ).rowcount
            lost = "teacher = ? AND state = 'sent' AND run IS NOT ?"
            (counts["lost"],) = self._db.execute(
                f"SELECT count(*) FROM requests WHERE {lost}", (teacher, self.run)
            ).fetchone()
            if resend_lost:
                self._db.execute(
                    "UPDATE requests SET state = 'pending', run = NULL, "
                    f"at_risk = at_risk + reserved, reserved = 0 WHERE {lost}",
                    (teacher, self.run),
                )
        return counts

    def pending(self, teacher: str, limit: int) -> list[Request]:
        """Up to `limit` requests that wait to be sent, first draws of all people first."""
        rows = self._db.execute(
            "SELECT r.key, s.text, t.body, r.draw FROM requests r "
            "JOIN systems s ON s.hash = r.system JOIN transcripts t ON t.hash = r.transcript "
            "WHERE r.teacher = ? AND r.state = 'pending' AND (r.key IN (SELECT key FROM planned) "
            "OR NOT EXISTS (SELECT 1 FROM planned)) ORDER BY r.draw, r.id LIMIT ?",
            (teacher, limit),
        )
        return [Request(key, text, _unpack(body), draw) for key, text, body, draw in rows]

    def send(self, reservations: Sequence[tuple[str, float]]) -> None:
        """Mark requests as sent by this run, each with the most that it can cost."""
        with self._db:
            self._db.executemany(
                "UPDATE requests SET state = 'sent', run = ?, reserved = ?, "
                "attempts = attempts + 1 WHERE key = ? AND state = 'pending'",
                [(self.run, amount, key) for key, amount in reservations],
            )

    def settle(self, outcomes: Sequence[tuple[str, Outcome]], batch: str | None = None) -> int:
        """Record outcomes in one transaction; return how many were open.

        A request that is already settled, or that belongs to another run or batch, is left as
        it is, so that an answer read twice is counted once.
        """
        condition = "state = 'batch' AND batch = ?" if batch else "state = 'sent' AND run = ?"
        owner = batch or self.run
        settled = 0
        with self._db:
            for key, end in outcomes:
                changed = self._db.execute(
                    "UPDATE requests SET state = ?, reply = ?, error = ?, run = NULL, "
                    "batch = NULL, reserved = 0, cost = cost + ?, at_risk = at_risk + ?, "
                    "input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, "
                    f"quotes = ?, quotes_found = ? WHERE key = ? AND {condition}",
                    (
                        *(end.state, end.reply, end.error, end.cost, end.at_risk),
                        *(end.input_tokens, end.output_tokens, end.quotes, end.quotes_found),
                        *(key, owner),
                    ),
                ).rowcount
                if changed and end.reasoning_tokens:
                    self._db.execute(
                        "INSERT INTO reasoning VALUES (?, ?) "
                        "ON CONFLICT (key) DO UPDATE SET tokens = tokens + excluded.tokens",
                        (key, end.reasoning_tokens),
                    )
                settled += changed
        return settled

    # Batches

    def begin_batch(self, teacher: str, reservations: Sequence[tuple[str, float]]) -> str:
        """Commit the intent to create a batch of these requests; return its local token."""
        token = secrets.token_hex(16)
        with self._db:
            self._db.execute(
                "INSERT INTO batches VALUES (?, ?, NULL, 'creating', ?, ?)",
                (token, teacher, _stamp(datetime.now(UTC)), len(reservations)),
            )
            self._db.executemany(
                "UPDATE requests SET state = 'batch', batch = ?, reserved = ?, "
                "attempts = attempts + 1 WHERE key = ? AND state = 'pending'",
                [(token, amount, key) for key, amount in reservations],
            )
        return token

    def set_batch(self, token: str, state: str, provider_id: str | None = None) -> None:
        """Move a batch on: ``creating``, ``open``, ``collected``, ``foreign`` or ``dropped``."""
        with self._db:
            self._db.execute(
                "UPDATE batches SET state = ?, provider_id = coalesce(?, provider_id) "
                "WHERE token = ?",
                (state, provider_id, token),
            )

    def release_batch(self, token: str, state: str = "pending", error: str | None = None) -> int:
        """Let go of the requests that a batch gave no answer to; return how many."""
        with self._db:
            return self._db.execute(
                "UPDATE requests SET state = ?, error = ?, batch = NULL, reserved = 0 "
                "WHERE batch = ? AND state = 'batch'",
                (state, error, token),
            ).rowcount

    def disown_batch(self, token: str) -> None:
        """Record that a batch taken for `token` is somebody else's; its search begins anew."""
        with self._db:
            self._db.execute(
                "INSERT INTO batches SELECT ?, teacher, provider_id, 'foreign', started, 0 "
                "FROM batches WHERE token = ?",
                (secrets.token_hex(16), token),
            )
            self._db.execute(
                "UPDATE batches SET state = 'creating', provider_id = NULL WHERE token = ?",
                (token,),
            )

    def batches(self, teacher: str) -> list[dict[str, Any]]:
        """All batches of a teacher: token, provider_id, state, started, size."""
        rows = self._db.execute(
            "SELECT token, provider_id, state, started, size FROM batches WHERE teacher = ? "
            "ORDER BY started",
            (teacher,),
        )
        return [
            dict(zip(("token", "provider_id", "state", "started", "size"), row, strict=True))
            for row in rows
        ]

    def members(self, token: str, keys: Sequence[str]) -> dict[str, tuple[str, float, int]]:
        """Those of `keys` that are open in a batch: (transcript, reserved US dollars, attempts)."""
        marks = ",".join("?" * len(keys))
        rows = self._db.execute(
            "SELECT r.key, t.body, r.reserved, r.attempts FROM requests r "
            "JOIN transcripts t ON t.hash = r.transcript "
            f"WHERE r.batch = ? AND r.state = 'batch' AND r.key IN ({marks})",
            (token, *keys),
        )
        return {key: (_unpack(body), amount, tries) for key, body, amount, tries in rows}

    def open_members(self, token: str) -> int:
        """How many requests of a batch still wait for its answer."""
        (count,) = self._db.execute(
            "SELECT count(*) FROM requests WHERE batch = ? AND state = 'batch'", (token,)
        ).fetchone()
        return int(count)

    # Reading

    def counts(self, teacher: str | None = None) -> dict[str, int]:
        """How many requests are in each state."""
        where, args = ("WHERE teacher = ?", (teacher,)) if teacher else ("", ())
        counts = dict(
            self._db.execute(f"SELECT state, count(*) FROM requests {where} GROUP BY state", args)
        )
        return {state: counts.get(state, 0) for state in STATES}

    def settled(self, teacher: str, repeat: Sequence[str]) -> set[bytes]:
        """Keys, as bytes, that planning again would not send: answered, under way or lost.

        Args:
            teacher: whose requests.
            repeat: final states that will be tried again.
        """
        marks = ",".join("?" * (1 + len(repeat)))
        rows = self._db.execute(
            f"SELECT key FROM requests WHERE teacher = ? AND state NOT IN ({marks})",
            (teacher, "pending", *repeat),
        )
        return {bytes.fromhex(key) for (key,) in rows}

    def mean_output(self, teacher: str) -> float | None:
        """Mean output tokens of a teacher's ratings so far, thoughts included."""
        (mean,) = self._db.execute(
            "SELECT avg(output_tokens) FROM requests WHERE teacher = ? AND state = 'done' "
            "AND output_tokens > 0",
            (teacher,),
        ).fetchone()
        return None if mean is None else float(mean)

    def usage(self) -> dict[str, float]:
        """Tokens and US dollars of the whole store.

        ``reasoning_tokens`` are part of ``output_tokens``, where servers count them.
        ``spent_usd`` is known; ``at_risk_usd`` may have been paid for answers that were lost;
        ``reserved_usd`` is the most that requests now under way can cost.
        """
        row = self._db.execute(
            "SELECT total(input_tokens), total(output_tokens), total(cost), total(at_risk), "
            "total(reserved), (SELECT total(tokens) FROM reasoning) FROM requests"
        ).fetchone()
        names = (
            *("input_tokens", "output_tokens", "spent_usd", "at_risk_usd", "reserved_usd"),
            "reasoning_tokens",
        )
        return dict(zip(names, row, strict=True))

    def committed(self) -> float:
        """US dollars spent, at risk and reserved together, in constant time."""
        (usd,) = self._db.execute("SELECT usd FROM money").fetchone()
        return float(usd)

    def errors(self) -> dict[str, int]:
        """Error codes of requests that gave no label, and how many have each."""
        return dict(
            self._db.execute(
                "SELECT error, count(*) FROM requests WHERE error IS NOT NULL "
                "AND state != 'done' GROUP BY error ORDER BY count(*) DESC"
            )
        )

    def answers(self) -> Iterator[tuple[Any, ...]]:
        """Finished requests, one row per reading that asked: the columns of a label.

        Yields person_id, as_of, first, last, user_words, teacher, draw, reply, quotes,
        quotes_found, ancestors (JSON), then input, output and reasoning tokens and US dollars,
        which readings of equal text share.
        """
        yield from self._db.execute(
            "SELECT g.person_id, g.as_of, g.first, g.last, g.user_words, r.teacher, r.draw, "
            f"r.reply, r.quotes, r.quotes_found, s.ancestors, {', '.join(SHARES)} FROM requests r "
            "JOIN asked a ON a.key = r.key JOIN readings g ON g.hash = a.reading "
            "JOIN systems s ON s.hash = r.system LEFT JOIN reasoning t ON t.key = r.key "
            "WHERE r.state = 'done' ORDER BY r.id, a.reading"
        )

    def spending(self, teacher: str) -> Iterator[tuple[str, float, float, float, float]]:
        """Person, input, output and reasoning tokens, and US dollars of all that was answered.

        Refused, invalid and truncated answers were paid for as well, so they count.
        """
        sums = ", ".join(f"total({share})" for share in SHARES)
        yield from self._db.execute(
            f"SELECT g.person_id, {sums} FROM requests r JOIN asked a ON a.key = r.key "
            "JOIN readings g ON g.hash = a.reading LEFT JOIN reasoning t ON t.key = r.key "
            "WHERE r.teacher = ? AND r.state NOT IN ('pending', 'sent', 'batch') "
            "GROUP BY g.person_id ORDER BY g.person_id",
            (teacher,),
        )


@contextmanager
def open_store(path: Path) -> Iterator[RequestStore]:
    """Open or make the store at `path`, for this process alone.

    Raises:
        LeadlineError: another process has it, or the file is not a request store.
    """
    private_folder(path.parent)
    problem = "Another labelling run is at work here."
    remedy = "Wait until it ends, or choose another --out."
    with (
        locked(path.with_name(path.name + ".lock"), problem, remedy, file=path.parent),
        closing(_connect(path)) as connection,
    ):
        yield RequestStore(connection)


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(SCHEMA)
        connection.execute("CREATE TEMP TABLE planned (key TEXT PRIMARY KEY) WITHOUT ROWID")
        with connection:
            connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(STORE_FORMAT),)
            )
        (store_format,) = connection.execute(
            "SELECT value FROM meta WHERE name = 'format'"
        ).fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
        ):
            raise
        raise LeadlineError(
            "This is not a request store, or it is damaged.",
            remedy="Restore the file from a copy, or choose another --out.",
            file=path,
        ) from error
    if store_format != str(STORE_FORMAT):
        connection.close()
        raise LeadlineError(
            f"The request store has another format than {STORE_FORMAT}, which this version reads.",
            remedy="Choose another --out.",
            file=path,
        )
    return connection


def code_fact(teacher: str) -> str:
    """The name of the fact that says which code asked this teacher last."""
    return f"code that asked {digest(teacher)[:12]}"


def reading_hash(reading: TeacherReading) -> str:
    """Local identity of a reading: person, moment and position."""
    as_of = _stamp(reading.as_of) or ""
    return digest(reading.person_id, as_of, str(reading.first), str(reading.last))


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="microseconds")


def _unpack(body: bytes) -> str:
    return zlib.decompress(body).decode()
