"""Whoever is killed whenever: no message is lost, none is doubled, and the estimates are the same.

A client sends messages in small batches, again until it is answered, while the service and the
scorer are killed by SIGKILL at random moments and begun again.
"""

import http.client
import json
import threading
import time
from collections import Counter

import numpy as np
import pytest
from sqlalchemy import select
from tests.support.monitored import assert_as_scored, live_store, scored, strangers
from tests.support.processes import context, free_port, score_store, serve_store
from tests.support.served import AGREED, token_of

from leadline.cohort.store import read_cohort
from leadline.store.schema import message, person

BATCH = 7
PAUSE = 0.35  # seconds from kill to kill, on average
PATIENCE = 180.0  # seconds


def as_json(row):
    """A message of a cohort as it is sent."""
    return {
        "source": "app", "id": f"{row['person_id']} {row['conversation_id']} {row['turn']}",
        "person": row["person_id"], "conversation": row["conversation_id"], "role": row["role"],
        "turn": row["turn"], "time": row["time"].isoformat(), "text": row["text"],
    }  # fmt: skip


class Sender:
    """Sends until it is answered; counts what became of the messages.

    Args:
        port: of the service.
        headers: with a token.
    """

    def __init__(self, port, headers):
        self.port, self.headers = port, {"Content-Type": "application/json", **headers}
        self.outcomes, self.again = Counter(), 0
        self._connection = None

    def send(self, method, path, body):
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                self._connection.request(method, path, json.dumps(body), self.headers)
                answer = self._connection.getresponse()
                text = answer.read()
                assert answer.status == 200, text
                return json.loads(text)
            except (OSError, http.client.HTTPException):
                self._connection.close()
                self._connection = None
                self.again += 1
                time.sleep(0.02)
        raise AssertionError("the service did not come back")

    def close(self):
        if self._connection is not None:
            self._connection.close()

    def messages(self, batch):
        answer = self.send("POST", "/v1/messages", {"messages": batch})
        self.outcomes.update(result["status"] for result in answer["results"])


class Processes:
    """One service and one scorer, begun again whenever they were killed."""

    def __init__(self, store, folder, run):
        self.port = free_port()
        place = store.database.url.render_as_string(hide_password=False)
        address = store.database.file or place
        key = folder / "key"
        self._how = {
            "web": (serve_store, (str(address), key, self.port)),
            "scorer": (score_store, (str(address), key, run, folder / "states")),
        }
        self._from = context()
        self.running = {name: self._begin(name) for name in self._how}

    def _begin(self, name):
        target, arguments = self._how[name]
        process = self._from.Process(target=target, args=arguments, daemon=True)
        process.start()
        return process

    def kill(self, name):
        """SIGKILL, and a new one; whether it still ran."""
        ran = self.running[name].is_alive()
        self.running[name].kill()
        self.running[name].join()
        self.running[name] = self._begin(name)
        return ran

    def end(self):
        for process in self.running.values():
            process.kill()
            process.join()


def send_all(sender, rows, rng, stop, seconds):
    """Everything at least once, new messages spread over `seconds`, old ones again until `stop`."""
    order = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
    begun = time.monotonic()
    for number, batch in enumerate(order):
        sender.messages(batch)
        while not stop.is_set() and time.monotonic() - begun < seconds * number / len(order):
            sender.messages(order[int(rng.integers(number + 1))])
            time.sleep(0.02)
    while not stop.is_set():
        sender.messages(order[int(rng.integers(len(order)))])
        time.sleep(0.02)


def wait_until_read(store):
    query = select(person.c.received, person.c.scored_upto, person.c.refresh_due, person.c.failed)
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        people = store.database.read(lambda c: c.execute(query).all())
        if all(upto == received and due is None for received, upto, due, _ in people):
            assert not [row for row in people if row.failed is not None]
            return
        time.sleep(0.1)
    raise AssertionError("messages are stuck")


def run_kills(kind, folder, run, cohort_path, kills, seed):
    """Kill `kills` times while everything is sent; the store afterwards, and counts."""
    store = live_store(kind, folder, run)
    rng = np.random.default_rng(seed)
    cohort = read_cohort(cohort_path)
    processes = Processes(store, folder, run)
    sender = Sender(processes.port, token_of(store, "ingest"))
    counts = Counter()
    stop, failures = threading.Event(), []

    def client():
        try:
            for name in cohort.turns["person_id"].unique(maintain_order=True):
                sender.send("PUT", f"/v1/people/{name}", AGREED)
            rows = [as_json(row) for row in cohort.turns.iter_rows(named=True)]
            seconds = kills * PAUSE  # so that whoever is killed has work
            send_all(sender, rows, np.random.default_rng(seed + 1), stop, seconds)
        except BaseException as error:  # noqa: BLE001  said by the test
            failures.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    try:
        for _ in range(kills):
            time.sleep(float(rng.exponential(PAUSE)))
            name = ("web", "scorer")[int(rng.integers(2))]
            counts[name] += processes.kill(name)
        stop.set()
        thread.join()
        assert not failures, failures
        wait_until_read(store)
    finally:
        stop.set()
        thread.join()
        sender.close()
        processes.end()
    return store, sender, counts


def check(store, cohort_path, expected):
    """Each message once, in an order without gaps, and the estimates of an undisturbed run."""
    turns = read_cohort(cohort_path).turns
    rows = store.database.read(lambda c: list(c.execute(select(message)).mappings()))
    assert len(rows) == turns.height
    numbers = {}
    for row in rows:
        numbers.setdefault(row["person_id"], []).append(row["seq"])
    for person_numbers in numbers.values():
        assert sorted(person_numbers) == list(range(1, len(person_numbers) + 1))
    lengths = sorted(map(len, numbers.values()))
    assert lengths == sorted(turns.group_by("person_id").len()["len"].to_list())
    assert_as_scored(store, expected)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_few_kills(kind, tmp_path, monitor_run, spread_cohort):
    store, sender, counts = run_kills(kind, tmp_path, monitor_run, spread_cohort, 8, 5)
    check(store, spread_cohort, scored(spread_cohort, monitor_run, tmp_path))
    assert sender.outcomes["stored"] <= read_cohort(spread_cohort).turns.height
    assert set(sender.outcomes) <= {"stored", "known"}
    assert sender.again > 0
    assert counts["web"] >= 1
    assert counts["scorer"] >= 1
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_hundred_kills(kind, tmp_path, monitor_run, simulated, capsys):
    cohort = strangers(tmp_path / "cohort", simulated, 30)
    store, sender, counts = run_kills(kind, tmp_path, monitor_run, cohort, 200, 11)
    check(store, cohort, scored(cohort, monitor_run, tmp_path))
    with capsys.disabled():
        print(f"\n{kind}: {dict(counts)} killed, {sender.again} requests sent again, "
              f"{dict(sender.outcomes)}, 0 lost, 0 doubled")  # fmt: skip
    assert sum(counts.values()) >= 190
    store.close()
