"""Monitoring under SIGKILL: clients that send and try again, processes that die, and what is left.

Two clients send the messages and PHQ-9s of a cohort in small batches over real HTTP, some late and
some twice, while one of the processes (`leadline monitor serve`, `leadline monitor score`) is
killed at a random moment and started again. At the end everything is read, and counted.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import func, select
from tests.support.nursery import Nursery
from tests.support.served import token_of

from leadline.cohort.store import Cohort, read_cohort
from leadline.phq9.items import ITEM_COLUMNS
from leadline.store import schema
from leadline.store.people import find_people

PATIENCE = 180.0  # seconds until something must have worked
KEYS = {"messages": "messages", "phq9": "phq9s"}  # path below /v1, and name in the body


@dataclass(frozen=True)
class Plan:
    """What is killed, and how often.

    Attributes:
        kills: how many SIGKILLs.
        pause: longest wait between two, seconds.
        scorers: processes that score.
        seed: of moments, victims and batches.
    """

    kills: int
    pause: float = 0.8
    scorers: int = 2
    seed: int = 0


@dataclass
class Told:
    """What the service said, in all tries of all clients."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0

    def note(self, kind: str, batch: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
        """Keep what became of a batch."""
        with self.lock:
            for item, result in zip(batch, results, strict=True):
                self.statuses[f"{kind} {result['status']}"] += 1
                self.numbers.setdefault((kind, item["id"]), set()).add(result["number"])


class Sender:
    """A client that sends until it is answered.

    Args:
        port: of the service on this machine.
        headers: with the token.
        told: what the service says is kept here.
    """

    def __init__(self, port: int, headers: dict[str, str], told: Told) -> None:
        self.port, self.told = port, told
        self.headers = {"Content-Type": "application/json", **headers}
        self.connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: Any) -> Any:
        """The answer, after as many tries as it takes."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                return self._once(method, path, json.dumps(body))
            except (OSError, http.client.HTTPException, Again):
                self.close()
                with self.told.lock:
                    self.told.unanswered += 1
                time.sleep(0.02)
        raise AssertionError("The service did not come back.")

    def close(self) -> None:
        """Leave the service."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def batch(self, kind: str, items: list[dict[str, Any]]) -> None:
        """Send items, and keep what became of them."""
        answer = self.send("POST", f"/v1/{kind}", {KEYS[kind]: items})
        self.told.note(kind, items, answer["results"])

    def _once(self, method: str, path: str, body: str) -> Any:
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status in (429, 503):
            raise Again
        assert answer.status == 200, (answer.status, content)
        return json.loads(content)


class Again(Exception):
    """The service cannot do it now."""


@dataclass
class Household:
    """The processes of a store, by name."""

    nursery: Nursery
    commands: dict[str, list[str]]
    folder: Path
    numbers: dict[str, int] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Begin one."""
        self.numbers[name] = self.nursery.start(self.commands[name], self.folder / f"{name}.log")

    def kill(self, name: str) -> None:
        """End one, which must not have ended by itself."""
        ended = self.nursery.kill(self.numbers.pop(name))
        assert ended == -9, (name, ended, self.log(name)[-3000:])

    def log(self, name: str) -> str:
        """What it said so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")


def items_of(cohort: Cohort) -> list[tuple[str, dict[str, Any]]]:
    """The messages and PHQ-9s of a cohort as JSON, in the order of time."""
    items: list[tuple[Any, str, dict[str, Any]]] = []
    for row in cohort.turns.iter_rows(named=True):
        place = f"{row['person_id']} {row['conversation_id']} {row['turn']}"
        items.append((row["time"], "messages", {
            "source": "app", "id": place, "person": row["person_id"],
            "conversation": row["conversation_id"], "role": row["role"],
            "time": row["time"].isoformat(), "text": row["text"], "turn": row["turn"],
        }))  # fmt: skip
    for number, row in enumerate(cohort.phq9.iter_rows(named=True)):
        answers = [row[name] for name in ITEM_COLUMNS]
        said = {"items": answers} if None not in answers else {"total": row["total"]}
        items.append((row["time"], "phq9", {
            "source": "clinic", "id": str(number), "person": row["person_id"],
            "time": row["time"].isoformat(), **said}))  # fmt: skip
    return [(kind, item) for _, kind, item in sorted(items, key=lambda one: one[0])]


