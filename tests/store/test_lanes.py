"""Pages of a lane by key: everyone once, in order, whoever comes and goes meanwhile."""

from itertools import chain

from tests.support.stores import add_person

from leadline.store.lanes import enter_lane, lane_page, leave_lane
from leadline.store.people import people_by_id, team_id


def enter(store, person_id, rank, lane="ask"):
    def work(connection):
        (stored,) = people_by_id(connection, store.vault, [person_id]).values()
        enter_lane(connection, lane, stored, rank)

    store.database.write(work)


def pages(store, size, team=None):
    """Every page of the lane until there is none."""
    out, after = [], None
    while True:
        page = store.database.read(lambda c, after=after: lane_page(c, "ask", team, after, size))
        out.append([row["id"] for row in page.rows])
        if page.after is None:
            return out
        after = page.after


def test_pages_hold_everyone_once_in_order_of_rank(store):
    people = [add_person(store, f"p{n}") for n in range(7)]
    ranks = [1.0, 5.0, 5.0, 2.0, 5.0, 0.5, 9.0]
    for person, rank in zip(people, ranks, strict=True):
        enter(store, person, rank)
    found = pages(store, 2)
    assert [len(page) for page in found] == [2, 2, 2, 1]
    flat = list(chain.from_iterable(found))
    assert sorted(flat) == sorted(people)
    assert [ranks[people.index(one)] for one in flat] == sorted(ranks, reverse=True)


def test_a_lane_of_one_team(store):
    north = [add_person(store, f"n{n}", team="north") for n in range(3)]
    south = add_person(store, "s", team="south")
    for person in (*north, south):
        enter(store, person, 1.0)
    team = store.database.read(lambda c: team_id(c, store.vault, "north"))
    assert sorted(chain.from_iterable(pages(store, 2, team))) == sorted(north)


def test_entering_again_is_another_place_and_leaving_leaves(store):
    ada, bob = add_person(store), add_person(store, "bob")
    enter(store, ada, 1.0)
    enter(store, bob, 2.0)
    enter(store, ada, 3.0)
    assert pages(store, 9) == [[ada, bob]]
    store.database.write(lambda c: leave_lane(c, "ask", ada))
    assert pages(store, 9) == [[bob]]
    enter(store, ada, 1.0, "silent")
    assert pages(store, 9) == [[bob]]
