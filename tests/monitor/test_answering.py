"""Who answers is learned from asks, and shrunk where there are few."""

import pytest
from sqlalchemy import insert
from tests.support.stores import START, add_person

from leadline.monitor.answering import PRIOR_ASKS, PRIOR_RATE, Answering, read_answering
from leadline.store.schema import ask


def test_without_asks_everybody_is_alike():
    answering = Answering({}, {})
    assert answering.rate == PRIOR_RATE
    assert answering.chances(["ada", "bob"]).tolist() == [PRIOR_RATE] * 2


def test_ones_own_asks_count_beside_everybodys():
    answering = Answering({"ada": 40, "bob": 2}, {"ada": 36})
    ada, bob, new = answering.chances(["ada", "bob", "new"])
    assert answering.rate == pytest.approx(37 / 44)
    assert new == pytest.approx(answering.rate)
    assert bob == pytest.approx(answering.rate * PRIOR_ASKS / (2 + PRIOR_ASKS))
    assert 0.85 < ada < 0.9
    assert 0 < bob < new


def test_only_asks_that_were_made_and_ended_count(live):
    ada = add_person(live)
    asks = [
        {"asked_at": START, "ended_at": START, "answered_at": START},
        {"asked_at": START, "ended_at": START, "answered_at": None},
        {"asked_at": START, "ended_at": None, "answered_at": None},
        {"asked_at": None, "ended_at": START, "answered_at": None},
    ]
    rows = [{"person_id": ada, "drawn_at_random": False} | one for one in asks]
    live.database.write(lambda c: c.execute(insert(ask), rows))
    found = live.database.read(read_answering)
    assert (found.ended, found.answered) == ({ada: 2}, {ada: 1})
