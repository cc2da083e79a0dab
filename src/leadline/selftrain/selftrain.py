"""`leadline selftrain`: rounds of pseudolabels, each from scratch and each proved or dropped.

From top to bottom: the people and their folds, the gold-only ensemble, the rounds with their
decisions, the ablation, the fused estimates, and an ordinary run on disk whose reference is
the gold-only ensemble.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline import processes
from leadline.arrays import Array
from leadline.artefact import sha256, write_json
from leadline.cluster import RAY
from leadline.cohort.config import WindowConfig
from leadline.cohort.questionnaire import (
    QuestionnaireCounts,
    check_questionnaires,
    readings_of,
)
from leadline.cohort.splits import refuse_locked_people
from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError
from leadline.heads.candidates import USUAL_WEIGHT
from leadline.heads.design import PersonStates
from leadline.phq9.reliability import standard_error
from leadline.progress import progress_bar
from leadline.runs.checkpoint import open_source, save_ensemble, settled, step_folder
from leadline.runs.config import TrainConfig
from leadline.runs.directory import run_directory
from leadline.runs.ensemble import Ensemble, Member
from leadline.runs.labelled import cohort_hashes, keep_drawn_folds, labelled_people
from leadline.runs.ledger import ledger_table
from leadline.runs.manifest import model_facts, write_run_manifest
from leadline.runs.predictions import (
    baseline_predictions,
    ensemble_predictions,
    labelled_estimates,
)
from leadline.runs.profiles import write_profiles
from leadline.runs.questionnaire import masked_predictions
from leadline.runs.state_source import StateSource
from leadline.runs.train import (
    candidates_for,
    frozen_ensemble,
    join_group,
)
from leadline.selftrain.ancestry import (
    BATCHES,
    MODELS,
    PSEUDOLABELS,
    AncestryLedger,
    check_ancestry,
)
from leadline.selftrain.chain import Chain, Plan
from leadline.selftrain.config import (
    COURSE,
    GOLD_ONLY,
    ROUNDS_HEAD,
    SHOWN,
    SelftrainConfig,
    round_name,
)
from leadline.selftrain.fused import FUSED, TEACHER_ALONE, fused_predictions
from leadline.selftrain.fusion import save_fusion
from leadline.selftrain.node_store import NodeStore
from leadline.selftrain.plan import GOLD, PAPER, POSTERIOR, RAW, TEACHER
from leadline.selftrain.roster import Roster, load_labels, open_roster, permuted_gold
from leadline.selftrain.rules import canary_power, canary_test, decide, label_errors, shape_figures
from leadline.tables import MASKED_ARM
from leadline.teacher.label_model import MIN_LABELLED
from leadline.teacher.label_table import LABELS_FILE as LABELS_FILE

NODES = "nodes"

FEWEST_FOLDS = 4

ABLATION = ((RAW, "raw teacher"), (TEACHER, "label model, teacher alone"))


@dataclass
class RoundsInProgress:
    """The run in the making.

    Attributes:
        roster, states: everyone, and their turn states.
        source: the readers.
        chains: one a draw of the folds.
        canary: a chain that believes some permuted labels, who they are, what they were given.
        pool: how turn states are combined.
        tables: predictions so far, by the name of the model.
        steps: the models that made them, by the same names.
        rounds: decisions so far.
        power: of the canary, as `rules.canary_power` gives it.
        selection: how the heads of the gold-only models were chosen, as `train` records it.
    """

    roster: Roster
    states: list[PersonStates]
    source: StateSource
    chains: list[Chain]
    canary: tuple[Chain, npt.NDArray[np.int64], Array] | None
    pool: str
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    steps: dict[str, Ensemble] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    power: dict[str, float] = field(default_factory=dict)
    selection: list[dict[str, Any]] = field(default_factory=list)

    @property
    def gold_people(self) -> int:
        """Open people with gold."""
        return int((self.roster.has_gold & ~self.roster.locked).sum())

    @property
    def can_measure(self) -> bool:
        """Whether there is a teacher, and gold enough for a label model of one round."""
        folds = self.chains[0].plan.folds
        return bool(self.roster.raters.names) and possible_rounds(self.gold_people, folds, 1)[0] > 0

    def ensemble(self, kind: str, round_: int) -> Ensemble:
        """The models of one kind and round, over folds and repeats."""
        members = tuple(
            Member(chain.repeat, fold, chain.member(kind, round_, fold))
            for chain in self.chains
            for fold in range(chain.plan.folds)
        )
        return Ensemble(members, self.roster.left_out(), self.source, self.pool)

    def gold_only(self, train: TrainConfig) -> Ensemble:
        """The models that `leadline train` would write, by its code, entered in the ledger."""

        def record(repeat: int, fold: int, people: npt.NDArray[np.int64]) -> None:
            self.chains[repeat].record_gold_only(fold, people)

        labelled, left_out = self.roster.labelled, self.roster.left_out()
        ensemble, self.selection = frozen_ensemble(
            labelled, self.roster.gold, train, left_out, self.source, record
        )
        return ensemble

    def predict(self, name: str, ensemble: Ensemble) -> pl.DataFrame:
        """Add the predictions of an ensemble under `name` and return its out-of-fold rows."""
        labelled = self.roster.labelled
        states = self.states[: len(labelled.people)]
        self.steps[name] = ensemble
        self.tables[name] = ensemble_predictions(
            ensemble, labelled, states, self.roster.left_out(), name
        )
        return label_errors(self.tables[name])

    def canary_figures(self, kind: str, round_: int) -> dict[str, float] | None:
        """Whether out-of-fold estimates of a round fit the labels that were permuted."""
        if self.canary is None:
            return None
        chain, rows, permuted_totals = self.canary
        return canary_test(chain.out_of_fold(kind, round_)[rows], permuted_totals) | self.power

    def measure_power(self, level: float) -> None:
        """Work out how often the canary would notice a full leak at this level."""
        if self.canary is None:
            return
        chain, (_, rows, _) = self.chains[0], self.canary
        able = np.flatnonzero(chain.open_gold)
        self.power = canary_power(
            chain.out_of_fold(GOLD, 0)[able],
            chain.leaking_estimates()[able],
            self.roster.gold.total[self.roster.last[able]],
            len(rows),
            level,
        )


def selftrain_run(
    cohort: Cohort,
    labels_dir: Path | None,
    out: Path,
    config: SelftrainConfig,
    train: TrainConfig,
    window: WindowConfig,
    *,
    overwrite: bool = False,
    home: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train in rounds on gold and pseudolabels, write a run, and return its manifest.

    Args:
        cohort: people with conversations, some with PHQ-9s.
        labels_dir: LABELS of the same cohort and window; None trains with the student alone.
        out: the run directory; an unfinished run of the same settings goes on where it was.
        config: rounds and rules.
        train: reader, how it is adapted, head, folds and repeats.
        window: which text counts.
        overwrite: replace a finished run.
        home: where readers and states are kept.
        say: told what the fits of an adapted reader take, before the first.

    Returns:
        The manifest; nothing in a process of a group that writes nothing.

    Raises:
        LeadlineError: too few people, labels of locked people, a reader that is absent, or an
            occupied output.
        TaintedLabel: a pseudolabel would depend on whom it must not depend on.
    """
    _check(config, train)
    train = settled(train, home=home)
    join_group(train)
    labels = load_labels(labels_dir, cohort, window)
    questionnaires = _look(cohort, train, window)
    inputs = cohort_hashes(cohort)
    if labels_dir is not None:
        inputs["labels.parquet"] = sha256(labels_dir / LABELS_FILE)
    named = {"selftrain": config.recorded(), "train": asdict(train), "window": asdict(window)}
    settings = named | {"inputs": inputs}
    if train.adapt != "frozen":
        from leadline.selftrain.adapted_rounds import adapted_rounds
        from leadline.selftrain.spread import FitInputs

        with run_directory(out, settings, overwrite, [cohort.path, labels_dir]) as run:
            inputs_of_fits = FitInputs(cohort.path, labels_dir, run, (config, train, window), home)
            manifest = adapted_rounds(
                cohort, labels, inputs_of_fits, settings, questionnaires, say=say
            )
        if processes.is_first():
            shutil.rmtree(out / NODES)
        return manifest
    with run_directory(out, settings, overwrite, [cohort.path, labels_dir]) as run:
        source = open_source(train, home=home)
        course = _begin(cohort, labels, (config, train, window), source, run)
        gold_only = course.gold_only(train)
        with progress_bar("Fitting and labelling") as advance:
            course.chains[0].store.progress = lambda nodes: advance(nodes, 2 * nodes)
            kept_round, ensemble = _rounds(course, config, train, gold_only)
            if config.ablation and course.can_measure:
                for kind, name in ABLATION:
                    course.predict(name, course.ensemble(kind, 1))
        course.tables[SHOWN] = course.tables[round_name(kept_round)].with_columns(
            pl.lit(SHOWN).alias("model")
        )
        if config.fuse and course.can_measure:
            _fuse(course, kept_round, run)
        if questionnaires.turns and window.keep_questionnaire:
            arm = (cohort, train, window, course.roster.left_out())
            course.tables[MASKED_ARM] = masked_predictions(ensemble, *arm)
        _write(course, ensemble, kept_round, (train, window), run, home)
        steps = _save_steps(course, kept_round, (train, window), run)
        items = _profiles(course, ensemble, cohort, run)
        facts = {"steps": steps, "questionnaire": questionnaires.facts(window)}
        manifest = _finish(course, (kept_round, items), cohort, settings, train, (run, facts))
    shutil.rmtree(out / NODES)
    return manifest


