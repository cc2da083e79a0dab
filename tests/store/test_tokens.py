"""Tokens: shown once, kept as a hash, ended by time or by hand."""

import pytest
from sqlalchemy import select
from tests.support.stores import START

from leadline.errors import LeadlineError
from leadline.store.schema import token
from leadline.store.times import DAY
from leadline.store.tokens import bearer, list_tokens, make_token, note_use, revoke_token


def make(store, scopes=("ingest",), days=30.0, team=None):
    return store.database.write(lambda c: make_token(c, "app", scopes, (START, days), team))


def who(store, text, at=START):
    return store.database.read(lambda c: bearer(c, text, at))


def test_a_token_says_what_its_bearer_may_do(store):
    text = make(store, ("care", "ingest", "care"))
    assert who(store, text).scopes == {"care", "ingest"}
    (row,) = store.database.read(list_tokens)
    assert (row["name"], row["scopes"]) == ("app", "care ingest")
    hashed = store.database.read(lambda c: c.execute(select(token.c.secret_hash)).scalar_one())
    assert text.split("_", 2)[2].encode() not in bytes(hashed)


OTHERS = {
    "cut": lambda text: text[:-1],
    "longer": lambda text: text + "x",
    "made up": lambda text: "ll_x_y",
    "nothing": lambda text: "",
    "of another kind": lambda text: text.replace("ll_", "kk_", 1),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_any_other_text_is_nobody(sqlite_store, change):
    assert who(sqlite_store, change(make(sqlite_store))) is None


def test_a_token_ends_by_time_and_by_hand(store):
    text = make(store)
    assert who(store, text, START + 30 * DAY - 1) is not None
    assert who(store, text, START + 30 * DAY) is None
    token_id = text.split("_")[1]
    assert store.database.write(lambda c: revoke_token(c, token_id, START))
    assert not store.database.write(lambda c: revoke_token(c, token_id, START))
    assert who(store, text) is None


def test_the_last_use_is_kept_to_the_minute(store):
    token_id = make(store).split("_")[1]
    for at in (START, START + 1, START + DAY):
        store.database.write(lambda c, at=at: note_use(c, token_id, at))
    assert store.database.read(list_tokens)[0]["last_used"] == START + DAY


@pytest.mark.parametrize("scopes", [(), ("ingest", "everything")])
def test_a_scope_that_is_none_is_refused(sqlite_store, scopes):
    with pytest.raises(LeadlineError, match="scope"):
        make(sqlite_store, scopes)
