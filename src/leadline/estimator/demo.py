"""`leadline demo`: simulate, train, evaluate, report, in one go and without real people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from leadline.artefact import MANIFEST
from leadline.config import WindowConfig
from leadline.dialogue.store import read_cohort
from leadline.errors import LeadlineError
from leadline.estimator.fetch import fetch_reader
from leadline.estimator.settings import TrainConfig
from leadline.estimator.train import train_run
from leadline.evaluate.artefacts import evaluate_run, report_run
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.limit import bayes_limit
from leadline.simulate.settings import PRESETS, SimulateConfig

SMALLEST = 80  # people; below, folds of folds are too small to fit anything
LOCKED_SHARE = 0.2
GOLD_SHARE = 0.6
HELD_OUT = 0.3  # of the wordings are used by locked people alone: real people repeat nobody


def run_demo(
    out: Path, *, people: int = 500, seed: int = 0, say: Callable[[str], None] = print
) -> Path:
    """Make OUT/cohort and OUT/run from simulated people and return the path of the report.

    Raises:
        LeadlineError: too few people, or `out` holds something that the demo did not make.
    """
    if people < SMALLEST:
        raise LeadlineError(
            f"--people is {people}.", remedy=f"Use at least {SMALLEST} people for the demo."
        )
    fetch_reader("minilm", progress=say)
    settings = SimulateConfig(
        **{
            **PRESETS["easy"],
            "people": people,
            "gold": int(GOLD_SHARE * people),
            "locked": int(LOCKED_SHARE * people),
            "user_turns": 14.0,
            "held_out": HELD_OUT,
            "seed": seed,
        }
    )
    say(f"Simulating {people} people")
    cohort, run = out / "cohort", out / "run"
    simulate_cohort(cohort, settings, overwrite=(cohort / MANIFEST).is_file())
    say("Working out how well anybody could do on them")
    bayes_limit(cohort)
    say("Training on their conversations and PHQ-9s (reader minilm, 5 folds)")
    train_run(
        read_cohort(cohort),
        run,
        TrainConfig(reader="minilm", seed=seed),
        WindowConfig(),
        overwrite=(run / MANIFEST).is_file(),
    )
    say("Comparing the estimates with the PHQ-9s of people whom no model saw")
    evaluate_run(run, cohort)
    return report_run(run).resolve()