def _look(cohort: Cohort, train: TrainConfig, window: WindowConfig) -> QuestionnaireCounts:
    """Questionnaires in all that is read, or the error that asks what to do about them."""
    columns = ("person_id", "label", "first", "last")
    labelled = labelled_people(cohort, train, window).readings.select(columns)
    readings = pl.concat([readings_of(cohort, window, "unlabelled"), labelled])
    return check_questionnaires(cohort, window, readings)


def _check(config: SelftrainConfig, train: TrainConfig) -> None:
    if train.prior:
        raise LeadlineError(
            "--prior is for leadline train.",
            remedy="Leave it out: rounds of pseudolabels need more labels than a prior is for.",
        )
    if train.adapt == "frozen" and config.scheme == PAPER:
        raise LeadlineError(
            "--scheme paper with --adapt frozen.",
            remedy="Leave out --scheme, since fits on frozen states take seconds and crossfit "
            "proves more; or use --adapt lora.",
        )
    if train.adapt != "frozen":
        return
    if config.engine == RAY:
        raise LeadlineError(
            "--engine ray with --adapt frozen.",
            remedy="Leave out --engine, since fits on frozen states take seconds; or use "
            "--adapt lora.",
        )
    if train.folds < FEWEST_FOLDS:
        raise LeadlineError(
            f"--folds {train.folds} is too few for self-training.",
            remedy=f"Use --folds {FEWEST_FOLDS} for one round, 5 for two, 6 for three.",
        )


