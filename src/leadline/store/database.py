"""One database behind one way to read and one way to write it: SQLite or PostgreSQL.

A write is a function of a connection. It is committed before `write` returns, so an answer that
is given afterwards is true. Where the database says that another writer came between (a deadlock,
a lock, a key that somebody else has just inserted), the whole function runs again: it must have no
effect but through the connection. SQLite takes its writer's lock when the transaction begins
(a transaction that reads first and writes later may find itself refused at once), and each commit
is on the disk (`synchronous=FULL`). Waiting for the disk is what a small write costs, so writes of
SQLite that wait for one another in one process are committed together (`group`).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    NoSuchModuleError,
)

from leadline.artefact import private
from leadline.errors import LeadlineError, Unreachable, missing_package
from leadline.store.group import Group

T = TypeVar("T")
ATTEMPTS = 8
BUSY_SECONDS = 30.0
POOL = 10  # connections kept; as many again when it is busy
WRITES = "leadline_writes"
IDLE_SECONDS = 1.0  # a connection that rested for longer is asked whether it is still there
USED_AT = "leadline_used_at"


class Database:
    """The database of a store.

    Args:
        address: a file of SQLite, or a URL (`sqlite:///…`, `postgresql://…`).

    Raises:
        LeadlineError: the address is none, or names a database that Leadline does not know.
    """

    def __init__(self, address: str | Path) -> None:
        self.url = _url(address)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._engine()
        self._group = Group(self._begun) if self.is_sqlite else None

    @property
    def place(self) -> str:
        """The file, or the address without password and options, for messages."""
        if self.is_sqlite:
            return str(self.url.database)
        return str(self.url.set(query={}).render_as_string(hide_password=True))

    @property
    def file(self) -> Path | None:
        """The file of SQLite."""
        return Path(str(self.url.database)) if self.is_sqlite else None

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` makes of one consistent view."""
        with self._errors_told(), self.engine.connect() as raw:
            connection = raw
            if not self.is_sqlite:  # whose transactions see one view anyway
                connection = raw.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                return work(connection)

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` makes, once it is committed; it may be done in another thread.

        Raises:
            Unreachable: the database cannot be reached, or was busy for too long.
        """
        with self._errors_told():
            for attempt in range(ATTEMPTS):
                try:
                    return self._write_once(work)
                except DBAPIError as error:
                    if attempt + 1 == ATTEMPTS or not _came_between(error):
                        raise
                    time.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    def _write_once(self, work: Callable[[Connection], T]) -> T:
        if self._group is not None:
            return self._group.write(work)
        with self._begun() as connection:
            return work(connection)

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """A writing transaction, committed at the end of the block."""
        with self.engine.connect() as raw:
            connection = raw.execution_options(**{WRITES: True})
            with connection.begin():
                yield connection

    def _errors_told(self) -> _Told:
        return _Told(self.place)

    def _engine(self) -> Engine:
        try:
            if not self.is_sqlite:
                engine = create_engine(
                    self.url, pool_size=POOL, max_overflow=POOL, hide_parameters=True
                )
                event.listen(engine, "checkin", _note_use)
                event.listen(engine, "checkout", partial(_ask_if_idle, engine))
                return engine
        except ModuleNotFoundError as error:
            raise missing_package("psycopg", "postgres", "A store in PostgreSQL") from error
        engine = create_engine(
            self.url, pool_size=POOL, max_overflow=POOL, hide_parameters=True,
            connect_args={"timeout": BUSY_SECONDS},
        )  # fmt: skip
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine


class _Told:
    """Errors of a database as errors of the house: kind and place, no value."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
            raise Unreachable(
                f"The database did not do what it was asked ({type(error.orig).__name__}).",
                file=self.place,
                remedy=_remedy(error),
            ) from None


def _remedy(error: DBAPIError) -> str:
    text = str(error.orig).lower()
    if "no such table" in text or "undefinedtable" in type(error.orig).__name__.lower():
        return "Make the store with: leadline monitor init"
    if "readonly" in text or "read-only" in text or "permission" in text:
        return "Give the program the right to write there."
    if "full" in text:
        return "Make room on the disk; nothing half was written."
    return "See that it runs, can be reached, and is not busy with something long; then try again."


def private_file(path: Path) -> None:
    """Make the file of a database, readable by its owner alone from the first byte."""
    if not path.exists():
        with private():
            path.touch(mode=0o600)


def _url(address: Any) -> Any:
    address = str(address) if isinstance(address, Path) else address
    if not isinstance(address, str) or not address.strip() or "\0" in address:
        raise _no_address()
    if not re.match(r"[a-z0-9+]+://", address):
        address = f"sqlite:///{address}"
    try:
        url = make_url(address)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError):
            raise missing_package("psycopg", "postgres", "A store in PostgreSQL") from None
        raise _no_address() from None
    if url.get_backend_name() not in ("sqlite", "postgresql") or not url.database:
        raise LeadlineError(
            "A store lies in a file of SQLite or in PostgreSQL.",
            remedy="Give a file, or postgresql://USER@HOST/NAME.",
        )
    return url


def _note_use(_connection: Any, record: Any) -> None:
    record.info[USED_AT] = time.monotonic()


def _ask_if_idle(engine: Engine, connection: Any, record: Any, _proxy: Any) -> None:
    """Have a connection that rested answer before it is used: its server may have gone."""
    if time.monotonic() - record.info.get(USED_AT, time.monotonic()) < IDLE_SECONDS:
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        raise DisconnectionError from None  # the pool makes another


def _no_address() -> LeadlineError:
    return LeadlineError(
        "The address of the store is not one.",
        remedy="Give a file for SQLite, or postgresql://USER@HOST/NAME.",
    )


def _open_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin when it sees fit
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _came_between(error: DBAPIError) -> bool:
    """Whether the same work may succeed when it is done again."""
    if isinstance(error, IntegrityError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    return state in ("40001", "40P01") or "locked" in str(error.orig)
