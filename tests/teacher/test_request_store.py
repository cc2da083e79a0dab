"""The request store: planned once, settled once, whole after any kill."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import ROOT

from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.teacher.request_store import Outcome, Planned, digest, open_store
from leadline.teacher.transcript import TeacherReading

TEACHER = '{"model": "m"}'


def planned(count: int, draws: int = 1, teacher: str = TEACHER) -> list[Planned]:
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    return [
        Planned(
            teacher,
            "system",
            ("ancestor",),
            f"Person: text {number}",
            draws,
            TeacherReading(f"p{number}", moment, (Message("user", f"text {number}"),)),
        )
        for number in range(count)
    ]


def done(cost: float = 1.0) -> Outcome:
    return Outcome("done", "{}", input_tokens=10, output_tokens=5, cost=cost)


def test_planning_twice_adds_nothing_and_keeps_answers(tmp_path):
    with open_store(tmp_path / "s") as store:
        assert store.plan(planned(5, draws=2)) == 10
        first = store.pending(TEACHER, 3)
        assert [item.draw for item in first] == [0, 0, 0]  # first draws of all people first
        assert first[0].transcript == "Person: text 0"
        assert first[0].system == "system"
        store.send([(item.key, 0.5) for item in first])
        store.settle([(item.key, done()) for item in first])
    with open_store(tmp_path / "s") as store:
        assert store.plan(planned(5, draws=2)) == 0
        assert store.plan(planned(6, draws=2)) == 2
        counts = store.counts(TEACHER)
        assert (counts["done"], counts["pending"]) == (3, 9)
        assert len(list(store.answers())) == 3


def test_an_answer_is_counted_once_and_only_by_its_owner(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.plan(planned(2))
        keys = [item.key for item in store.pending(TEACHER, 2)]
        assert store.settle([(keys[0], done())]) == 0  # never sent
        store.send([(keys[0], 3.0)])
        assert store.committed() == 3.0
        assert store.settle([(keys[0], done()), (keys[0], done())]) == 1
        assert store.settle([(keys[0], done())]) == 0
        usage = store.usage()
        assert (usage["spent_usd"], usage["input_tokens"], usage["reserved_usd"]) == (1.0, 10, 0)
        assert store.committed() == pytest.approx(1.0)
        store.send([(keys[0], 9.0)])  # not pending any more
        assert store.committed() == pytest.approx(1.0)


def test_lost_requests_are_held_or_sent_again_on_request(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.plan(planned(3))
        keys = [item.key for item in store.pending(TEACHER, 3)]
        store.send([(key, 2.0) for key in keys])
        store.settle([(keys[0], done())])
    with open_store(tmp_path / "s") as store:
        held = store.recover(TEACHER, repeat=(), resend_lost=False)
        assert held["lost"] == 2
        assert store.pending(TEACHER, 9) == []
        assert store.usage()["reserved_usd"] == 4.0
        store.recover(TEACHER, repeat=(), resend_lost=True)
        assert len(store.pending(TEACHER, 9)) == 2
        assert store.usage()["at_risk_usd"] == 4.0
        assert store.committed() == pytest.approx(5.0)


def test_repeat_puts_back_only_the_named_states(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.plan(planned(3))
        keys = [item.key for item in store.pending(TEACHER, 3)]
        store.send([(key, 0.0) for key in keys])
        ends = [Outcome("failed", error="http 529"), Outcome("refused", cost=1.0), done()]
        store.settle(list(zip(keys, ends, strict=True)))
        assert store.errors() == {"http 529": 1}
        found = store.recover(TEACHER, repeat=("failed",), resend_lost=False)
        assert found == {"failed": 1, "lost": 0}
        assert [item.key for item in store.pending(TEACHER, 3)] == [keys[0]]


def test_batches_settle_by_their_token_only(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.plan(planned(4))
        keys = [item.key for item in store.pending(TEACHER, 4)]
        one = store.begin_batch(TEACHER, [(key, 1.0) for key in keys[:2]])
        two = store.begin_batch(TEACHER, [(key, 1.0) for key in keys[2:]])
        store.set_batch(one, "open", "provider-1")
        assert set(store.members(one, keys)) == set(keys[:2])
        assert store.settle([(key, done()) for key in keys], batch=one) == 2
        assert store.open_members(one) == 0
        store.set_batch(two, "open", "provider-2")
        store.disown_batch(two)
        states = {item["token"]: item for item in store.batches(TEACHER)}
        assert states[two]["state"] == "creating"
        assert states[two]["provider_id"] is None
        assert [i["provider_id"] for i in states.values() if i["state"] == "foreign"] == [
            "provider-2"
        ]
        assert store.release_batch(two) == 2
        assert store.counts()["pending"] == 2


def test_teachers_are_apart_and_a_store_belongs_to_one_cohort(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.bind("cohort", "a")
        store.bind("cohort", "a")
        with pytest.raises(LeadlineError, match="another cohort"):
            store.bind("cohort", "b")
        assert store.plan(planned(2)) == store.plan(planned(2, teacher='{"model": "n"}')) == 2
        assert store.counts(TEACHER)["pending"] == 2
        assert store.counts()["pending"] == 4


def test_one_process_at_a_time_and_only_a_store(tmp_path):
    with (
        open_store(tmp_path / "s"),
        pytest.raises(LeadlineError, match="Another labelling"),
        open_store(tmp_path / "s"),
    ):
        pass
    (tmp_path / "x").write_text("this is not a database, " * 50)
    with pytest.raises(LeadlineError, match="not a request store"), open_store(tmp_path / "x"):
        pass


@settings(max_examples=50)
@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_digests_are_equal_only_for_equal_sequences(left, right):
    assert (digest(*left) == digest(*right)) == (left == right)
    assert len(digest(*left)) == 64


KILLED = """
import sys, itertools
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.teacher.test_request_store import planned, done, TEACHER
from leadline.teacher.request_store import open_store
with open_store(Path(sys.argv[1])) as store:
    print("open", flush=True)
    store.plan(planned(4000, draws=2))
    store.recover(TEACHER, repeat=("failed",), resend_lost=True)
    for turn in itertools.count():
        todo = store.pending(TEACHER, 7)
        if not todo:
            break
        if turn % 2:
            store.send([(item.key, 1.0) for item in todo])
            store.settle([(item.key, done()) for item in todo])
        else:
            token = store.begin_batch(TEACHER, [(item.key, 1.0) for item in todo])
            store.settle([(item.key, done()) for item in todo[:4]], batch=token)
            store.release_batch(token)
"""


def test_store_is_whole_after_sigkill_at_random_moments(tmp_path):
    """Killed again and again in the middle of planning and settling, it stays consistent."""
    path, rng, kills = tmp_path / "s", random.Random(1), 0
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(ROOT)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.25))
        kills += child.poll() is None
        child.send_signal(signal.SIGKILL)
        _, problems = child.communicate(timeout=10)
        assert b"Traceback" not in problems
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with open_store(path) as store:
            usage, counts = store.usage(), store.counts()
            parts = usage["spent_usd"] + usage["at_risk_usd"] + usage["reserved_usd"]
            assert store.committed() == pytest.approx(parts)
            assert usage["spent_usd"] == counts["done"]
            assert usage["input_tokens"] == 10 * counts["done"]
    assert kills >= 3
    with open_store(path) as store:
        store.plan(planned(4000, draws=2))
        assert sum(store.counts().values()) == 8000
