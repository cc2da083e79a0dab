"""Real PHQ-9s: once, scored, retracted with their time, item 9 in a lane of its own."""

from sqlalchemy import select
from tests.support.stores import (
    START,
    add_person,
    answered,
    person_id,
    person_row,
    send_phq9s,
    statuses,
)

from leadline.store.asks import ask_person, open_ask
from leadline.store.lanes import lane_page
from leadline.store.phq9s import item9, retract_phq9, see_item9
from leadline.store.schema import ask, hook_call, phq9
from leadline.store.times import DAY

MILD = (1, 1, 1, 1, 1, 0, 0, 0, 0)
WITH_ITEM9 = (2, 2, 1, 1, 1, 1, 0, 0, 2)


def rows(store, table=phq9):
    return store.database.read(lambda c: list(c.execute(select(table)).mappings()))


def lane(store, name="item9"):
    page = store.database.read(lambda c: lane_page(c, name))
    return [row["id"] for row in page.rows]


def test_a_phq9_is_stored_once_and_its_items_make_the_total(store):
    add_person(store)
    batch = [answered("q1", None, items=MILD), answered("q2", 14.0, days=3)]
    assert statuses(send_phq9s(store, *batch)) == ["stored", "stored"]
    assert statuses(send_phq9s(store, *batch)) == ["known", "known"]
    assert statuses(send_phq9s(store, answered("q2", 15.0, days=3))) == ["conflict"]
    assert [(row["total"], row["answers"]) for row in rows(store)] == [
        (5.0, "111110000"), (14.0, None),
    ]  # fmt: skip
    assert person_row(store)["refresh_due"] is not None


def test_what_cannot_be_scored_is_refused_with_its_reason_and_no_value(store):
    add_person(store)
    add_person(store, "bob", consent={})
    outcomes = send_phq9s(
        store,
        answered("a", 40.0),
        answered("b", 20.0, items=MILD),
        answered("c", None, items=(1, 1)),
        answered("d", 12.0, days=90),
        answered("e", 12.0, person="bob"),
        answered("f", 12.0, person="nobody"),
    )
    assert statuses(outcomes) == ["refused"] * 6
    assert "range" in outcomes[0].reason
    assert "contradict" in outcomes[1].reason
    assert not any("40" in outcome.reason for outcome in outcomes)
    assert rows(store) == []


def test_a_phq8_is_kept_as_one(store):
    add_person(store)
    send_phq9s(store, answered("q", None, items=MILD[:8], instrument="phq8"))
    (row,) = rows(store)
    assert (row["instrument"], row["total"], row["answers"]) == ("phq8", 5.0, "11111000-")
    assert lane(store) == []


def test_item_9_makes_a_lane_and_one_call_of_the_hook(store):
    ada = add_person(store)
    item = answered("q1", None, items=WITH_ITEM9)
    (outcome,) = send_phq9s(store, item)
    send_phq9s(store, item)
    assert lane(store) == [ada]
    assert [row["phq9_id"] for row in rows(store, hook_call)] == [outcome.number]


def test_item_9_of_an_archive_calls_nobody(store):
    add_person(store)
    send_phq9s(store, answered("q1", None, items=WITH_ITEM9), of_the_past=True)
    assert lane(store) == []
    assert rows(store, hook_call) == []


def test_a_person_leaves_the_lane_when_every_answer_was_seen(store):
    ada = add_person(store)
    first, second = send_phq9s(
        store,
        answered("q1", None, items=WITH_ITEM9),
        answered("q2", None, items=WITH_ITEM9, days=1),
    )
    seen = [
        store.database.write(lambda c, n=n: see_item9(c, store.vault, "ada", n, ("nurse", START)))
        for n in (first.number, first.number)
    ]
    assert statuses(seen) == ["stored", "known"]
    assert lane(store) == [ada]
    store.database.write(
        lambda c: see_item9(c, store.vault, "ada", second.number, ("nurse", START))
    )
    assert lane(store) == []


def test_a_retracted_phq9_stays_with_its_time_and_leaves_the_lane(store):
    add_person(store)
    (outcome,) = send_phq9s(store, answered("q1", None, items=WITH_ITEM9))
    later = START + 45 * DAY

    def retract(external):
        return store.database.write(
            lambda c: retract_phq9(c, store.vault, external, outcome.number, later)
        )

    assert retract("bob").status == "refused"
    assert retract("ada").status == "stored"
    assert retract("ada").status == "known"
    (row,) = rows(store)
    assert row["retracted_at"] == later
    assert lane(store) == []


def test_an_answer_ends_the_ask_that_was_asked_before_it(store):
    add_person(store)
    ada = person_id(store, "ada")
    number = store.database.write(lambda c: ask_person(c, ada, ("nurse", START), "call"))
    send_phq9s(store, answered("early", 10.0, days=-1))
    assert store.database.read(lambda c: open_ask(c, ada))["id"] == number
    send_phq9s(store, answered("late", 10.0, days=2))
    (row,) = rows(store, ask)
    assert row["answered_at"] == START + 2 * DAY
    assert row["ended_at"] is not None
    assert [one["ask_id"] for one in rows(store)] == [None, number]


def test_item_9_of_answers():
    assert item9(None) is None
    assert item9("11111000-") is None
    assert item9("000000003") == 3
