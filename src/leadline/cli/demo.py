"""`leadline demo`: the whole course in one go and without real people.

Simulate, work out how well anybody could do, have the simulated teacher label, train in rounds
on PHQ-9s and pseudolabels, open the locked test, evaluate, report. The gold-only ensemble that
`leadline train` would write is round 0 of the rounds and a row of the report, so it is not trained
twice.

With ``--adapt lora`` the reader itself is trained in the rounds, by the scheme ``paper`` of
`leadline selftrain`: a small language model, with adapters on the top of its lowest fifth. The
course is the same; people and passes are few, so that it fits into minutes on two plain cores.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from leadline.selftrain.plan import PAPER
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


@dataclass(frozen=True)
class DemoKind:
    """What is trained in a demo, and on whom.

    Attributes:
        people: who are simulated, unless a number is asked for.
        smallest: fewer are refused.
        gold_share: of them, with a PHQ-9 to learn from.
        fewest_gold: the least that one round of pseudolabels needs.
        train: what is trained.
        rounds: how, with what most rounds.
    """

    people: int
    smallest: int
    gold_share: float
    fewest_gold: int
    train: TrainConfig
    rounds: SelftrainConfig


KINDS = {
    "frozen": DemoKind(
        people=500,
        smallest=SMALLEST,
        gold_share=GOLD_SHARE,
        fewest_gold=FEWEST_GOLD,
        train=TrainConfig(reader="minilm", folds=FOLDS),
        rounds=SelftrainConfig(rounds=ROUNDS),
    ),
    # The development set is one fold, and needs 30 people with gold to measure a label model.
    "lora": DemoKind(
        people=330,
        smallest=330,
        gold_share=0.485,
        fewest_gold=160,
        train=TrainConfig(
            reader="smollm2", adapt="lora", layers=("0.2",), epochs=1.0, lr=5e-4, folds=FOLDS
        ),
        rounds=SelftrainConfig(scheme=PAPER, rounds=1, members=1),
    ),
}  # fmt: skip


def run_demo(
    out: Path,
    *,
    adapt: str = "frozen",
    people: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Make OUT/cohort, OUT/labels and OUT/run from simulated people; return the results.

    Args:
        out: where; what an earlier demo made is replaced.
        adapt: ``frozen`` or ``lora``, how much of the reader is trained.
        people: how many; None for as many as fit into minutes.
        seed: of everything.
        say: told what is done.

    Raises:
        LeadlineError: too few people, or `out` holds something that the demo did not make.
    """
    kind = KINDS[adapt]
    people = kind.people if people is None else people
    settings = demo_settings(people, seed, adapt)
    fetch_reader(kind.train.reader, progress=say)
    cohort, labels, run = out / "cohort", out / "labels", out / "run"
    say(f"Simulating {people} people, {settings.gold} of them with a PHQ-9 to learn from")
    simulate_cohort(cohort, settings, overwrite=(cohort / MANIFEST).is_file())
    say("Working out how well anybody could do on them")
    bayes_limit(cohort)
    say("Having the simulated teacher rate everybody who is not in the locked test")
    _drop_labels(labels)
    label_cohort(cohort, labels, LabelConfig(teacher="simulated", concurrency=1))
    rounds = kind.rounds
    if adapt == "frozen":
        most, _ = possible_rounds(settings.gold, FOLDS, ROUNDS)
        rounds = replace(rounds, rounds=most)
    say(
        f"Training on PHQ-9s (reader {kind.train.reader}), then in up to {rounds.rounds} round(s) "
        "on pseudolabels"
    )
    selftrain_run(
        read_cohort(cohort),
        labels,
        run,
        rounds,
        replace(kind.train, seed=seed),
        WindowConfig(),
        overwrite=(run / MANIFEST).is_file(),
        say=say,
    )
    say(
        "Opening the locked test of people whom no model saw, to show what it looks like; "
        "leadline train never does, and each opening is recorded in the cohort"
    )
    open_locked_test(run, cohort, fused=fused_locked)
    results = evaluate_run(run, cohort)
    report_run(run)
    return results


def demo_settings(people: int, seed: int, adapt: str = "frozen") -> SimulateConfig:
    """The simulated people of the demo.

    Raises:
        LeadlineError: too few people.
    """
    kind = KINDS[adapt]
    if people < kind.smallest:
        raise LeadlineError(
            f"--people is {people}.", remedy=f"Use at least {kind.smallest} people for this demo."
        )
    return preset(
        "easy",
        people=people,
        gold=max(int(kind.gold_share * people), min(kind.fewest_gold, people // 2)),
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
