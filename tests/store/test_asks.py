"""An ask is suggested, asked, answered, declined or put off, and ends once."""

import pytest
from sqlalchemy import select
from tests.support.stores import START, add_person

from leadline.errors import LeadlineError
from leadline.store.asks import (
    OPEN_DAYS,
    Suggestion,
    ask_person,
    change_ask,
    end_old_asks,
    open_ask,
    open_asks,
    suggest,
)
from leadline.store.schema import ask
from leadline.store.times import DAY

NURSE = ("nurse", START + DAY)


def rows(store):
    return store.database.read(lambda c: list(c.execute(select(ask)).mappings()))


def suggestion(person, **how):
    return Suggestion(person, **{"reason": "why", "value": 0.4, "drawn_at_random": True,
                                 "propensity": 0.1, **how})  # fmt: skip


def test_a_suggestion_is_made_once_and_keeps_its_chance(store):
    ada = add_person(store)
    first, again = (
        store.database.write(lambda c: suggest(c, suggestion(ada), START)) for _ in range(2)
    )
    assert first == again
    (row,) = rows(store)
    assert (row["propensity"], row["drawn_at_random"], row["value"]) == (0.1, True, 0.4)


def test_asking_takes_the_suggestion_up(store):
    ada = add_person(store)
    number = store.database.write(lambda c: suggest(c, suggestion(ada), START))
    assert store.database.write(lambda c: ask_person(c, ada, NURSE, "call")) == number
    later = ("other", START + 2 * DAY)
    assert store.database.write(lambda c: ask_person(c, ada, later, "app")) == number
    (row,) = rows(store)
    assert (row["asked_by"], row["channel"], row["asked_at"]) == ("nurse", "call", START + DAY)


def test_an_ask_without_a_suggestion_has_no_chance(store):
    ada = add_person(store)
    store.database.write(lambda c: ask_person(c, ada, NURSE, None))
    (row,) = rows(store)
    assert (row["drawn_at_random"], row["propensity"]) == (False, None)


def test_declined_ends_an_ask_and_ends_it_once(store):
    ada = add_person(store)
    number = store.database.write(lambda c: ask_person(c, ada, NURSE, "call"))

    def change(action):
        return store.database.write(lambda c: change_ask(c, number, action, NURSE))

    assert change("declined")
    assert not change("declined")
    assert not change("asked")
    assert store.database.read(lambda c: open_ask(c, ada)) is None
    assert not store.database.write(lambda c: change_ask(c, number + 1, "asked", NURSE))


def test_putting_off_needs_a_time_to_come(store):
    ada = add_person(store)
    number = store.database.write(lambda c: suggest(c, suggestion(ada), START))
    for until in (None, NURSE[1]):
        with pytest.raises(LeadlineError, match="time to come back"):
            store.database.write(
                lambda c, until=until: change_ask(c, number, "snoozed", NURSE, until)
            )
    until = START + 9 * DAY
    assert store.database.write(lambda c: change_ask(c, number, "snoozed", NURSE, until))
    assert rows(store)[0]["snoozed_until"] == until


def test_old_asks_end_without_an_answer(store):
    ada, bob = add_person(store), add_person(store, "bob")
    store.database.write(lambda c: ask_person(c, ada, NURSE, "call"))
    store.database.write(lambda c: suggest(c, suggestion(bob), START))
    at = START + OPEN_DAYS * DAY + 1
    assert store.database.write(lambda c: end_old_asks(c, at)) == 1
    assert store.database.write(lambda c: end_old_asks(c, at + DAY)) == 1
    assert store.database.write(lambda c: end_old_asks(c, at + DAY)) == 0
    assert all(row["answered_at"] is None for row in rows(store))


def test_the_open_asks_of_several_people_are_read_at_once(store):
    ada, bob, eve = (add_person(store, name) for name in ("ada", "bob", "eve"))
    for person in (ada, bob):
        store.database.write(lambda c, p=person: suggest(c, suggestion(p), START))
    number = store.database.read(lambda c: open_ask(c, bob))["id"]
    store.database.write(lambda c: change_ask(c, number, "declined", NURSE))
    found = store.database.read(lambda c: open_asks(c, [ada, bob, eve]))
    assert {person: row["reason"] for person, row in found.items()} == {ada: "why"}
