"""Tiny people who are self-trained."""

from __future__ import annotations

import pytest
from tests.support.adapted_rounds import stand_in
from tests.support.number_models import NumberTrainer
from tests.support.people import NumberSource, make_cohort, make_labels
from tests.support.readers import tiny_reader
from tests.support.rounds import SIZES, go

from leadline.cohort.store import read_cohort
from leadline.runs.config import TrainConfig
from leadline.selftrain import selftrain as selftrain_module


@pytest.fixture(autouse=True)
def numbers(monkeypatch):
    monkeypatch.setattr(selftrain_module, "open_source", lambda *a, **k: NumberSource())
    monkeypatch.setattr("leadline.runs.checkpoint.open_source", lambda *a, **k: NumberSource())


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selftrain")
    truth = make_cohort(folder / "cohort", **SIZES)
    cohort = read_cohort(folder / "cohort")
    locked = set(cohort.people.filter("locked")["person_id"])
    make_labels(folder / "labels", truth, locked, cohort=cohort)
    return folder, cohort, truth, frozenset(locked)


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftrain_module, "open_source", lambda *a, **k: NumberSource())
        return out, go(data, out)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Fewer people, for rounds with many fits."""
    folder = tmp_path_factory.mktemp("adapted")
    truth = make_cohort(folder / "cohort", gold=200, unlabelled=200, locked=60)
    cohort = read_cohort(folder / "cohort")
    locked = set(cohort.people.filter("locked")["person_id"])
    make_labels(folder / "labels", truth, locked, cohort=cohort)
    return folder, cohort, frozenset(locked)


@pytest.fixture
def number_fits(monkeypatch):
    """Puts a trainer in the place of the real one."""

    def put(trainer):
        stand_in(monkeypatch, trainer)
        return trainer

    put(NumberTrainer())
    return put


@pytest.fixture
def trainer(number_fits):
    return number_fits(NumberTrainer())


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """People, and settings by which a real, tiny reader is adapted in seconds."""
    folder = tmp_path_factory.mktemp("tiny")
    truth = make_cohort(folder / "cohort", gold=130, unlabelled=40, locked=20)
    cohort = read_cohort(folder / "cohort")
    locked = set(cohort.people.filter("locked")["person_id"])
    make_labels(folder / "labels", truth, locked, cohort=cohort)
    train = TrainConfig(
        reader=str(tiny_reader(folder)), adapt="lora", layers=("0.5",), folds=4, epochs=1.0,
        batch_people=16, save_steps=2, baselines=False,
    )  # fmt: skip
    return folder, cohort, train
