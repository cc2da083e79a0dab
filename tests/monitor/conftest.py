"""One run of a tiny reader, and stores that were made with it."""

import shutil

import pytest
from tests.support.monitored import live_store, tiny_run


@pytest.fixture(scope="session")
def monitor_run(tmp_path_factory, simulated, sentence_reader):
    """A run on a few simulated people; not to be changed."""
    return tiny_run(tmp_path_factory.mktemp("monitor"), simulated, sentence_reader)


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


@pytest.fixture(scope="session")
def spread_cohort(tmp_path_factory, simulated):
    """People on whom the run was not trained, as a cohort on disk."""
    from tests.support.monitored import strangers

    folder = tmp_path_factory.mktemp("spread") / "cohort"
    yield strangers(folder, simulated)
    shutil.rmtree(folder)
