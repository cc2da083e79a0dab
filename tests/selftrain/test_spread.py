"""Fits dealt out to Ray workers: in the order that labels allow, with equal numbers."""

from __future__ import annotations

import polars as pl
import pytest
from tests.support.adapted_rounds import go
from tests.support.people import make_cohort, make_labels
from tests.support.readers import tiny_reader
from tests.support.rounds import LENIENT

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.runs.config import TrainConfig
from leadline.selftrain import spread
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.selftrain import selftrain_run

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray"
)


class Watched:
    """A pool that fits in this process and keeps what it was handed at once."""

    def __init__(self, *_):
        self.handed = []
        Watched.last = self

    def fit(self, students, names):
        while ready := students.fits_at_hand(names):
            self.handed.append(ready)
            for name in ready:
                plan = students.setting.plan
                made = [plan.labellings[label] for label in plan.students[name].labels]
                assert all(students.store.has(maker) for one in made for maker in one.makers())
                students.estimates(name)
                students.say_fitted(name)


def test_what_is_handed_out_at_once_needs_nothing_of_each_other(
    people, trainer, tmp_path, monkeypatch
):
    said = []
    whole = go(people, tmp_path / "whole", scheme="crossfit")
    monkeypatch.setattr(spread, "import_ray", lambda address: None)
    monkeypatch.setattr(spread, "FitPool", Watched)
    monkeypatch.setattr(spread, "ray_session", lambda *_: pytest.MonkeyPatch.context())
    parts = go(people, tmp_path / "run", scheme="crossfit", engine="ray", say=said.append)
    assert parts["selftraining"]["rounds"] == whole["selftraining"]["rounds"]
    one, other = (pl.read_parquet(tmp_path / x / "predictions.parquet") for x in ("whole", "run"))
    assert one.equals(other)
    assert sum(map(len, Watched.last.handed)) == whole["selftraining"]["cost"]["fits"]
    assert max(map(len, Watched.last.handed)) > 5
    assert any("fits: gold, round 0; " in line for line in said)


def test_where_it_cannot_work_it_says_so(people, trainer, tmp_path, monkeypatch):
    for change in ({"workers": 2}, {"ray_address": "auto"}):
        with pytest.raises(LeadlineError, match="--engine local"):
            SelftrainConfig(**change)
    frozen = TrainConfig(reader="numbers", folds=5, baselines=False)
    with pytest.raises(LeadlineError, match="--adapt frozen"):
        go(people, tmp_path / "run", train=frozen, engine="ray")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(LeadlineError, match="torchrun"),
        spread.spread_fits(None, _inputs(tmp_path)),
    ):
        pass
    with pytest.raises(LeadlineError, match="from the disk"), spread.spread_fits(None, _inputs()):
        pass


def _inputs(cohort=None):
    configs = (SelftrainConfig(engine="ray"), TrainConfig(), WindowConfig())
    return spread.FitInputs(cohort, None, cohort, configs, None)


@pytest.mark.slow
def test_workers_of_ray_give_the_numbers_of_one_process(tmp_path):
    pytest.importorskip("ray")
    truth = make_cohort(tmp_path / "cohort", gold=130, unlabelled=40, locked=20)
    cohort = read_cohort(tmp_path / "cohort")
    locked = set(cohort.people.filter("locked")["person_id"])
    make_labels(tmp_path / "labels", truth, locked, cohort=cohort)
    train = TrainConfig(
        reader=str(tiny_reader(tmp_path)), adapt="lora", layers=("0.5",), folds=4, epochs=1.0,
        batch_people=16, save_steps=2, baselines=False,
    )  # fmt: skip
    tables = []
    for engine in ("local", "ray"):
        config = SelftrainConfig(
            rounds=1, scheme="paper", members=2, canary=0.0, engine=engine, **LENIENT
        )
        out = tmp_path / engine
        selftrain_run(cohort, tmp_path / "labels", out, config, train, WindowConfig())
        tables.append(pl.read_parquet(out / "predictions.parquet"))
    assert tables[0].equals(tables[1])
