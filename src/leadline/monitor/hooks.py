"""The hook of item 9: a command or an address of the team's own, called for real answers alone.

A call is put down in the transaction that stores the PHQ-9 (`hook_call`), so none is lost and none
is made for what was not stored. It is made by one process at a time, under a lease, and put down as
delivered when the command ended with 0 or the address answered with 2xx; otherwise again, later and
later. A process that dies between the call and that mark makes the call a second time: each has a
key, by which the receiver can tell.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select, update

from leadline.errors import LeadlineError, Unreachable
from leadline.monitor.texts import NoRedirect
from leadline.settings import setting
from leadline.store import times
from leadline.store.people import external_id, people_by_id
from leadline.store.phq9s import item9
from leadline.store.schema import hook_call, phq9
from leadline.store.store import Store
from leadline.store.times import SECOND

LOG = logging.getLogger("leadline.monitor.hooks")
TOKEN_VARIABLE = "LEADLINE_HOOK_TOKEN"
SECONDS = 30
LEASE = 2 * SECONDS * SECOND
FIRST_WAIT, LONGEST_WAIT = 5 * SECOND, 3600 * SECOND
PAUSE = 1.0


@dataclass(frozen=True)
class HookConfig:
    """What is called when a real PHQ-9 has an item 9 above 0."""

    item9_command: str | None = setting(
        None, "Command called for an item 9 above 0 of a real PHQ-9; it reads JSON."
    )
    item9_url: str | None = setting(None, "Address called for it instead, with JSON in a POST.")

    def __post_init__(self) -> None:
        if self.item9_command and self.item9_url:
            raise LeadlineError(
                "--item9-command and --item9-url exclude each other.", remedy="Give one of them."
            )


@dataclass(frozen=True)
class Hook:
    """A command, or an address."""

    command: tuple[str, ...] = ()
    url: str = ""

    @classmethod
    def of(cls, config: HookConfig) -> Hook | None:
        """The hook that was asked for; None where none was.

        Raises:
            LeadlineError: the address is not safe, or the command cannot be split.
        """
        if config.item9_command:
            try:
                return cls(command=tuple(shlex.split(config.item9_command)))
            except ValueError:
                raise LeadlineError(
                    "The command of --item9-command cannot be split into words.",
                    remedy="See to its quotes.",
                ) from None
        if not config.item9_url:
            return None
        parts = urlsplit(config.item9_url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise LeadlineError(
                "The address of --item9-url is not safe.",
                remedy="Give https://, or an address of this machine.",
            )
        return cls(url=config.item9_url)

    def call(self, content: dict[str, Any]) -> bool:
        """Make one call; whether it was taken."""
        body = json.dumps(content).encode()
        return self._run(body) if self.command else self._post(body, content["key"])

    def _run(self, body: bytes) -> bool:
        try:
            ended = subprocess.run(
                self.command, input=body, capture_output=True, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            LOG.warning("The hook of item 9 did not run: %s", type(error).__name__)
            return False
        if ended.returncode:
            LOG.warning("The hook of item 9 ended with %d", ended.returncode)
        return ended.returncode == 0

    def _post(self, body: bytes, key: str) -> bool:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if TOKEN_VARIABLE in os.environ:
            headers["Authorization"] = f"Bearer {os.environ[TOKEN_VARIABLE]}"
        request = urllib.request.Request(self.url, body, headers)
        try:
            with urllib.request.build_opener(NoRedirect).open(request, timeout=SECONDS) as answer:
                return 200 <= int(answer.status) < 300
        except (OSError, urllib.error.URLError) as error:
            LOG.warning("The hook of item 9 did not answer: %s", type(error).__name__)
            return False


def call_until(store: Store, hook: Hook, stop: threading.Event) -> None:
    """Make calls as they come due, until `stop` is set."""
    while not stop.is_set():
        try:
            called = call_next(store, hook, times.now())
        except Unreachable as error:
            LOG.warning("%s", error.problem)
            called = False
        if not called:
            stop.wait(PAUSE)


def call_next(store: Store, hook: Hook, now: int) -> bool:
    """Make the call that is due first; whether there was one."""
    claimed = store.database.write(lambda connection: _claim(connection, store, now))
    if claimed is None:
        return False
    number, attempts, content = claimed
    if content is None or hook.call(content):
        fields = {"delivered_at": times.now(), "lease_until": 0}
    else:
        wait = min(FIRST_WAIT * 2 ** min(attempts, 20), LONGEST_WAIT)
        fields = {"due_at": times.now() + wait, "lease_until": 0}
    of_call = hook_call.c.phq9_id == number
    store.database.write(lambda c: c.execute(update(hook_call).where(of_call).values(fields)))
    return True


def _claim(
    connection: Connection, store: Store, now: int
) -> tuple[int, int, dict[str, Any] | None] | None:
    """Take the call that is due; its content is None where the PHQ-9 was taken back meanwhile."""
    query = (
        select(hook_call)
        .where(hook_call.c.delivered_at.is_(None))
        .where(hook_call.c.due_at <= now, hook_call.c.lease_until < now)
        .order_by(hook_call.c.due_at, hook_call.c.phq9_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    number, attempts = int(row["phq9_id"]), int(row["attempts"])
    leased = {"lease_until": now + LEASE, "attempts": attempts + 1}
    connection.execute(update(hook_call).where(hook_call.c.phq9_id == number).values(leased))
    answer = connection.execute(select(phq9).where(phq9.c.id == number)).mappings().one()
    if answer["retracted_at"] is not None:
        return number, attempts, None
    stored = people_by_id(connection, store.vault, [answer["person_id"]])[answer["person_id"]]
    content = {
        "key": f"item9-{number}",
        "phq9": number,
        "person": external_id(stored),
        "time": times.moment(answer["time"]).isoformat(),
        "item_9": item9(answer["answers"]),
    }
    return number, attempts, content
