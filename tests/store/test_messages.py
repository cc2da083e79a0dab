"""Each message once, in an order without gaps, whoever sends it how often."""

import threading
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select
from tests.support.stores import (
    START,
    add_person,
    new_store,
    person_row,
    said,
    send,
    statuses,
)

from leadline.store.messages import retract_messages
from leadline.store.people import find_people
from leadline.store.schema import message
from leadline.store.times import DAY


def rows(store):
    query = select(message).order_by(message.c.person_id, message.c.seq)
    return store.database.read(lambda connection: list(connection.execute(query).mappings()))


def texts(store, external="ada"):
    """Texts that count, in the order of reading."""

    def work(connection):
        key = find_people(connection, store.vault, [external])[external].key
        order = (message.c.time, message.c.turn, message.c.seq)
        query = select(message).where(message.c.superseded_at.is_(None)).order_by(*order)
        return [
            key.open(bytes(row["sealed_text"]), "text", row["seq"])
            for row in connection.execute(query).mappings()
        ]

    return store.database.read(work)


def test_a_batch_is_stored_and_known_when_it_comes_again(store):
    add_person(store)
    batch = [said("a"), said("b", hours=1), said("c", hours=2)]
    assert statuses(send(store, *batch)) == ["stored"] * 3
    assert statuses(send(store, *batch, said("d", hours=3))) == ["known"] * 3 + ["stored"]
    assert [row["seq"] for row in rows(store)] == [1, 2, 3, 4]
    assert person_row(store)["received"] == 4


def test_one_id_twice_in_a_batch_is_stored_once(store):
    add_person(store)
    outcomes = send(store, said("a"), said("a"), said("a", "Other words."))
    assert statuses(outcomes) == ["stored", "known", "conflict"]
    assert person_row(store)["received"] == 1


def test_other_content_under_a_known_id_is_a_conflict_and_overwrites_nothing(store):
    add_person(store)
    send(store, said("a", "I slept."))
    changes = [{"text": "I did not."}, {"time": START + 1}, {"role": "assistant"}, {"turn": 3},
               {"conversation": "c2"}]  # fmt: skip
    outcomes = send(store, *(replace(said("a", "I slept."), **change) for change in changes))
    assert statuses(outcomes) == ["conflict"] * len(changes)
    assert texts(store) == ["I slept."]


def test_an_id_of_another_person_is_a_conflict(store):
    add_person(store)
    add_person(store, "bob")
    send(store, said("a"))
    assert statuses(send(store, said("a", person="bob"))) == ["conflict"]
    assert statuses(send(store, replace(said("a", person="bob"), source="web"))) == ["stored"]


def test_nothing_is_stored_of_someone_unknown_or_without_consent(store):
    add_person(store, consent={})
    outcomes = send(store, said("a"), said("b", person="nobody"))
    assert statuses(outcomes) == ["refused", "refused"]
    assert "consent" in outcomes[0].reason
    assert rows(store) == []


def test_a_time_ahead_of_the_clock_is_refused(store):
    add_person(store)
    outcomes = send(store, said("a", hours=23), said("b", hours=25), at=START)
    assert statuses(outcomes) == ["stored", "refused"]


def test_a_correction_takes_the_place_of_the_older_message(store):
    add_person(store)
    send(store, said("a", "first"), said("b", "secnd", hours=1), said("c", "third", hours=2))
    outcomes = send(store, said("b2", "second", hours=1, replaces="b"))
    assert statuses(outcomes) == ["stored"]
    assert texts(store) == ["first", "second", "third"]
    row = person_row(store)
    assert row["read_again_from"] == START + 3_600_000_000
    assert row["revision"] == 1
    again = send(store, said("b2", "second", hours=1, replaces="b"))
    assert statuses(again) == ["known"]
    assert person_row(store)["revision"] == 1


def test_what_is_replaced_must_be_there_and_in_force(store):
    add_person(store)
    add_person(store, "bob")
    send(store, said("a"), said("x", person="bob"))
    send(store, said("a2", replaces="a"))
    outcomes = send(store, said("n", replaces="never"), said("a3", replaces="a"),
                    said("y", replaces="x"))  # fmt: skip
    assert statuses(outcomes) == ["refused"] * 3
    assert person_row(store)["received"] == 2


def test_a_message_and_its_correction_in_one_batch(store):
    add_person(store)
    send(store, said("a", "wrng"), said("a2", "right", replaces="a"))
    assert texts(store) == ["right"]
    assert [row["superseded_by"] for row in rows(store)] == [2, None]


