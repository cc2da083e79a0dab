"""How many messages wait to be read, without counting them for every request."""

from __future__ import annotations

import threading
import time

from leadline.store.store import Store
from leadline.store.work import backlog

COUNTED_EVERY = 1.0  # seconds


class Backlog:
    """Messages that wait, as counted a moment ago, and what came in here since. For many threads.

    Args:
        store: whose messages wait.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting, self._counted_at = 0, float("-inf")

    def messages(self) -> int:
        """How many wait; at most `COUNTED_EVERY` old as far as others add or read."""
        with self._lock:
            if time.monotonic() - self._counted_at > COUNTED_EVERY:
                _, self._waiting = self._store.database.read(backlog)
                self._counted_at = time.monotonic()
            return self._waiting

    def add(self, messages: int) -> None:
        """Say that this process stored some more."""
        with self._lock:
            self._waiting += messages
