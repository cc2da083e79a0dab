"""A tiny run and stores that were made with it, for tests of monitoring."""

from pathlib import Path

import numpy as np
import polars as pl
from tests.support.cohorts import some_people
from tests.support.stores import new_store, person_row

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import write_cohort
from leadline.monitor.load import LoadConfig, load_cohort
from leadline.monitor.scorer import LiveScorer, ScorerConfig
from leadline.running.scorer import RunningConfig
from leadline.runs.checkpoint import run_identity
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.scoring.score import score_cohort
from leadline.store import times
from leadline.store.estimates import read_estimates
from leadline.store.models import live_model, register_model

EVIDENCE = "simulated people"
NUMBERS = ("mean", "median", "lower", "upper", "p_ge_10", "increment", "departure")


def labelled(simulated) -> list[str]:
    """People with gold, in the order of the cohort."""
    return simulated.phq9["person_id"].unique(maintain_order=True).to_list()


def tiny_run(folder: Path, simulated, reader: str, names: list[str] | None = None) -> Path:
    """A run on some people; the first twelve with gold where nobody is named."""
    config = TrainConfig(reader=str(reader), folds=2, inner_folds=2, fit="ridge", baselines=False)
    cohort = some_people(simulated, set(names or labelled(simulated)[:12]))
    train_run(cohort, folder / "run", config, WindowConfig(), home=folder / "home")
    return folder / "run"


def strangers(folder: Path, simulated, count: int = 6) -> Path:
    """People on whom the run was not trained, on disk."""
    some = some_people(simulated, set(labelled(simulated)[12 : 12 + count]))
    write_cohort(folder, some.turns, some.phq9, some.people, command="test", settings={}, inputs={})
    return folder


def live_store(kind: str, folder: Path, run: Path):
    """A store without anybody whose live model is `run`."""
    store = new_store(kind, folder)
    store.database.write(
        lambda c: register_model(c, run_identity(run), str(run), times.now(), status="live")
    )
    return store


def load(store, cohort: Path) -> dict[str, int]:
    """Load a cohort into a store."""
    return load_cohort(cohort, store, LoadConfig(EVIDENCE))


def scorer_of(store, run: Path, folder: Path, **how) -> LiveScorer:
    """A scorer with states in `folder`."""
    config = ScorerConfig(run, folder / "states", RunningConfig(), run.parent / "home")
    return LiveScorer(store, config, **how)


def work_off(scorer: LiveScorer) -> None:
    """Let a scorer read all that there is."""
    while scorer.step():
        pass


def scored(cohort: Path, run: Path, folder: Path) -> pl.DataFrame:
    """What `leadline score` says of the same messages, in the order of the cohort."""
    score_cohort(cohort, run, folder / "estimates.parquet", home=run.parent / "home")
    return pl.read_parquet(folder / "estimates.parquet")


def estimates(store, external):
    """Estimates of a person by the live model, in order."""
    row = person_row(store, external)
    model = store.database.read(live_model)["model_id"]
    return store.database.read(lambda c: read_estimates(c, row["id"], model))


def assert_as_scored(store, expected, names=None):
    """The estimates of the store are those of `leadline score`, in order."""
    for (name,), rows in expected.group_by("person_id", maintain_order=True):
        if names is not None and name not in names:
            continue
        got = estimates(store, name)
        assert [times.moment(row["time"]) for row in got] == rows["time"].to_list()
        for column in NUMBERS:
            values = [np.nan if row[column] is None else row[column] for row in got]
            wanted = rows[column].fill_null(float("nan")).to_numpy()
            np.testing.assert_allclose(values, wanted, atol=1e-5, rtol=0)
