"""What several test files share: one small simulated cohort and one tiny sentence reader."""

import os
import shutil

import pytest
from hypothesis import settings

from leadline.dialogue.store import read_cohort

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("ci", deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="session")
def simulated_path(tmp_path_factory):
    """44 people with gold PHQ-9s, 10 locked, 6 without any; no test may change it."""
    from leadline.simulate.cohort import simulate_cohort
    from small import SMALL

    path = tmp_path_factory.mktemp("simulated") / "cohort"
    simulate_cohort(path, SMALL)
    return path


@pytest.fixture
def cohort_path(simulated_path, tmp_path):
    """A copy of the simulated cohort that a test may change."""
    return shutil.copytree(simulated_path, tmp_path / "cohort")


@pytest.fixture(scope="session")
def simulated(simulated_path):
    """The simulated cohort in memory."""
    return read_cohort(simulated_path)


@pytest.fixture(scope="session")
def sentence_reader(tmp_path_factory, simulated):
    """A tiny sentence encoder with random weights that knows the words of the simulated cohort."""
    from small import tiny_sentence_reader

    folder = tmp_path_factory.mktemp("encoder")
    return tiny_sentence_reader(folder, simulated.turns["text"].to_list())


@pytest.fixture(scope="session", autouse=True)
def leadline_home(tmp_path_factory):
    """Cached states of tests stay among the tests; fetched readers stay reachable."""
    from leadline.estimator.fetch import leadline_home as where

    home, real = tmp_path_factory.mktemp("home"), where()
    if (real / "readers").is_dir():
        (home / "readers").symlink_to(real / "readers")
    before = os.environ.get("LEADLINE_HOME")
    os.environ["LEADLINE_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["LEADLINE_HOME"]
    else:
        os.environ["LEADLINE_HOME"] = before