def possible_rounds(labelled: int, folds: int, most: int) -> tuple[int, str | None]:
    """How many rounds the folds allow, and why not more.

    The deepest student of round r, which calibrates the final models, leaves r + 2 folds out
    and still needs gold to learn from, as does the label model that leaves out r + 1.
    """
    for rounds in range(most, 0, -1):
        student, model = folds - rounds - 2, folds - rounds - 1
        if student >= 1 and min(student * labelled, model * labelled) >= MIN_LABELLED * folds:
            break
    else:
        rounds = 0
    if rounds == most:
        return rounds, None
    return rounds, (
        f"{labelled} labelled people in {folds} folds allow {rounds} rounds: each round leaves "
        "one more fold out of what it descends from"
    )


def _begin(
    cohort: Cohort,
    labels: pl.DataFrame | None,
    configs: tuple[SelftrainConfig, TrainConfig, WindowConfig],
    source: StateSource,
    run: Path,
) -> RoundsInProgress:
    config, train, window = configs
    roster, states = open_roster(cohort, labels, source, train, window)
    refuse_locked_people(set(roster.left_out()), cohort, "self-training")
    keep_drawn_folds(cohort, roster.left_out(), train)
    plan = Plan(
        train.folds,
        replace(
            candidates_for(train, len(roster.people))[0],
            # Found in no fold: a student's weight would be one more thing of whom it left out.
            lexical=USUAL_WEIGHT if train.lexical == "auto" else 0.0,
        ),
        train.seed,
        config.even,
        standard_error(config.reliability),
    )
    store, ledger = NodeStore(run / NODES), AncestryLedger(cohort.locked_ids)
    chains = [Chain(roster, repeat, plan, store, ledger) for repeat in range(train.repeats)]
    canary = None
    if config.canary > 0:
        permuted_roster, rows, permuted_totals = permuted_gold(roster, config.canary, train.seed)
        canary_chain = Chain(
            permuted_roster,
            0,
            plan,
            store,
            AncestryLedger(cohort.locked_ids),
            hyperparameters_from=chains[0],
        )
        canary = (canary_chain, rows, permuted_totals)
    return RoundsInProgress(roster, states, source, chains, canary, train.pool)


