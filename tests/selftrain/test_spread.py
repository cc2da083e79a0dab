"""Fits dealt out to Ray workers: in the order that labels allow, with equal numbers."""

from __future__ import annotations

import polars as pl
import pytest
from tests.support.adapted_rounds import go
from tests.support.rounds import LENIENT

from leadline.cohort.config import WindowConfig
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
def test_workers_of_ray_give_the_numbers_of_one_process(tiny, tmp_path):
    pytest.importorskip("ray")
    tables = []
    for engine in ("local", "ray"):
        _go_tiny(tiny, tmp_path / engine, engine)
        tables.append(pl.read_parquet(tmp_path / engine / "predictions.parquet"))
    assert tables[0].equals(tables[1])


@pytest.mark.slow
def test_a_mistake_that_a_worker_meets_reads_as_in_this_process(tiny, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    folder, _, _ = tiny
    opened = spread.FitPool._run

    def spoil(pool, students, names):
        (folder / "labels" / "manifest.json").rename(folder / "labels" / "away")
        try:
            opened(pool, students, names)
        finally:
            (folder / "labels" / "away").rename(folder / "labels" / "manifest.json")

    monkeypatch.setattr(spread.FitPool, "_run", spoil)
    with pytest.raises(LeadlineError, match="unfinished") as caught:
        _go_tiny(tiny, tmp_path / "run", "ray")
    assert caught.value.file == folder / "labels"
    assert caught.value.remedy


def _go_tiny(tiny, out, engine):
    folder, cohort, train = tiny
    config = SelftrainConfig(
        rounds=1, scheme="paper", members=2, canary=0.0, engine=engine, **LENIENT
    )
    selftrain_run(cohort, folder / "labels", out, config, train, WindowConfig())