def test_a_message_is_taken_back_once(store):
    add_person(store)
    send(store, said("a", "one"), said("b", "two", hours=1))

    def take(connection):
        batch = [("ada", "app", "b"), ("ada", "app", "nothing"), ("bob", "app", "a")]
        return retract_messages(connection, store.vault, batch, START + 50 * DAY)

    assert statuses(store.database.write(take)) == ["stored", "refused", "refused"]
    assert statuses(store.database.write(take))[0] == "known"
    assert texts(store) == ["one"]
    assert person_row(store)["read_again_from"] == START + 3_600_000_000


def test_eight_senders_of_the_same_batches_store_each_message_once(store):
    for name in ("ada", "bob"):
        add_person(store, name)
    batches = [
        [said(f"{at}{n}", person=("ada", "bob")[(n + at) % 2], hours=at) for n in range(10)]
        for at in range(5)
    ]
    stored, errors = [], []

    def client():
        try:
            for batch in batches:
                stored.extend(statuses(send(store, *batch)))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert stored.count("stored") == 50
    assert stored.count("known") == 350
    by_person = {}
    for row in rows(store):
        by_person.setdefault(row["person_id"], []).append(row["seq"])
    assert sorted(by_person.values()) == [list(range(1, 26))] * 2


def test_two_people_who_race_for_one_id_leave_no_gap(store):
    names = [f"p{n}" for n in range(8)]
    for name in names:
        add_person(store, name)
    outcomes = []

    def client(name):
        batch = [said("same", person=name), said(f"own {name}", person=name, hours=1)]
        outcomes.append(statuses(send(store, *batch)))

    threads = [threading.Thread(target=client, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(first for first, _ in outcomes) == ["conflict"] * 7 + ["stored"]
    assert all(second == "stored" for _, second in outcomes)
    for name in names:
        row = person_row(store, name)
        numbers = [one["seq"] for one in rows(store) if one["person_id"] == row["id"]]
        assert numbers == list(range(1, row["received"] + 1))


def test_texts_may_stay_with_the_app(tmp_path):
    store = new_store("sqlite", tmp_path, keep_texts=False)
    add_person(store)
    send(store, said("a", "not here"))
    (row,) = rows(store)
    assert row["sealed_text"] is None
    assert row["sealed_key"] is not None
    assert statuses(send(store, said("a", "not here"), said("a", "other"))) == ["known", "conflict"]


class Ingestion(RuleBasedStateMachine):
    """The store against a plain dict: send, send again, reorder, drop, crash, correct, retract."""

    def __init__(self):
        super().__init__()
        self.model = {}
        self.gone = set()

    @initialize(data=st.data())
    def begin(self, data):
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.store = new_store("sqlite", Path(self.folder.name))
        add_person(self.store)

    @rule(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=5), hour=st.integers(0, 5),
          crash=st.booleans())  # fmt: skip
    def send_some(self, numbers, hour, crash):
        batch = [said(f"m{n}", f"text {n} {hour}", hours=hour) for n in numbers]
        if crash:
            with pytest.raises(ZeroDivisionError):
                self.store.database.write(lambda c: self._die(c, batch))
            return
        for item, outcome in zip(batch, send(self.store, *batch), strict=True):
            expected = (
                "stored" if item.id not in self.model
                else "known" if self.model[item.id] == item.text
                else "conflict"
            )  # fmt: skip
            assert outcome.status == expected
            self.model.setdefault(item.id, item.text)

    def _die(self, connection, batch):
        from leadline.store.messages import store_messages

        store_messages(connection, self.store.vault, batch, START + 40 * DAY)
        return 1 / 0

    @rule(number=st.integers(0, 9))
    def take_back(self, number):
        name = f"m{number}"
        batch = [("ada", "app", name)]
        (outcome,) = self.store.database.write(
            lambda c: retract_messages(c, self.store.vault, batch, START + 41 * DAY)
        )
        expected = (
            "refused" if name not in self.model else "known" if name in self.gone else "stored"
        )
        assert outcome.status == expected
        if name in self.model:
            self.gone.add(name)

    @invariant()
    def the_store_holds_what_the_dict_holds(self):
        if not hasattr(self, "store"):
            return
        counted = {text for name, text in self.model.items() if name not in self.gone}
        assert sorted(texts(self.store)) == sorted(counted)
        assert [row["seq"] for row in rows(self.store)] == list(range(1, len(self.model) + 1))
        assert person_row(self.store)["received"] == len(self.model)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


Ingestion.TestCase.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
test_ingestion_against_a_dict = Ingestion.TestCase