def batches_of(items: list[tuple[str, dict[str, Any]]], rng: random.Random) -> list[Any]:
    """Small batches of one kind; one item in ten comes late, one batch in three a second time."""
    late = [item for item in items if rng.random() < 0.1]
    on_time = [item for item in items if item not in late]
    for item in late:
        on_time.insert(rng.randrange(len(on_time)), item)
    batches: list[Any] = []
    at = 0
    while at < len(on_time):
        part = on_time[at : at + rng.randint(1, 8)]
        at += len(part)
        for kind in KEYS:
            if chosen := [item for which, item in part if which == kind]:
                batches.append((kind, chosen))
        if rng.random() < 1 / 3:
            batches.append(rng.choice(batches))
    return batches


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def run_killed(store: Any, cohort_path: Path, place: tuple[Path, Path], plan: Plan) -> dict:
    """Send a cohort while processes are killed, and wait until all is read; what was told.

    Args:
        store: without anybody, with a live model, whose key lies in the folder as `key`.
        cohort_path: whose messages are sent.
        place: a folder for logs and states, and the home of readers.
        plan: of the kills.
    """
    folder, home = place
    rng, told, port = random.Random(plan.seed), Told(), free_port()
    nursery = Nursery(home)
    household = Household(nursery, _commands(store, folder, plan.scorers, port), folder)
    try:
        for name in household.commands:
            household.start(name)
        headers = token_of(store, "ingest", "care")
        senders = [Sender(port, headers, told) for _ in range(2)]
        cohort = read_cohort(cohort_path)
        for name in pl.concat([cohort.turns["person_id"], cohort.phq9["person_id"]]).unique():
            senders[0].send("PUT", f"/v1/people/{name}", {"consent": {"estimate": True}})
        senders[0].close()
        begun = time.monotonic()
        victims = _kill_while_sending(household, senders, batches_of(items_of(cohort), rng),
                                      (rng, plan))  # fmt: skip
        _wait_until_read(store)
        seconds = time.monotonic() - begun
        for name in household.commands:
            household.kill(name)
    finally:
        nursery.close()
    return {"told": told, "victims": dict(victims), "seconds": round(seconds, 1)}


def _commands(store: Any, folder: Path, scorers: int, port: int) -> dict[str, list[str]]:
    url = store.database.url.render_as_string(hide_password=False)
    of_store = ["--store", url, "--key-file", str(folder / "key")]
    return {
        "web": ["monitor", "serve", *of_store, "--port", str(port)],
        **{
            f"scorer {n}": ["monitor", "score", *of_store, "--states", str(folder / f"states{n}")]
            for n in range(scorers)
        },
    }


def _kill_while_sending(
    household: Household, senders: list[Sender], batches: list[Any], how: tuple[random.Random, Plan]
) -> Counter[str]:
    """Spread the batches over the kills; who was killed how often."""
    rng, plan = how
    victims: Counter[str] = Counter()
    for number in range(plan.kills):
        first, last = (len(batches) * n // plan.kills for n in (number, number + 1))
        threads = _send_all(senders, batches[first:last])
        time.sleep(rng.uniform(0, plan.pause))
        victim = "web" if rng.random() < 0.5 else rng.choice(list(household.commands)[1:])
        household.kill(victim)
        victims[victim.split()[0]] += 1
        household.start(victim)
        if rng.random() < 0.5:  # else the next portion comes on top
            _wait_for(threads)
    _wait_for(_send_all(senders, batches))  # what is sent again at the end changes nothing
    return victims


def _send_all(senders: list[Sender], batches: list[Any]) -> list[threading.Thread]:
    """Each sender sends all batches, in its own thread and its own direction."""

    def work(sender: Sender, mine: list[Any]) -> None:
        for kind, items in mine:
            sender.batch(kind, items)
        sender.close()

    orders = (batches, batches[::-1])
    threads = [
        threading.Thread(target=work, args=(Sender(one.port, one.headers, one.told), mine))
        for one, mine in zip(senders, orders, strict=True)
    ]
    for thread in threads:
        thread.start()
    return threads


def _wait_for(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def _wait_until_read(store: Any) -> None:
    """Until nobody has work and every view is fresh."""
    due = select(func.count()).select_from(schema.person)
    due = due.where(schema.HAS_WORK | schema.person.c.refresh_due.is_not(None))
    _until(lambda: store.database.read(lambda c: c.execute(due).scalar_one()) == 0)


def _until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "It was not read in time."
        time.sleep(0.05)


def losses(store: Any, cohort_path: Path, told: Told) -> dict[str, int]:
    """What is missing, double, out of order or not as it was answered; all must be 0."""
    items = items_of(read_cohort(cohort_path))
    found = Counter[str](lost=0, doubled=0, gaps=0, answers_not_kept=0, estimates_doubled=0)
    names = {item["person"] for _, item in items}
    people = store.database.read(lambda c: find_people(c, store.vault, names))
    for kind, table in (("messages", schema.message), ("phq9", schema.phq9)):
        rows = store.database.read(lambda c, table=table: c.execute(select(table)).mappings().all())
        by_key = Counter(bytes(row["key_hash"]) for row in rows)
        word = "message" if kind == "messages" else "phq9"
        number = {bytes(row["key_hash"]): row["seq" if word == "message" else "id"] for row in rows}
        for which, item in items:
            if which != kind:
                continue
            key = store.vault.find(word, item["source"], item["id"])
            found["lost"] += key not in by_key
            found["answers_not_kept"] += told.numbers[(kind, item["id"])] != {number.get(key)}
        found["doubled"] += sum(by_key.values()) - sum(which == kind for which, _ in items)
        if kind == "messages":
            for stored in people.values():
                numbers = sorted(row["seq"] for row in rows if row["person_id"] == stored.id)
                found["gaps"] += numbers != list(range(1, stored.row["received"] + 1))
    live = select(schema.estimate.c.person_id, schema.estimate.c.seq)
    live = live.where(schema.estimate.c.superseded_at.is_(None))
    estimates = Counter(store.database.read(lambda c: list(map(tuple, c.execute(live)))))
    found["estimates_doubled"] = sum(count - 1 for count in estimates.values())
    return dict(found)
