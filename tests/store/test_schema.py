"""No table holds in clear what a sender gave in words."""

import pytest
from sqlalchemy import select
from tests.support.stores import answered, new_store, said, send, send_phq9s, statuses

from leadline.store.people import PersonChange, put_person
from leadline.store.schema import METADATA

WORDS = ("canaryperson", "canaryteam", "canaryversion", "canaryevidence", "canarysource",
         "canaryid", "canarytalk", "canarytext", "canaryclinic", "canaryform")  # fmt: skip


@pytest.mark.parametrize("keep_texts", [True, False])
def test_words_that_were_sent_stand_in_no_table(tmp_path, keep_texts):
    store = new_store("sqlite", tmp_path, keep_texts=keep_texts)
    person, team, version, evidence, source, name, talk, text, clinic, form = WORDS
    change = PersonChange(person, team, {"estimate": True, "show_text": True}, version, evidence)
    store.database.write(lambda c: put_person(c, store.vault, change, 1))
    message = said(name, text, person=person, source=source, conversation=talk)
    assert statuses(send(store, message)) == ["stored"]
    phq9 = answered(form, None, person=person, items=(1,) * 9)
    assert statuses(send_phq9s(store, phq9.__class__(**{**phq9.__dict__, "source": clinic})))
    for table in METADATA.tables.values():
        rows = store.database.read(lambda c, table=table: list(c.execute(select(table)).mappings()))
        shown = repr(rows).encode()
        assert not [word for word in WORDS if word.encode() in shown], table.name
    store.close()
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert not [word for word in WORDS if word.encode() in content], path.name


def test_the_tables_of_the_plan_are_there():
    expected = {
        "person", "person_key", "message", "estimate", "phq9", "belief", "person_now",
        "course_day", "ask", "note", "consent", "actor", "credential", "token", "session", "team",
        "membership", "audit_chain", "audit", "audit_checkpoint", "audit_review", "drift_window",
        "run_model", "params", "forgotten",
    }  # fmt: skip
    assert expected <= set(METADATA.tables)


def test_every_constraint_has_a_name_by_which_it_can_be_altered():
    for table in METADATA.tables.values():
        assert all(constraint.name for constraint in table.constraints), table.name
