"""`leadline selftrain` with a real, tiny reader: both schemes whole, recipes, two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from tests.support import ROOT
from tests.support.pages import look_up, paths_of
from tests.support.readers import tiny_reader
from tests.support.rounds import LENIENT

from leadline.cli.app import app
from leadline.cohort.store import read_cohort
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.estimates import run_of_estimates
from leadline.runs.recipe import recipe_settings
from leadline.runs.verify import verify
from leadline.selftrain import selftrain
from leadline.selftrain.ancestry import check_ancestry
from leadline.selftrain.config import SelftrainConfig
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort

LENIENT_FLAGS = [
    word for name, bound in LENIENT.items() for word in (f"--{name.replace('_', '-')}", str(bound))
]
QUICK = ["--adapt", "lora", "--layers", "1.0", "--epochs", "1", "--max-tokens", "64",
         "--batch-people", "16", "--rounds", "1", "--folds", "3", "--no-baselines", "--canary", "0",
         *LENIENT_FLAGS]  # fmt: skip


SHOWN_MAE = "selftraining.rows[model=leadline].sets[split=locked].mae"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort with 96 PHQ-9s, its labels by the simulated teacher, and a reader."""
    place = tmp_path_factory.mktemp("rounds")
    few = {"people": 132, "gold": 96, "locked": 12, "user_turns": 8.0}
    simulate_cohort(place / "cohort", preset("small", **few))
    label_cohort(place / "cohort", place / "labels", LabelConfig(concurrency=1))
    tiny_reader(place)
    return place


def words(folder, out, *more):
    labels = ["--labels", str(folder / "labels"), "--reader", str(folder / "llama")]
    return ["selftrain", str(folder / "cohort"), *labels, "--out", str(out), *QUICK, *more]


@pytest.mark.parametrize("scheme", ["paper", "crossfit"])
def test_the_whole_method_with_a_real_reader(leadline, folder, tmp_path, scheme):
    extra = ["--scheme", scheme, "--members", "2", "--json"]
    if scheme == "crossfit":  # which has more fits, each of seconds
        extra.append("--no-ablation")
    code, text, err = leadline(*words(folder, tmp_path / "run", *extra))
    assert code == 0, err
    results = json.loads(text)
    rows = {row["model"] for row in results["selftraining"]["rows"]}
    assert {"gold only", "round 1", "leadline", "fused"} <= rows
    assert ({"raw teacher", "true labels"} <= rows) == (scheme == "paper")
    assert f"Scheme {scheme}" in err
    assert "fits (" in err
    run = tmp_path / "run"
    assert json.loads((run / "manifest.json").read_text())["selftraining"]["kept"] == 1
    every_file_is_verified(run)
    left_out = load_ensemble(run)[0].left_out
    locked = read_cohort(folder / "cohort").locked_ids
    assert len(locked) == 12
    assert check_ancestry(run, locked, left_out, relabels=scheme == "paper") > 0
    report = (run / "report.html").read_text()
    assert report.index("<figcaption><b>Gold only") < report.index("<figcaption><b>Round 1")
    few = "The development set, one fold of 3, has 32 people" if scheme == "paper" else None
    assert (few or "Cross-validation has 96 people") in err
    if scheme == "paper":
        every_figure_of_the_page(leadline, folder, run)
    else:
        fused_scores_are_there_when_they_are_fused(leadline, folder, run)


def every_file_is_verified(run):
    assert verify(run).wrong == ()
    for file in run.rglob("repeat-*/config.json"):
        before = file.read_text()
        file.write_text(before + " ")
        (finding,) = verify(run).wrong
        assert finding.file == str(file.relative_to(run))
        file.write_text(before)


