"""What several test files share: one small simulated cohort and one tiny sentence reader."""

import os
import shutil

# One thread a process, said before numpy and torch are loaded: the matrices of tests are small,
# and two workers with two threads each wait for one another most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

from leadline.cohort.store import read_cohort

settings.register_profile("ci", deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="session")
def simulated_path(tmp_path_factory):
    """44 people with gold PHQ-9s, 10 locked, 6 without any; no test may change it."""
    from tests.support.cohorts import SMALL

    from leadline.simulate.cohort import simulate_cohort

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
    from tests.support.cohorts import tiny_sentence_reader

    folder = tmp_path_factory.mktemp("encoder")
    return tiny_sentence_reader(folder, simulated.turns["text"].to_list())


@pytest.fixture(scope="session")
def language_paths(tmp_path_factory):
    """Tiny language models with random weights by architecture. Not to be changed."""
    from tests.support.readers import tiny_reader

    folder = tmp_path_factory.mktemp("language")
    return {kind: tiny_reader(folder, kind) for kind in ("llama", "qwen")}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Where states are cached; no fetched reader lies there."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def source(sentence_reader, home):
    """The tiny sentence encoder as a source of turn states."""
    from leadline.runs.state_source import StateSource

    return StateSource(str(sentence_reader), home=home)


@pytest.fixture(scope="session")
def quick(sentence_reader):
    """Settings that train on the simulated cohort in about a second."""
    from leadline.runs.config import TrainConfig

    return TrainConfig(reader=str(sentence_reader), folds=3, inner_folds=2, fit="ridge")


@pytest.fixture(scope="session")
def trained(simulated, quick, home, tmp_path_factory):
    """A finished run of two repeats in which every head takes part. Not to be changed."""
    from dataclasses import replace

    from leadline.cohort.config import WindowConfig
    from leadline.runs.train import train_run

    out = tmp_path_factory.mktemp("trained") / "run"
    train_run(simulated, out, replace(quick, fit="auto", repeats=2), WindowConfig(), home=home)
    return out


@pytest.fixture(scope="session")
def monitor_run(tmp_path_factory, simulated, sentence_reader):
    """A run on a few simulated people, for monitoring; not to be changed."""
    from tests.support.monitored import tiny_run

    return tiny_run(tmp_path_factory.mktemp("monitor"), simulated, sentence_reader)


@pytest.fixture(scope="session")
def spread_cohort(tmp_path_factory, simulated):
    """People on whom that run was not trained, as a cohort on disk."""
    from tests.support.monitored import strangers

    return strangers(tmp_path_factory.mktemp("spread") / "cohort", simulated)
