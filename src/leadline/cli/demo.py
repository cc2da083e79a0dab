"""`leadline demo`: the whole course in one go and without real people.

Simulate, work out how well anybody could do, have the simulated teacher label, train in rounds
on PHQ-9s and pseudolabels, open the locked test, evaluate, report. The gold-only ensemble that
`leadline train` would write is round 0 of the rounds and a row of the report, so it is not trained
twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leadline.artefact import MANIFEST, read_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.run_results import evaluate_run
from leadline.readers.fetch import fetch_reader
from leadline.report.run_report import report_run
from leadline.runs.config import TrainConfig
from leadline.runs.locked_test import open_locked_test
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fused import fused_locked
from leadline.selftrain.selftrain import possible_rounds, selftrain_run
from leadline.simulate.best_predictor import bayes_limit
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import SimulateConfig, preset
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort

SMALLEST = 80  # people; below, folds of folds are too small to fit anything

LOCKED_SHARE = 0.2

GOLD_SHARE = 0.3  # most people who talk have no PHQ-9

FEWEST_GOLD = 75  # with five folds the least that one round of pseudolabels needs

HELD_OUT = 0.3  # of the wordings are used by locked people alone: real people repeat nobody

FOLDS = 5

ROUNDS = 2  # as many as five folds allow


def run_demo(
    out: Path, *, people: int = 500, seed: int = 0, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Make OUT/cohort, OUT/labels and OUT/run from simulated people; return the results.

    Raises:
        LeadlineError: too few people, or `out` holds something that the demo did not make.
    """
    settings = demo_settings(people, seed)
    fetch_reader("minilm", progress=say)
    cohort, labels, run = out / "cohort", out / "labels", out / "run"
    say(f"Simulating {people} people, {settings.gold} of them with a PHQ-9 to learn from")
    simulate_cohort(cohort, settings, overwrite=(cohort / MANIFEST).is_file())
    say("Working out how well anybody could do on them")
    bayes_limit(cohort)
    say("Having the simulated teacher rate everybody who is not in the locked test")
    _drop_labels(labels)
    label_cohort(cohort, labels, LabelConfig(teacher="simulated", concurrency=1))
    rounds, _ = possible_rounds(settings.gold, FOLDS, ROUNDS)
    say(f"Training on PHQ-9s (reader minilm), then in up to {rounds} round(s) on pseudolabels")
    selftrain_run(
        read_cohort(cohort),
        labels,
        run,
        SelftrainConfig(rounds=rounds),
        TrainConfig(reader="minilm", folds=FOLDS, seed=seed),
        WindowConfig(),
        overwrite=(run / MANIFEST).is_file(),
    )
    say(
        "Opening the locked test of people whom no model saw, to show what it looks like; "
        "leadline train never does, and each opening is recorded in the cohort"
    )
    open_locked_test(run, cohort, fused=fused_locked)
    results = evaluate_run(run, cohort)
    report_run(run)
    return results


def demo_settings(people: int, seed: int) -> SimulateConfig:
    """The simulated people of the demo.

    Raises:
        LeadlineError: too few people.
    """
    if people < SMALLEST:
        raise LeadlineError(
            f"--people is {people}.", remedy=f"Use at least {SMALLEST} people for the demo."
        )
    return preset(
        "easy",
        people=people,
        gold=max(int(GOLD_SHARE * people), min(FEWEST_GOLD, people // 2)),
        locked=int(LOCKED_SHARE * people),
        user_turns=14.0,
        held_out=HELD_OUT,
        seed=seed,
    )


def _drop_labels(labels: Path) -> None:
    """Remove the labels of an earlier demo: those of another cohort would be refused."""
    if (labels / MANIFEST).is_file():
        read_manifest(labels, "labels")
        shutil.rmtree(labels)