def fused_scores_are_there_when_they_are_fused(leadline, folder, run):
    out = run.parent / "scores.parquet"
    score = ("score", folder / "cohort", "--run", run, "--labels", folder / "labels", "--out", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leadline.selftrain.fusion.write_estimates", interrupted)
        assert leadline(*score)[0] == 130
    assert not out.exists()
    code, text, err = leadline(*score)
    assert code == 0, err
    assert "fused with a teacher's ratings" in text
    assert {"model", "ledger", "fusion.json", "labels.parquet"} == set(run_of_estimates(out))
    assert verify(out).wrong == ()
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []
    code, _, err = leadline(*score)
    assert (code, "already exists" in err) == (2, True)


def interrupted(*_):
    raise KeyboardInterrupt


def every_figure_of_the_page(leadline, folder, run):
    """Each path that docs/paper.md names is in the results of a real run."""
    fast = ("--resamples", "100", "--curve-resamples", "100")
    opened = ("--cohort", folder / "cohort", "--open-locked-test", *fast)
    code, _, err = leadline("evaluate", run, *opened, "--json")
    assert code == 0, err
    results = json.loads((run / "results.json").read_text())
    paths = paths_of(ROOT / "docs" / "paper.md")
    assert len(paths) > 20
    figures = {path: look_up(results, path) for path in paths}
    assert [path for path, figure in figures.items() if figure is None] == []
    mae = figures["sets[split=locked].models.leadline.scores.mae"]["value"]
    assert mae == pytest.approx(look_up(results, SHOWN_MAE)["value"])
    assert figures["sets[split=locked].people"] == 12


def test_a_recipe_sets_what_is_trained_and_a_flag_wins(tmp_path, monkeypatch, simulated_path):
    seen = []
    monkeypatch.setattr(selftrain, "selftrain_run", lambda *given, **_: seen.append(given[3:5]))
    common = ["selftrain", str(simulated_path), "--out", str(tmp_path / "run"), "--adapt", "lora"]
    for extra in (
        ["--recipe", "qwen3.5-27b-1xh100", "--scheme", "paper"],
        ["--epochs", "1", "--recipe", "qwen3.5-27b-8xh100", "--members", "5"],
    ):
        done = CliRunner().invoke(app, [*common, *extra], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    (rounds, one), (more, eight) = seen
    assert rounds == SelftrainConfig(scheme="paper")
    assert one == TrainConfig(**recipe_settings("qwen3.5-27b-1xh100"))
    assert more == SelftrainConfig(members=5)
    given = recipe_settings("qwen3.5-27b-8xh100") | {"epochs": 1.0}
    assert eight == TrainConfig(**given)


def launched(count, call, home):
    """The command line in a process, or in a group of several."""
    launch = [sys.executable]
    if count > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return subprocess.run(
        [*launch, "-m", "leadline", *call],
        env={**os.environ, "OMP_NUM_THREADS": "1", "LEADLINE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["--shard", "--no-shard"])
def test_two_processes_give_the_rounds_of_one(folder, tmp_path, shard):
    runs = {}
    for count in (1, 2):
        out = tmp_path / f"run-{count}"
        call = words(folder, out, "--scheme", "paper", "--members", "1", "--json", shard)
        done = launched(count, call, tmp_path / "home")
        assert done.returncode == 0, done.stderr[-3000:]
        json.loads(done.stdout)  # one process prints, and prints once
        assert done.stderr.count("Scheme paper") == 1
        assert not (out / "nodes").exists()
        runs[count] = pl.read_parquet(out / "predictions.parquet")
        assert (out / "report.html").is_file()
    one, two = runs[1], runs[2]
    names = ["model", "person_id", "fold"]
    assert one.select(names).equals(two.select(names))
    # bfloat16 and dropout, whose random numbers are each process's own
    np.testing.assert_allclose(one["mean"], two["mean"], atol=1.5)


@pytest.mark.slow
def test_frozen_rounds_in_two_processes_are_refused(folder, tmp_path):
    call = ["selftrain", str(folder / "cohort"), "--out", str(tmp_path / "run")]
    done = launched(2, call, tmp_path / "home")
    assert done.returncode != 0
    assert "--adapt frozen in 2 processes" in done.stderr
    assert not (tmp_path / "run").exists()
