"""Writes of many threads in one transaction, so that they wait for the disk once.

Whoever comes to write while another one writes puts the work down and waits for its turn. The first
whose turn it is does all that was put down meanwhile, each inside a savepoint, commits once, and
everybody has their write outcome: a work that fails takes back what it did and nothing else. No
outcome is given before the commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
GROUP_SECONDS = 0.02  # a transaction takes in no more work after this


class _Write:
    """A work that was put down, and its outcome."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work, self.is_done = work, False
        self.value: Any = None
        self.error: Exception | None = None


class Group:
    """Does works of many threads in one transaction.

    Args:
        begin: a writing transaction, committed at the end of the block.
    """

    def __init__(self, begin: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._begin = begin
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Write] = []

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` makes, once it is committed, alone or with others."""
        write = _Write(work)
        with self._lock:
            self._waiting.append(write)
        with self._turn:
            if not write.is_done:
                self._write_waiting(write)
        if write.error is not None:
            raise write.error
        value: T = write.value
        return value

    def _write_waiting(self, leader: _Write) -> None:
        """Do `leader`, then what waits; what this thread does not bring to its end waits on."""
        batch = [leader]
        try:
            with self._begin() as connection:
                leader.value = leader.work(connection)  # if it fails, nothing else fails with it
                self._do_others(connection, batch)
        except Exception as error:  # noqa: BLE001  of this work, or of the commit of all
            for write in batch:
                write.error = write.error or error
        finally:
            with self._lock:
                self._waiting.remove(leader)
        with self._lock:
            self._waiting = [write for write in self._waiting if write not in batch]
        for write in batch:
            write.is_done = True

    def _do_others(self, connection: Connection, batch: list[_Write]) -> None:
        until = time.monotonic() + GROUP_SECONDS
        while time.monotonic() < until:
            with self._lock:
                waiting = [write for write in self._waiting if write not in batch]
            if not waiting:
                return
            batch.append(waiting[0])
            _do(connection, waiting[0])


def _do(connection: Connection, write: _Write) -> None:
    """One work inside a savepoint."""
    write.value, write.error = None, None
    try:
        with connection.begin_nested():
            write.value = write.work(connection)
    except Exception as error:  # noqa: BLE001  of this work alone; given to its thread
        write.error = error
