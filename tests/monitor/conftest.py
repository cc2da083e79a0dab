"""Stores whose live model is the tiny run."""

import pytest
from tests.support.monitored import live_store


@pytest.fixture(params=["sqlite", "postgresql"])
def live(request, tmp_path, monitor_run):
    """A store without anybody whose live model is the run."""
    store = live_store(request.param, tmp_path, monitor_run)
    yield store
    store.close()


@pytest.fixture
def sqlite_live(tmp_path, monitor_run):
    """The same where the database makes no difference."""
    store = live_store("sqlite", tmp_path, monitor_run)
    yield store
    store.close()
