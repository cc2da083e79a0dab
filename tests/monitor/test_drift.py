"""Figures of a night against figures worked out by hand."""

import pytest
from sqlalchemy import insert, select
from tests.support.stores import START, add_person, answered, put_estimates, send_phq9s

from leadline.monitor.drift import drift_figures
from leadline.store.models import live_model
from leadline.store.schema import ask, drift_window, phq9
from leadline.store.times import DAY

NIGHT = 20_400
NOW = START + 12 * DAY


def figures(store):
    return store.database.write(lambda c: drift_figures(c, NIGHT, NOW))


@pytest.fixture
def people(live):
    """Three people; two with an estimate of this fortnight."""
    ids = [add_person(live, name) for name in ("ada", "bob", "old")]
    model = live.database.read(live_model)["model_id"]
    put_estimates(live, ids[0], [(9, 4.0, 30), (10, 6.0, 50)], model=model)
    put_estimates(live, ids[1], [(8, 10.0, 70)], model=model)
    put_estimates(live, ids[2], [(-9, 20.0, 70)], model=model)
    return ids


def test_without_labels_the_last_estimates_speak(live, people):
    found = figures(live)
    assert found["mean estimate"] == {"value": 8.0, "people": 2}
    assert found["words of a window"] == {"value": 60.0, "people": 2}
    # the distributions are even over 0..27 and their median is given as 1
    expected = (1 + sum(range(27))) / 28
    assert found["expected absolute error"]["value"] == pytest.approx(expected)
    assert not [name for name in found if "holds" in name]


def test_with_labels_the_last_pair_of_each_person_counts(live, people):
    send_phq9s(live, answered("a", 1, days=10.5), answered("b", 5, person="bob", days=11),
               answered("c", 9, person="old", days=11))  # fmt: skip
    found = figures(live)
    assert found["90% interval holds"] == {"value": 0.5, "people": 2}  # bounds are 1 and 1
    assert found["absolute error"] == {"value": 2.0, "people": 2}
    assert found["PHQ-9 less estimate"]["value"] == 2.0
    number = live.database.write(
        lambda c: c.execute(
            insert(ask).values(person_id=people[1], drawn_at_random=True).returning(ask.c.id)
        ).scalar_one()
    )
    live.database.write(
        lambda c: c.execute(
            phq9.update().where(phq9.c.person_id == people[1]).values(ask_id=number)
        )
    )
    drawn = figures(live)["absolute error, asked at random"]
    assert drawn == {"value": 4.0, "people": 1}


def test_a_night_that_is_run_again_writes_its_figures_once(live, people):
    first = figures(live)
    assert figures(live) == first
    rows = live.database.read(lambda c: list(c.execute(select(drift_window)).mappings()))
    assert len(rows) == len(first)
    assert {row["day"] for row in rows} == {NIGHT}


def test_a_store_without_estimates_has_no_figures(live):
    assert figures(live) == {}
