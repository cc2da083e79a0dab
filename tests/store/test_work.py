"""Work is claimed by lease, finished under a fence, and never stuck."""

import threading

import numpy as np
import pytest
from sqlalchemy import select
from tests.support.stores import START, add_person, person_row, said, send

from leadline.store.estimates import FIGURES, EstimateRow, read_estimates
from leadline.store.messages import retract_messages
from leadline.store.schema import estimate
from leadline.store.times import DAY, SECOND
from leadline.store.work import (
    LEASE,
    backlog,
    claim_people,
    end_leases,
    extend_lease,
    finish,
    give_up,
    read_history,
)

NOW = START + 50 * DAY
MODEL = ("model", "folder")


def claim(store, worker="w", at=NOW, count=64):
    return store.database.write(lambda c: claim_people(c, store.vault, worker, at, count))


def made_of(row):
    """An estimate whose numbers follow from the number of the message."""
    distribution = np.zeros(28)
    distribution[row["seq"]] = 1.0
    figures = {name: float(row["seq"]) for name in FIGURES}
    return EstimateRow(row["seq"], row["time"], distribution, figures, None, None, 1, 2)


def work_off(store, at=NOW):
    """Claim and finish everybody; the claims."""
    claims = claim(store, at=at)
    for one in claims:
        rows = [made_of(row) for row in one.new if row["role"] == "user"]
        assert store.database.write(lambda c, one=one, rows=rows: finish(c, one, MODEL, rows, at))
    return claims


def seqs(rows):
    return [row["seq"] for row in rows]


def counted(store, asof=None):
    ada = person_row(store)["id"]
    return seqs(store.database.read(lambda c: read_estimates(c, ada, "model", asof)))


def test_work_is_what_was_not_read(store):
    add_person(store)
    assert claim(store) == []
    send(store, said("a"), said("b", hours=1))
    assert store.database.read(backlog) == (1, 2)
    (one,) = work_off(store)
    assert (one.before, seqs(one.new), one.goes_on) == (0, [1, 2], True)
    assert claim(store) == []
    assert store.database.read(backlog) == (0, 0)
    send(store, said("c", hours=2))
    (one,) = work_off(store)
    assert (one.before, seqs(one.new), one.goes_on) == (2, [3], True)
    assert counted(store) == [1, 2, 3]
    assert person_row(store)["state_owner"] == "folder"


def test_a_claimed_person_is_nobody_elses_until_the_lease_ends(store):
    add_person(store)
    send(store, said("a"))
    (first,) = claim(store, "one")
    assert claim(store, "two", NOW + LEASE - 1) == []
    store.database.write(lambda c: extend_lease(c, [first], NOW + LEASE - 1))
    assert claim(store, "two", NOW + LEASE + SECOND) == []
    (second,) = claim(store, "two", NOW + 3 * LEASE)
    assert second.epoch == first.epoch + 1


def test_the_leases_of_a_worker_that_died_end_when_it_is_known(store):
    for name in ("ada", "bob"):
        add_person(store, name)
        send(store, said(f"m {name}", person=name))
    (dead,) = claim(store, "dead", count=1)
    (other,) = claim(store, "other")
    assert store.database.write(lambda c: end_leases(c, "dead")) == 1
    (again,) = claim(store, "dead")
    assert (again.stored.id, again.epoch) == (dead.stored.id, dead.epoch + 1)
    rows = [made_of(row) for row in dead.new]
    assert not store.database.write(lambda c: finish(c, dead, MODEL, rows, NOW))
    rows = [made_of(row) for row in other.new]
    assert store.database.write(lambda c: finish(c, other, MODEL, rows, NOW))


def test_a_late_worker_writes_nothing(store):
    add_person(store)
    send(store, said("a"))
    (slow,) = claim(store, "slow")
    work_off(store, NOW + 2 * LEASE)
    rows = [made_of(row) for row in slow.new]
    assert not store.database.write(lambda c: finish(c, slow, MODEL, rows, NOW + 2 * LEASE))
    store.database.write(lambda c: give_up(c, slow, "late", NOW))
    store.database.write(lambda c: extend_lease(c, [slow], NOW + 9 * LEASE))
    assert counted(store) == [1]
    row = person_row(store)
    assert (row["failed"], row["lease_until"]) == (None, 0)


def test_a_message_that_comes_while_another_is_read_is_read_next(store):
    add_person(store)
    send(store, said("a"))
    (one,) = claim(store)
    send(store, said("b", hours=1))
    rows = [made_of(row) for row in one.new]
    assert store.database.write(lambda c: finish(c, one, MODEL, rows, NOW))
    (two,) = work_off(store)
    assert (two.before, seqs(two.new), two.goes_on) == (1, [2], True)


