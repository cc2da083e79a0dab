"""What rounds of an adapted reader set out to make, and its students before any is fitted.

The same for the process that decides on the rounds and for workers that fit for it: all that is
said here follows from what lies on disk and from the settings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.splits import refuse_locked_people
from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError
from leadline.phq9.reliability import standard_error
from leadline.readers.fetch import reader_path
from leadline.runs.config import TrainConfig
from leadline.selftrain.adapted import AdaptedStudents, Setting
from leadline.selftrain.ancestry import AncestryLedger
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.plan import (
    DEVELOPMENT,
    PAPER,
    RAW,
    TEACHER,
    TRUE,
    FitPlan,
    Programme,
    crossfit_plan,
    paper_plan,
)
from leadline.selftrain.roster import Roster, open_roster
from leadline.selftrain.true_totals import true_totals
from leadline.teacher.label_model import MIN_LABELLED

Configs = tuple[SelftrainConfig, TrainConfig, WindowConfig]
"""Rounds, what is trained, and which text counts."""


def open_students(
    cohort: Cohort,
    labels: pl.DataFrame | None,
    run: Path,
    configs: Configs,
    *,
    home: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[AdaptedStudents, Programme, str | None]:
    """The students of a run, what it is to make, and why not more rounds.

    Args:
        cohort: people with conversations, some with PHQ-9s.
        labels: the teachers' labels; None trains with the student alone.
        run: the run directory in the making.
        configs: the settings.
        home: where readers are kept.
        say: told of each fit that is begun.

    Raises:
        LeadlineError: too few people, or a reader that is absent.
    """
    config, train, window = configs
    for reader in {train.reader, config.intermediate or train.reader}:
        reader_path(reader, home=home)
    roster, _ = open_roster(cohort, labels, None, train, window)
    refuse_locked_people(set(roster.left_out()), cohort, "self-training")
    programme, reason = possible_programme(roster, config, train, simulated=cohort.simulated)
    plan = make_plan(programme, config, train)
    truth = true_totals(cohort, roster) if TRUE in programme.ablation else None
    ledger = AncestryLedger(cohort.locked_ids, relabels=plan.scheme == PAPER)
    gold_sd = standard_error(config.reliability)
    setting = Setting(plan, config, train, run, home, truth, gold_sd, say)
    return AdaptedStudents(roster, setting, ledger), programme, reason


def possible_programme(
    roster: Roster, config: SelftrainConfig, train: TrainConfig, *, simulated: bool
) -> tuple[Programme, str | None]:
    """What is to be made, as far as folds and people allow, and why not more rounds.

    Under ``crossfit`` the deepest student of round r leaves r + 1 folds out.

    Raises:
        LeadlineError: the development set of ``paper`` is too small to measure a label model.
    """
    gold = int((roster.has_gold & ~roster.locked).sum())
    rounds = config.rounds
    if config.scheme == PAPER:
        aside = int((roster.has_gold & (roster.folds[0] == DEVELOPMENT)).sum())
        if aside < MIN_LABELLED and rounds:
            raise LeadlineError(
                f"The development set, one fold of {train.folds}, holds {aside} people with a "
                f"PHQ-9; {MIN_LABELLED} are needed to measure what a label is worth.",
                remedy="Use fewer --folds, or leadline train.",
            )
    else:
        in_measured = config.measured_folds * gold / train.folds
        while rounds and (train.folds - rounds - 1 < 1 or in_measured < MIN_LABELLED):
            rounds -= 1
    ablation: tuple[str, ...] = ()
    if config.ablation and rounds:
        ablation = (RAW, TEACHER) if roster.raters.names else ()
        ablation += (TRUE,) if simulated else ()
    reason = None
    if rounds < config.rounds:
        reason = (
            f"{gold} labelled people in {train.folds} folds allow {rounds} rounds: each leaves one "
            "more fold out of what it descends from, and a label model is measured on "
            f"{config.measured_folds} fold(s)"
        )
    return Programme(rounds, ablation, config.start, bool(config.intermediate)), reason


def make_plan(programme: Programme, config: SelftrainConfig, train: TrainConfig) -> FitPlan:
    """The plan of the scheme that is asked for."""
    if config.scheme == PAPER:
        return paper_plan(programme, train.folds, config.members)
    return crossfit_plan(programme, train.folds, train.repeats, config.measured_folds)
