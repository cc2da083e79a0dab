"""Real fits of a tiny reader: weights that must not depend on somebody, and a kill inside a fit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import polars as pl
import pytest
from tests.support import ROOT
from tests.support.rounds import LENIENT

from leadline.artefact import sha256
from leadline.cohort.config import WindowConfig
from leadline.selftrain.adapted import AdaptedStudents, Setting
from leadline.selftrain.ancestry import AncestryLedger
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.plan import POSTERIOR, Programme, crossfit_plan
from leadline.selftrain.roster import load_labels, open_roster
from leadline.selftrain.selftrain import selftrain_run

pytestmark = pytest.mark.slow


def weights(tiny, run, *, swap: bool) -> dict[str, str]:
    """Hashes of the final models of round 1; `swap` turns the gold of fold 0 around."""
    folder, cohort, train = tiny
    window = WindowConfig()
    labels = load_labels(folder / "labels", cohort, window)
    roster, _ = open_roster(cohort, labels, None, train, window)
    if swap:
        inside = (roster.folds[0] == 0)[roster.gold.person]
        total = roster.gold.total.copy()
        total[inside] = 27 - total[inside]
        roster = replace(roster, gold=replace(roster.gold, total=total))
    plan = crossfit_plan(Programme(1), train.folds, 1, 1)
    setting = Setting(plan, SelftrainConfig(rounds=1), train, run)
    students = AdaptedStudents(roster, setting, AncestryLedger(cohort.locked_ids))
    out = {}
    for (_, fold), name in plan.members[POSTERIOR, 1].items():
        students.estimates(name)
        out[fold] = sha256(students.checkpoint(name) / "model.safetensors")
    return out


def test_the_weights_of_a_model_do_not_depend_on_whom_it_left_out(tiny, tmp_path):
    runs = {}
    for swap in (False, True):
        run = tmp_path / str(swap)
        run.mkdir()
        runs[swap] = weights(tiny, run, swap=swap)
    assert runs[False][0] == runs[True][0]
    assert all(runs[False][fold] != runs[True][fold] for fold in (1, 2, 3))


CHILD = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.runs.config import TrainConfig
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.selftrain import selftrain_run
folder = Path({folder!r})
selftrain_run(read_cohort(folder / "cohort"), folder / "labels", Path({out!r}),
              SelftrainConfig(**{config!r}), TrainConfig(**{train!r}), WindowConfig())
"""

CONFIG = {"scheme": "paper", "rounds": 1, "members": 1, "ablation": False, **LENIENT}


def test_a_run_killed_inside_a_fit_of_round_1_ends_with_the_same_numbers(tiny, tmp_path):
    folder, cohort, train = tiny
    config, window = SelftrainConfig(**CONFIG), WindowConfig()
    labels = folder / "labels"
    selftrain_run(cohort, labels, tmp_path / "whole", config, train, window)
    settings = {
        name: getattr(train, name)
        for name in ("reader", "adapt", "layers", "folds", "epochs", "batch_people", "save_steps",
                     "baselines")
    }  # fmt: skip
    out = tmp_path / "run"
    code = CHILD.format(
        tests=str(ROOT), folder=str(folder), out=str(out), config=CONFIG, train=settings
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    stop = time.monotonic() + 300
    marks = "nodes/fits/main-posterior-1-*.training/checkpoint-*/complete"
    while time.monotonic() < stop and not list(out.glob(marks)) and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    assert list(out.glob(marks)), "it was killed inside the fit"
    selftrain_run(cohort, labels, out, config, train, window)
    one, other = (pl.read_parquet(tmp_path / x / "predictions.parquet") for x in ("whole", "run"))
    assert one.equals(other)
