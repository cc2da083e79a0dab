"""One store for each database."""

import pytest
from tests.support.stores import DATABASES, new_store


@pytest.fixture(params=DATABASES)
def store(request, tmp_path):
    """A store without anybody, on SQLite and on PostgreSQL."""
    made = new_store(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def sqlite_store(tmp_path):
    """A store without anybody, where the database makes no difference."""
    made = new_store("sqlite", tmp_path)
    yield made
    made.close()
