"""People: made once, their consent on record, forgotten for good."""

import pytest
from sqlalchemy import func, select
from tests.support.stores import (
    START,
    add_person,
    answered,
    person_row,
    said,
    send,
    send_phq9s,
    statuses,
)

from leadline.errors import LeadlineError
from leadline.store import schema
from leadline.store.people import (
    OF_A_PERSON,
    PersonChange,
    allowed,
    external_id,
    find_people,
    forget_person,
    people_by_id,
    put_person,
    team_id,
)
from leadline.store.times import DAY


def put(store, *, at=START, **how):
    change = PersonChange("ada", **how)
    return store.database.write(lambda c: put_person(c, store.vault, change, at))


def count(store, table):
    return store.database.read(
        lambda c: c.execute(select(func.count()).select_from(table)).scalar()
    )


def test_a_person_is_made_once(store):
    assert put(store, consent={"estimate": True}) == "stored"
    assert put(store, consent={"estimate": True}) == "known"
    assert put(store) == "known"
    assert count(store, schema.person) == 1


def test_a_consent_is_withdrawn_and_given_again_each_with_its_time(store):
    put(store, consent={"estimate": True, "show_text": True}, version="v1", evidence="form 7")
    ada = person_row(store)["id"]
    assert put(store, consent={"estimate": False}, at=START + 5) == "stored"
    assert person_row(store)["estimate_allowed"] is False
    assert statuses(send(store, said("a"))) == ["refused"]
    assert store.database.read(lambda c: allowed(c, ada, "show_text"))
    assert not store.database.read(lambda c: allowed(c, ada, "estimate"))
    put(store, consent={"estimate": True}, at=START + 9)
    assert statuses(send(store, said("a"))) == ["stored"]
    consent = schema.consent
    query = select(consent.c.granted_at, consent.c.withdrawn_at).where(
        consent.c.purpose == "estimate"
    )
    rows = store.database.read(lambda c: c.execute(query.order_by(consent.c.id)).all())
    assert [tuple(row) for row in rows] == [(START, START + 5), (START + 9, None)]


def test_a_purpose_that_is_none_is_refused():
    with pytest.raises(LeadlineError, match="purpose"):
        PersonChange("ada", consent={"fun": True})


def test_a_person_moves_to_another_team_in_the_lists_too(store):
    put(store, team="north", consent={"estimate": True})
    send_phq9s(store, answered("q", None, items=(1,) * 9))
    assert put(store, team="south") == "stored"
    south = store.database.read(lambda c: team_id(c, store.vault, "south"))
    assert person_row(store)["team_id"] == south
    entry = store.database.read(lambda c: c.execute(select(schema.lane_entry)).mappings().one())
    assert entry["team_id"] == south
    assert store.database.read(lambda c: team_id(c, store.vault, "west")) is None


def test_people_are_found_by_what_the_sender_calls_them_and_by_their_id(store):
    ada = add_person(store)
    add_person(store, "bob")

    def work(connection):
        by_name = find_people(connection, store.vault, ["ada", "eve", "ada"])
        by_id = people_by_id(connection, store.vault, [ada, "none"])
        return list(by_name), [external_id(one) for one in by_id.values()]

    assert store.database.read(work) == (["ada"], ["ada"])


def test_forgetting_destroys_the_key_deletes_the_rows_and_keeps_them_away(store):
    ada = add_person(store)
    add_person(store, "bob")
    send(store, said("a"), said("b", person="bob"))
    send_phq9s(store, answered("q", None, items=(1,) * 9))

    def forget(external):
        return store.database.write(
            lambda c: forget_person(c, store.vault, external, START + 60 * DAY)
        )

    assert forget("ada")
    assert not forget("ada")
    for table in OF_A_PERSON:
        if "person_id" in table.c:
            query = select(func.count()).select_from(table).where(table.c.person_id == ada)
            assert store.database.read(lambda c, q=query: c.execute(q).scalar()) == 0, table.name
    key = store.database.read(
        lambda c: c.execute(
            select(schema.person_key).where(schema.person_key.c.person_id == ada)
        ).mappings().one()
    )  # fmt: skip
    assert key["wrapped_key"] is None
    assert put(store, consent={"estimate": True}) == "refused"
    assert statuses(send(store, said("a"), said("b", person="bob"))) == ["refused", "known"]


def test_every_table_with_a_person_is_emptied_when_they_are_forgotten():
    with_person = {t.name for t in schema.METADATA.tables.values() if "person_id" in t.c}
    assert with_person - {"person_key"} == {t.name for t in OF_A_PERSON if "person_id" in t.c}
