"""One model is live, others stand in its shadow."""

import pytest
from tests.support.stores import START, add_person, person_row

from leadline.errors import LeadlineError
from leadline.store.models import (
    live_model,
    models,
    newest_params,
    promote,
    put_params,
    register_model,
)


def register(store, name, status, at=START):
    return store.database.write(
        lambda c: register_model(c, name, f"runs/{name}", at, status=status)
    )


def statuses(store):
    return {row["model_id"]: row["status"] for row in store.database.read(models)}


def test_the_live_model_is_the_one_that_is_shown(store):
    assert store.database.read(live_model) is None
    assert register(store, "a", "live")
    assert register(store, "b", "shadow", START + 1)
    assert not register(store, "a", "shadow")
    assert store.database.read(live_model)["model_id"] == "a"
    assert statuses(store) == {"a": "live", "b": "shadow"}


def test_promoting_retires_the_old_one_and_has_every_list_made_again(store):
    add_person(store)
    register(store, "a", "live")
    register(store, "b", "shadow")
    store.database.write(lambda c: promote(c, "b", START + 7))
    assert statuses(store) == {"a": "retired", "b": "live"}
    assert person_row(store)["refresh_due"] == START + 7


def test_a_model_that_is_not_there_changes_nothing(store):
    register(store, "a", "live")
    with pytest.raises(LeadlineError, match="no such model"):
        store.database.write(lambda c: promote(c, "z", START))
    assert statuses(store) == {"a": "live"}


def test_the_newest_parameters_of_a_model_count(store):
    for at, name in ((1, "old"), (3, "new"), (2, "between")):
        store.database.write(lambda c, n=name, t=at: put_params(c, n, "m", ("{}", 0), t))
        store.database.write(lambda c, n=name, t=at: put_params(c, n, "m", ("{}", 0), t + 10))
    assert store.database.read(lambda c: newest_params(c, "m"))["id"] == "new"
    assert store.database.read(lambda c: newest_params(c, "other")) is None
