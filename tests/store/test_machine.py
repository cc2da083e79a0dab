"""The store against a plain dict, through whatever order of sends, crashes, reads and forgetting.

The dict knows people by name and messages by id; it has no numbers of rows, no keys, no leases.
After each step both must say the same: who is there, what counts, in which order it is read, what
is not read yet, and which estimates count.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select
from tests.support.stores import (
    DATABASES,
    START,
    add_person,
    answered,
    new_store,
    said,
    send_phq9s,
)

from leadline.store import schema
from leadline.store.estimates import FIGURES, EstimateRow, read_estimates
from leadline.store.messages import retract_messages, store_messages
from leadline.store.people import OF_A_PERSON, find_people, forget_person
from leadline.store.phq9s import retract_phq9
from leadline.store.times import DAY
from leadline.store.work import LEASE, claim_people, finish, read_history

PEOPLE = ("ada", "bob")
COUNT = 14  # of messages that there may be
NAMES = st.integers(0, COUNT - 1).map("m{}".format)


def item(number, other):
    """A message that follows from its number; with `other`, one that contends for its id."""
    return said(
        f"m{number}", "Two." if other else "One.", person=PEOPLE[(number + (other == 2)) % 2],
        hours=number * 5 % 3, turn=number // 3 % 2, role="assistant" if number == 4 else "user",
        replaces=f"m{number - 8}" if number >= COUNT - 4 else None,
    )  # fmt: skip


ITEMS = st.builds(item, st.integers(0, COUNT - 1), st.sampled_from([0] * 8 + [1, 2]))
BATCHES = st.lists(ITEMS, min_size=1, max_size=4)
MODEL = ("model", "folder")


class Crash(Exception):
    """The process dies in the middle of a transaction."""


@dataclass
class Told:
    """A message as the dict has it."""

    item: object
    number: int
    gone: bool = False


@dataclass
class Person:
    """A person as the dict has them."""

    messages: dict[str, Told] = field(default_factory=dict)
    phq9s: dict[str, list] = field(default_factory=dict)  # total, number, whether it counts
    read: list[int] = field(default_factory=list)  # numbers with an estimate, as last read

    def order(self):
        """The messages that count, in the order of reading."""
        kept = [one for one in self.messages.values() if not one.gone]
        return sorted(kept, key=lambda one: (one.item.time, one.item.turn, one.number))


class Machine(RuleBasedStateMachine):
    """Both of them, and what is done to them."""

    kind: str

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = new_store(self.kind, Path(self.folder.name))
        self.people = {}
        self.forgotten = set()
        self.now = START + 40 * DAY

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    def tick(self):
        self.now += 2 * LEASE
        return self.now

    def write(self, work, *, crash=False):
        """Do it, or die with it done but not committed."""

        def dying(connection):
            work(connection)
            raise Crash

        if not crash:
            return self.store.database.write(work)
        with pytest.raises(Crash):
            self.store.database.write(dying)
        return None

    @initialize()
    def begin(self):
        for name in PEOPLE:
            self.agree(name)

    @rule(name=st.sampled_from(PEOPLE))
    def agree(self, name):
        if name in self.forgotten:
            with pytest.raises(KeyError):
                add_person(self.store, name)
            return
        add_person(self.store, name, at=self.tick())
        self.people.setdefault(name, Person())

    @rule(batch=BATCHES, crash=st.booleans(), twice=st.booleans(), backwards=st.booleans())
    def send(self, batch, crash, twice, backwards):
        """Sent, sent again at once, in another order, or lost on the way in."""
        if crash:
            self.put(batch, crash=True)
        self.expect(batch, self.put(batch))
        if twice:
            again = batch[::-1] if backwards else batch
            self.expect(again, self.put(again))

    def put(self, batch, *, crash=False):
        now = self.tick()
        return self.write(lambda c: store_messages(c, self.store.vault, batch, now), crash=crash)

    def expect(self, batch, outcomes):
        for item, outcome in zip(batch, outcomes, strict=True):
            status, number = self.taken(item)
            assert outcome.status == status
            assert outcome.number == number

    def taken(self, item):
        """What the dict makes of a message."""
        person = self.people.get(item.person)
        if person is None:
            return "refused", None
        owner = next((one for one in self.people.values() if item.id in one.messages), None)
        if owner is not None:
            told = owner.messages[item.id]
            same = owner is person and told.item == item
            return ("known", told.number) if same else ("conflict", None)
        if item.replaces is not None:
            old = person.messages.get(item.replaces)
            if old is None or old.gone:
                return "refused", None
            old.gone = True
        number = len(person.messages) + 1
        person.messages[item.id] = Told(item, number)
        return "stored", number

    @rule(name=st.sampled_from(PEOPLE), which=NAMES, crash=st.booleans())
    def retract(self, name, which, crash):
        now = self.tick()
        batch = [(name, "app", which)]
        work = lambda c: retract_messages(c, self.store.vault, batch, now)  # noqa: E731
        if crash:
            self.write(work, crash=True)
        (outcome,) = self.write(work)
        told = self.people[name].messages.get(which) if name in self.people else None
        if told is None:
            assert outcome.status == "refused"
        else:
            assert (outcome.status, outcome.number) == (
                "known" if told.gone else "stored", told.number)  # fmt: skip
            told.gone = True

    @rule(name=st.sampled_from(PEOPLE), which=st.sampled_from(["q1", "q2"]),
          total=st.sampled_from([3, 12]))  # fmt: skip
    def answer(self, name, which, total):
        (outcome,) = send_phq9s(self.store, answered(which, total, person=name), at=self.tick())
        owner = next((one for one in self.people.values() if which in one.phq9s), None)
        if name not in self.people:
            assert outcome.status == "refused"
        elif owner is None:
            assert outcome.status == "stored"
            self.people[name].phq9s[which] = [total, outcome.number, True]
        elif owner is self.people[name] and owner.phq9s[which][0] == total:
            assert (outcome.status, outcome.number) == ("known", owner.phq9s[which][1])
        else:
            assert outcome.status == "conflict"

    @rule(name=st.sampled_from(PEOPLE), which=st.sampled_from(["q1", "q2"]))
    def take_answer_back(self, name, which):
        kept = self.people[name].phq9s.get(which) if name in self.people else None
        number = 10**6 if kept is None else kept[1]
        now = self.tick()
        outcome = self.write(lambda c: retract_phq9(c, self.store.vault, name, number, now))
        if kept is None:
            assert outcome.status == "refused"
        else:
            assert outcome.status == ("stored" if kept[2] else "known")
            kept[2] = False

    @rule(fate=st.sampled_from(["done", "done", "died", "crashed", "late"]))
    def read(self, fate):
        """A scorer reads everybody who has work; or dies with it, or is overtaken."""
        now = self.tick()
        claims = self.write(lambda c: claim_people(c, self.store.vault, "w", now))
        for claim in claims:
            person = next(p for n, p in self.people.items() if self.id_of(n) == claim.stored.id)
            order = [one.number for one in person.order()]
            history = self.store.database.read(lambda c, one=claim: read_history(c, one))
            numbers = [row["seq"] for row in history] + [row["seq"] for row in claim.new]
            assert numbers == order
            work = lambda c, one=claim: finish(c, one, MODEL, made(one), now)  # noqa: E731
            if fate == "crashed":
                self.write(work, crash=True)
            elif fate == "late":
                later = self.tick()
                self.write(lambda c, at=later: claim_people(c, self.store.vault, "v", at))
                assert self.write(work) is False
            elif fate == "done":
                assert self.write(work) is True
                person.read = [n.number for n in person.order() if n.item.role == "user"]

    @precondition(lambda self: len(self.people) == len(PEOPLE))
    @rule(data=st.data(), crash=st.booleans())
    def forget(self, data, crash):
        name = data.draw(st.sampled_from(sorted(self.people)))
        number, now = self.id_of(name), self.tick()
        work = lambda c: forget_person(c, self.store.vault, name, now)  # noqa: E731
        if crash:
            self.write(work, crash=True)
            return
        assert self.write(work) is True
        del self.people[name]
        self.forgotten.add(name)
        assert self.write(work) is False
        for table in OF_A_PERSON:
            if "person_id" in table.c:
                of_person = select(func.count()).where(table.c.person_id == number)
                assert self.store.database.read(lambda c, q=of_person: c.execute(q).scalar()) == 0

    def id_of(self, name):
        return self.store.database.read(lambda c: find_people(c, self.store.vault, [name]))[name].id

    @invariant()
    def both_say_the_same(self):
        found = self.store.database.read(lambda c: find_people(c, self.store.vault, PEOPLE))
        assert set(found) == set(self.people)
        for name, stored in found.items():
            self.compare(stored, self.people[name])

    def compare(self, stored, person):
        def rows(table):
            query = select(table).where(table.c.person_id == stored.id)
            return self.store.database.read(lambda c: list(c.execute(query).mappings()))

        assert stored.row["received"] == len(person.messages)
        by_number = {row["seq"]: row for row in rows(schema.message)}
        assert sorted(by_number) == list(range(1, len(person.messages) + 1))
        for told in person.messages.values():
            row = by_number[told.number]
            assert stored.key.open(bytes(row["sealed_text"]), "text", row["seq"]) == told.item.text
            assert (row["superseded_at"] is not None) == told.gone
        phq9s = {row["id"]: (row["total"], row["retracted_at"] is None)
                 for row in rows(schema.phq9)}  # fmt: skip
        assert phq9s == {n: (total, counts) for total, n, counts in person.phq9s.values()}
        estimates = self.store.database.read(lambda c: read_estimates(c, stored.id, "model"))
        assert [row["seq"] for row in estimates] == self.still_counting(person)

    def still_counting(self, person):
        """Estimates stay as they were last read until the next reading."""
        items = {told.number: told.item for told in person.messages.values()}
        return sorted(person.read, key=lambda n: (items[n].time, items[n].turn, n))


def made(claim):
    """Estimates after the new messages of the person's own."""
    figures = dict.fromkeys(FIGURES, 1.0)
    return [
        EstimateRow(row["seq"], row["time"], np.full(28, 1 / 28), figures, None, None, 1, 1)
        for row in claim.new
        if row["role"] == "user"
    ]


def run(kind, examples, steps):
    machine = type(f"Machine_{kind}", (Machine,), {"kind": kind})
    how = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=how)


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 12), ("postgresql", 5)])
def test_the_store_is_as_a_plain_dict(kind, examples):
    run(kind, examples, 30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_the_store_is_as_a_plain_dict_for_long(kind):
    run(kind, 100, 50)