def _rounds(
    course: RoundsInProgress, config: SelftrainConfig, train: TrainConfig, best: Ensemble
) -> tuple[int, Ensemble]:
    """All rounds with their decisions; the last one kept and its ensemble, `best` if none is."""
    before = course.predict(GOLD_ONLY, best)
    same_head = course.predict(ROUNDS_HEAD, course.ensemble(GOLD, 0))
    allowed, reason = possible_rounds(course.gold_people, train.folds, config.rounds)
    course.measure_power(config.canary_level)
    canary = course.canary_figures(GOLD, 0)
    course.rounds.append(
        {"round": 0, **shape_figures(before), "canary": canary, "kept": True, "reasons": []}
    )
    # Another head, or another way to calibrate it, is no merit of the labels: a round has to beat
    # what it would replace and its own head on gold alone.
    before = min(before, same_head, key=lambda errors: errors["error"].to_numpy().mean())
    kept_round = 0
    for round_ in range(1, allowed + 1):
        ensemble = course.ensemble(POSTERIOR, round_)
        after = course.predict(round_name(round_), ensemble)
        decision = decide(before, after, config, course.canary_figures(POSTERIOR, round_))
        course.rounds.append({"round": round_, **decision, **_shares(course, round_)})
        if not decision["kept"]:
            break
        kept_round, best, before = round_, ensemble, after
    else:
        if reason is not None:
            course.rounds.append({"round": allowed + 1, "kept": False, "reasons": [reason]})
    return kept_round, best


def _shares(course: RoundsInProgress, round_: int) -> dict[str, float]:
    """Pseudolabels in the training of the final models of a round, averaged over models."""
    counts, weights, gold = [], [], []
    for chain in course.chains:
        for fold in range(chain.plan.folds):
            batches = chain.training_batches(POSTERIOR, round_, fold)
            weight = np.concatenate([batch["weight"] for batch in batches])
            counts.append(len(weight))
            weights.append(float(weight.sum()))
            gold.append(int((chain.open_gold & (chain.fold != fold)).sum()))
    return {
        "pseudolabels": float(np.mean(counts)),
        "pseudolabel_share": float(np.sum(counts) / (np.sum(counts) + np.sum(gold))),
        "mean_weight": float(np.sum(weights) / max(np.sum(counts), 1)),
    }


def _fuse(course: RoundsInProgress, kept_round: int, run: Path) -> None:
    """Write the label models for scoring with a teacher; predict what they give."""
    models = {
        (chain.repeat, fold): chain.fusion_model(kept_round, fold)
        for chain in course.chains
        for fold in range(chain.plan.folds)
    }
    fusions, table = fused_predictions(models, course.roster, course.tables[SHOWN])
    save_fusion(run, fusions[FUSED], fusions[TEACHER_ALONE])
    course.tables |= {
        str(name): part for (name,), part in table.group_by("model", maintain_order=True)
    }


