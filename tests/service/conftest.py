"""A service over a store with a model, on SQLite and on PostgreSQL."""

import pytest
from tests.support.served import AGREED, client_of, token_of
from tests.support.stores import new_store

from leadline.store import times
from leadline.store.models import register_model


def modelled(kind, folder):
    """A store with a live model."""
    store = new_store(kind, folder)
    store.database.write(lambda c: register_model(c, "model", "run", times.now(), status="live"))
    return store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    made = modelled(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def sqlite_store(tmp_path):
    made = modelled("sqlite", tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(store):
    """A client who may do everything; `ada` is there and has agreed."""
    made = client_of(store)
    made.headers |= token_of(store, "ingest", "care", "metrics")
    made.put("/v1/people/ada", json=AGREED).raise_for_status()
    return made