def test_a_late_message_is_read_in_its_place_and_what_came_after_it_again(store):
    add_person(store)
    send(store, said("a"), said("b", hours=2), said("c", hours=4))
    work_off(store, NOW)
    send(store, said("late", hours=1), said("d", hours=5))
    (one,) = work_off(store, NOW + DAY)
    assert (one.before, seqs(one.new), one.goes_on) == (1, [4, 2, 3, 5], False)
    assert seqs(store.database.read(lambda c: read_history(c, one))) == [1]
    assert counted(store) == [1, 4, 2, 3, 5]
    assert counted(store, NOW + DAY - 1) == [1, 2, 3]
    assert person_row(store)["revision"] == 1


def test_messages_of_one_time_are_read_by_turn_then_number(store):
    add_person(store)
    send(store, said("a", turn=1), said("b", turn=0), said("c", turn=1))
    (one,) = work_off(store)
    assert seqs(one.new) == [2, 1, 3]
    send(store, said("d", turn=1))
    (one,) = work_off(store)
    assert (one.before, seqs(one.new), one.goes_on) == (3, [4], True)


def test_a_correction_and_a_retraction_are_read_again_from_where_they_stand(store):
    add_person(store)
    send(store, said("a"), said("b", hours=1), said("c", hours=2))
    work_off(store, NOW)
    send(store, said("b2", hours=1, replaces="b"))
    (one,) = work_off(store, NOW + DAY)
    assert (one.before, seqs(one.new), one.goes_on) == (1, [4, 3], False)
    assert counted(store) == [1, 4, 3]
    store.database.write(
        lambda c: retract_messages(c, store.vault, [("ada", "app", "a")], NOW + 2 * DAY)
    )
    (one,) = work_off(store, NOW + 2 * DAY)
    assert (one.before, seqs(one.new), one.goes_on) == (0, [4, 3], False)
    assert counted(store) == [4, 3]
    assert counted(store, NOW + DAY) == [1, 4, 3]
    assert counted(store, NOW) == [1, 2, 3]


def test_the_last_message_taken_back_leaves_no_estimate_of_it(store):
    add_person(store)
    send(store, said("a"), said("b", hours=1))
    work_off(store)
    take = [("ada", "app", "b")]
    store.database.write(lambda c: retract_messages(c, store.vault, take, NOW + 1))
    (one,) = work_off(store, NOW + 2)
    assert (one.before, list(one.new)) == (1, [])
    assert counted(store) == [1]
    assert claim(store, at=NOW + 9 * LEASE) == []


def test_a_correction_that_comes_while_the_old_is_read_is_not_lost(store):
    add_person(store)
    send(store, said("a"), said("b", hours=1))
    (one,) = claim(store)
    send(store, said("a2", replaces="a"))
    rows = [made_of(row) for row in one.new]
    assert not store.database.write(lambda c: finish(c, one, MODEL, rows, NOW))
    (again,) = work_off(store, NOW + 2 * LEASE)
    assert seqs(again.new) == [3, 2]
    assert counted(store) == [3, 2]


def test_whoever_cannot_be_estimated_rests_until_more_comes(store):
    add_person(store)
    send(store, said("a"))
    (one,) = claim(store)
    store.database.write(lambda c: give_up(c, one, "the text is not there", NOW))
    assert person_row(store)["failed"] == "the text is not there"
    assert claim(store, at=NOW + 9 * LEASE) == []
    assert store.database.read(backlog) == (0, 0)
    send(store, said("b", hours=1))
    assert person_row(store)["failed"] is None
    assert len(claim(store, at=NOW + 9 * LEASE)) == 1


def test_without_consent_nobody_is_read(store):
    add_person(store)
    send(store, said("a"))
    add_person(store, consent={"estimate": False})
    assert claim(store) == []
    assert store.database.read(backlog) == (0, 0)


def test_two_workers_never_hold_the_same_person(store):
    for number in range(30):
        add_person(store, f"p{number}")
        send(store, said(f"m{number}", person=f"p{number}"))
    taken = []

    def worker(name):
        while claims := claim(store, name, count=4):
            taken.extend(one.stored.id for one in claims)

    threads = [threading.Thread(target=worker, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 30


def test_an_estimate_that_is_no_number_is_not_written(store):
    add_person(store)
    send(store, said("a"))
    (one,) = claim(store)
    row = made_of(one.new[0])
    row.figures["mean"] = float("nan")
    from leadline.errors import LeadlineError

    with pytest.raises(LeadlineError, match="finite"):
        store.database.write(lambda c: finish(c, one, MODEL, [row], NOW))
    assert store.database.read(lambda c: c.execute(select(estimate)).all()) == []
    assert person_row(store)["scored_upto"] == 0