def _write(
    course: RoundsInProgress,
    ensemble: Ensemble,
    kept_round: int,
    configs: tuple[TrainConfig, WindowConfig],
    run: Path,
    home: Path | None,
) -> None:
    train, window = configs
    roster, labelled = course.roster, course.roster.labelled
    save_ensemble(run, ensemble, train, window)
    left_out = roster.left_out()
    counts = dict.fromkeys(left_out, 0) | dict(
        labelled.readings.group_by("person_id").len().iter_rows()
    )
    ledger_table(left_out, counts).write_parquet(run / "ledger.parquet")
    tables = list(course.tables.values())
    if train.baselines:
        states = course.states[: len(labelled.people)]
        tables += baseline_predictions(labelled, train, left_out, states, home)
    pl.concat(tables).write_parquet(run / "predictions.parquet")
    estimates = labelled_estimates(ensemble, labelled, window, run)
    estimates.write_parquet(run / "estimates.parquet")
    ledger = course.chains[0].ledger
    ledger.write(run, pl.concat([chain.table() for chain in course.chains]))
    check_ancestry(run, ledger.locked, left_out)
    record = {"rounds": course.rounds, "kept": kept_round, "teachers": list(roster.raters.names)}
    write_json(run / COURSE, record)


def _save_steps(
    course: RoundsInProgress,
    kept_round: int,
    configs: tuple[TrainConfig, WindowConfig],
    run: Path,
) -> dict[str, str | None]:
    """Keep the models of every step, for the day on which the locked test is opened.

    Returns:
        The folder of each step, None for the one that is the run's own model.
    """
    folders: dict[str, str | None] = {}
    for name, ensemble in course.steps.items():
        folders[name] = None if name == round_name(kept_round) else step_folder(name)
        if (folder := folders[name]) is not None:
            save_ensemble(run, ensemble, *configs, folder)
    return folders


def _profiles(
    course: RoundsInProgress, ensemble: Ensemble, cohort: Cohort, run: Path
) -> dict[str, str]:
    """Item models from gold answers alone, a fold each, and their profiles out of fold."""
    labelled = course.roster.labelled
    model = ensemble, course.states[: len(labelled.people)]
    return write_profiles(run, cohort, labelled, model, course.tables[SHOWN])


def _finish(
    course: RoundsInProgress,
    outcome: tuple[int, dict[str, str]],
    cohort: Cohort,
    settings: dict[str, Any],
    train: TrainConfig,
    place: tuple[Path, dict[str, Any]],
) -> dict[str, Any]:
    (kept_round, items), (run, facts) = outcome, place
    steps = facts["steps"]
    roster = course.roster
    used = course.rounds[kept_round]
    tried = sum(name.startswith("round") for name in course.tables)
    training = {
        "people trained on": str(course.gold_people),
        "people without a PHQ-9": str(int((~roster.has_gold & ~roster.locked).sum())),
        "locked test people": str(len(cohort.locked_ids & set(roster.ids))),
        **roster.labelled.copies_in_words(roster.left_out()),
        "teachers": ", ".join(roster.raters.names) or "none: the student alone",
        "rounds tried and kept": f"{tried} and {kept_round}",
        "pseudolabel share": f"{used.get('pseudolabel_share', 0.0):.2f}",
        "mean weight of a pseudolabel": f"{used.get('mean_weight', 0.0):.2f}",
        **model_facts(train),
        **items,
    }
    step_files = [f"{folder}/model.json" for folder in steps.values() if folder is not None]
    return write_run_manifest(
        run,
        cohort,
        settings,
        training,
        (PSEUDOLABELS, MODELS, BATCHES, COURSE, *step_files),
        command="selftrain",
        selection=course.selection,
        selftraining=json.loads((run / COURSE).read_text(encoding="utf-8")),
        reference_model=GOLD_ONLY,
        shown_model=SHOWN,
        readers=course.source.identities,
        **facts,
    )
