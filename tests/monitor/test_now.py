"""The list: made from the record, made again at will, and honest about what it does not know."""

import json

import pytest
from sqlalchemy import delete, select
from tests.support.stores import (
    START,
    add_person,
    answered,
    person_row,
    put_estimates,
    said,
    send,
    send_phq9s,
)

from leadline.monitor.course import smoothed_course
from leadline.monitor.now import read_ground, refresh_due, refresh_people
from leadline.monitor.records import read_records
from leadline.store import schema
from leadline.store.asks import ask_person
from leadline.store.lanes import lane_page
from leadline.store.models import live_model
from leadline.store.times import DAY, day

NOW = START + 12 * DAY


@pytest.fixture
def ada(live):
    """A person with messages, estimates and PHQ-9s."""
    ada = add_person(live)
    send(live, *(said(f"m{n}", hours=24 * n) for n in range(1, 11)))
    model = live.database.read(live_model)["model_id"]
    put_estimates(live, ada, [(n, 9.0, 60) for n in range(1, 11)], model=model)
    send_phq9s(live, answered("q1", 14, days=0.5), answered("q2", 12, days=6))
    return ada


def view(store, person):
    query = select(schema.person_now).where(schema.person_now.c.person_id == person)
    return store.database.read(lambda c: c.execute(query).mappings().one())


def lanes(store, person):
    query = select(schema.lane_entry.c.lane).where(schema.lane_entry.c.person_id == person)
    return set(store.database.read(lambda c: c.execute(query).scalars()))


def test_a_view_is_the_end_of_the_course(live, ada):
    refresh_people(live, [ada], NOW)
    row = view(live, ada)
    ground = live.database.read(read_ground)
    record = live.database.read(lambda c: read_records(c, [ada], ground.model_id))[ada]
    course = smoothed_course(record.history, [day(NOW)], ground.parameters)
    assert row["mean"] == pytest.approx(course.mean[0], abs=1e-6)
    assert row["sd"] == pytest.approx(course.sd[0], abs=1e-6)
    assert 0 <= row["lower"] < row["mean"] < row["upper"] <= 27
    assert row["last_phq9_total"] == 12.0
    assert row["last_message_at"] == START + 10 * DAY
    assert row["standing"] == "steady"
    assert row["value"] > 0
    assert "10 is reached" in row["reason"]
    assert "No PHQ-9 yet" not in row["reason"]
    spark = json.loads(row["spark"])
    assert [ago for ago, _ in spark] == sorted((ago for ago, _ in spark), reverse=True)
    assert lanes(live, ada) == {"everyone"}
    assert person_row(live)["refresh_due"] is None


def test_a_view_that_is_lost_is_made_again_equal(live, ada):
    refresh_people(live, [ada], NOW)
    first = dict(view(live, ada))
    for table in (schema.person_now, schema.lane_entry, schema.belief):
        live.database.write(lambda c, table=table: c.execute(delete(table)))
    refresh_people(live, [ada], NOW)
    assert dict(view(live, ada)) == first
    refresh_people(live, [ada], NOW)
    assert dict(view(live, ada)) == first


def test_whoever_is_due_is_refreshed_and_no_one_else(live, ada):
    bob = add_person(live, "bob")
    assert refresh_due(live, NOW) >= 1
    assert refresh_due(live, NOW) == 0
    send_phq9s(live, answered("q3", 20, days=8))
    assert refresh_due(live, NOW) == 1
    assert view(live, ada)["last_phq9_total"] == 20.0
    assert {row["id"] for row in live.database.read(lambda c: lane_page(c, "everyone")).rows} <= {
        ada, bob,
    }  # fmt: skip


def test_a_phq9_moves_the_mean_and_narrows_the_interval(live, ada):
    refresh_people(live, [ada], NOW)
    before = view(live, ada)
    send_phq9s(live, answered("q3", 22, days=11))
    refresh_people(live, [ada], NOW)
    after = view(live, ada)
    assert after["mean"] > before["mean"] + 2
    assert after["sd"] < before["sd"]


def test_silence_widens_and_is_a_lane(live, ada):
    refresh_people(live, [ada], NOW)
    before = view(live, ada)
    later = START + 60 * DAY
    refresh_people(live, [ada], later)
    after = view(live, ada)
    assert after["sd"] > before["sd"]
    assert after["standing"] == "silent"
    assert lanes(live, ada) == {"everyone", "silent"}


def test_of_whom_nothing_is_known_nothing_is_said(live):
    ada = add_person(live)
    refresh_people(live, [ada], NOW)
    row = view(live, ada)
    assert row["standing"] == "unknown"
    for name in ("mean", "lower", "upper", "p_ge_10", "p_worse", "value", "reason"):
        assert row[name] is None


def test_a_phq9_alone_is_a_course_too(live):
    ada = add_person(live)
    send_phq9s(live, answered("q", 18, days=1))
    refresh_people(live, [ada], START + 2 * DAY)
    row = view(live, ada)
    assert 13 < row["mean"] < 18
    assert row["standing"] == "unknown"


def test_who_cannot_be_estimated_is_not_called_steady(live, ada):
    live.database.write(
        lambda c: c.execute(schema.person.update().values(failed="the text is not there"))
    )
    refresh_people(live, [ada], NOW)
    assert view(live, ada)["standing"] == "cannot be estimated"


def test_change_is_counted_from_the_start_of_treatment(live, ada):
    refresh_people(live, [ada], NOW)
    first = view(live, ada)["p_worse"]
    add_person(live, treatment_start=START + 9 * DAY)
    refresh_people(live, [ada], NOW)
    assert view(live, ada)["p_worse"] != first


def test_a_clear_change_has_its_lane(live):
    ada = add_person(live)
    days = [*range(1, 11), *range(50, 61)]
    send(live, *(said(f"m{n}", hours=24 * n) for n in days), at=START + 90 * DAY)
    model = live.database.read(live_model)["model_id"]
    put_estimates(live, ada, [(n, 4.0 if n < 30 else 22.0, 60) for n in days], model=model)
    totals = {0: 3, 5: 4, 52: 23, 58: 24}
    phq9s = [answered(f"q{n}", total, days=n) for n, total in totals.items()]
    send_phq9s(live, *phq9s, at=START + 90 * DAY)
    for at in range(57, 63):
        refresh_people(live, [ada], START + at * DAY)
    row = view(live, ada)
    assert row["words_of_change"] == "reliably worse"
    assert row["standing"] == "reliably worse"
    assert lanes(live, ada) == {"everyone", "changed"}


def test_the_last_ask_stands_in_the_view(live, ada):
    live.database.write(lambda c: ask_person(c, ada, ("nurse", NOW), "call"))
    refresh_people(live, [ada], NOW)
    assert view(live, ada)["last_ask_at"] == NOW
