"""Rounds of pseudolabels with an adapted reader: the method of arXiv 2606.17973.

From top to bottom: the plan and what it takes, said before anything is fitted; gold alone; the
rounds with their decisions; the ablation, whose fits the rounds mostly share; the fused estimates;
and an ordinary run on disk whose reference is gold alone. The schemes are those of `plan`.

Under ``paper`` the figures that decide on a round come from the development set, which also
measures the label model and calibrates the final models: they are optimistic, and the locked test
is the judge. Under ``crossfit`` they are out of fold.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import processes
from leadline.arrays import Array, Bools
from leadline.artefact import write_json
from leadline.cohort.config import WindowConfig
from leadline.cohort.questionnaire import QuestionnaireCounts
from leadline.cohort.store import Cohort
from leadline.evaluate.rounds import ENSEMBLE, ENSEMBLE_SIZES
from leadline.heads.calibration import Calibration, fit_calibration
from leadline.runs.checkpoint import CHECKPOINT, save_ensemble, step_folder
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member
from leadline.runs.labelled import Labelled, keep_drawn_folds
from leadline.runs.ledger import ledger_table
from leadline.runs.manifest import model_facts, write_run_manifest
from leadline.runs.predictions import (
    baseline_predictions,
    ensemble_predictions,
    labelled_estimates,
    whole_predictions,
)
from leadline.runs.questionnaire import masked_people
from leadline.selftrain.adapted import AdaptedStudents
from leadline.selftrain.ancestry import (
    BATCHES,
    MODELS,
    PSEUDOLABELS,
    check_ancestry,
)
from leadline.selftrain.config import COURSE, GOLD_ONLY, SHOWN, SelftrainConfig, round_name
from leadline.selftrain.cost import Cost, cheaper_plans, plan_cost, refuse_over_budget
from leadline.selftrain.fused import FUSED, TEACHER_ALONE, fused_predictions
from leadline.selftrain.fusion import save_fusion
from leadline.selftrain.machine import machine_of, people_of
from leadline.selftrain.plan import (
    DEVELOPMENT,
    GOLD,
    PAPER,
    RAW,
    TEACHER,
    TRUE,
    UNASKED,
    FitPlan,
    Programme,
)
from leadline.selftrain.programme import open_students
from leadline.selftrain.roster import Roster
from leadline.selftrain.rules import decide, label_errors, shape_figures
from leadline.selftrain.spread import FitInputs, spread_fits
from leadline.tables import MASKED_ARM
from leadline.teacher.label_model import LabelModel, fit

NAMES = {
    RAW: "raw teacher",
    TEACHER: "label model, teacher alone",
    TRUE: "true labels",
}
"""What a step of the ablation is called in the results."""

Say = Callable[[str], None]


@dataclass
class AdaptedRounds:
    """The run in the making.

    Attributes:
        students: fits and labels.
        labelled_out: person -> repeat or member -> the fold of whose models the person is unseen.
        tables: predictions so far, by the name of the model.
        steps: the models that made them, by the same names.
        rounds: decisions so far.
    """

    students: AdaptedStudents
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    steps: dict[str, Ensemble] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def roster(self) -> Roster:
        """Everyone."""
        return self.students.roster

    @property
    def plan(self) -> FitPlan:
        """Which students there are."""
        return self.students.setting.plan

    def left_out(self) -> dict[str, dict[int, int]]:
        """Open person -> repeat -> the fold whose model never saw the person.

        Under ``paper`` a repeat is a member, and only the development set was left out: the fold
        of everyone else is one that no model has.
        """
        if self.plan.scheme != PAPER:
            return self.roster.left_out()
        members = {k for k, _ in self.plan.members[GOLD, 0]}
        out = {}
        for row, name in enumerate(self.roster.ids):
            if not self.roster.locked[row]:
                aside = self.roster.has_gold[row] and self.roster.folds[0, row] == DEVELOPMENT
                fold = DEVELOPMENT if aside else DEVELOPMENT + 1
                out[name] = dict.fromkeys(members, fold)
        return out

    def ensemble(self, kind: str, round_: int) -> Ensemble:
        """The final models of one kind and round, calibrated."""
        from leadline.finetune.members import SharedBase, StoredModel

        names = self.plan.members[kind, round_]
        self.students.fit(names.values())
        setting = self.students.setting
        base = SharedBase(setting.home, shared=self.students.shared(setting.train.reader))
        scalar = setting.train.head == "scalar"
        members = []
        for (repeat, fold), name in sorted(names.items()):
            stored = StoredModel(self.students.checkpoint(name), base)
            calibration = self.calibration(kind, round_, (repeat, fold))
            members.append(Member(repeat, fold, AdaptedModel(stored, calibration, scalar)))
        return Ensemble(tuple(members), self.left_out(), None, setting.train.pool)

    def calibration(self, kind: str, round_: int, member: tuple[int, int]) -> Calibration:
        """The calibration of a final model, on people whom no model in question has seen.

        Under ``crossfit`` on what the models of the other folds said of their own people, as in
        `leadline train`; under ``paper`` on the development set.
        """
        names = self.plan.members[kind, round_]
        others = [names[member]]
        if self.plan.scheme != PAPER:
            repeat, fold = member
            others = [name for (r, f), name in names.items() if r == repeat and f != fold]
        return cross_calibration(self.students, others, recentre=round_ > 0 and kind != RAW)

    def predict(
        self, name: str, ensemble: Ensemble, labelled: Labelled | None = None
    ) -> pl.DataFrame:
        """Add the predictions of an ensemble under `name` and return its errors.

        `labelled` are the people as they are read, if not as in training.
        """
        labelled = labelled or self.roster.labelled
        if self.plan.scheme == PAPER:
            left_out = ensemble.left_out
            aside = {p for p in left_out if ensemble.members_for(p)}
            table = whole_predictions(ensemble, labelled, None, labelled.rows(aside), name)
            table = table.with_columns(pl.lit(DEVELOPMENT, pl.Int16).alias("fold"))
        else:
            table = ensemble_predictions(ensemble, labelled, None, self.left_out(), name)
        self.tables[name] = table
        if name != MASKED_ARM:
            self.steps[name] = ensemble
        return label_errors(table)

    def shares(self, kind: str, round_: int) -> dict[str, float]:
        """Pseudolabels in the training of the final models of a round, averaged over models."""
        counts, weights, gold = [], [], []
        for name in self.plan.members[kind, round_].values():
            student = self.plan.students[name]
            labels = [self.students.labels(label) for label in student.labels]
            targets = self.students.targets(student, labels)
            weight = [target.weight for target in targets if not target.gold]
            counts.append(len(weight))
            weights.append(sum(weight))
            gold.append(len({target.span.person for target in targets if target.gold}))
        return {
            "pseudolabels": float(np.mean(counts)),
            "pseudolabel_share": float(np.sum(counts) / (np.sum(counts) + np.sum(gold))),
            "mean_weight": float(np.sum(weights) / max(np.sum(counts), 1)),
        }


def cross_calibration(
    students: AdaptedStudents, names: list[str], *, recentre: bool
) -> Calibration:
    """A calibration on what students said of people with gold whom they never saw."""
    from leadline.finetune.members import moments

    nodes = [students.estimates(name) for name in names]
    rows = np.concatenate([node["gold_at"] for node in nodes])
    gold = students.roster.gold
    mean, sd, histograms = moments(np.concatenate([node["gold_raw"] for node in nodes]))
    return fit_calibration(
        mean,
        sd,
        gold.design.words[rows],
        gold.total[rows],
        gold.share[rows],
        gold.final[rows],
        histograms=histograms,
        recentre=recentre,
    )


def adapted_rounds(
    cohort: Cohort,
    labels: pl.DataFrame | None,
    inputs: FitInputs,
    settings: dict[str, Any],
    questionnaires: QuestionnaireCounts,
    *,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Make the run in the directory `inputs.run` and return its manifest.

    Args:
        cohort: people with conversations, some with PHQ-9s.
        labels: the teachers' labels; None trains with the student alone.
        inputs: where both and the run in the making lie, and the settings.
        settings: as they are recorded.
        questionnaires: those in the text that is read.
        say: told what the plan takes before anything is fitted, and how far it is.

    Returns:
        The manifest, or nothing in a process that writes nothing.

    Raises:
        LeadlineError: too few people, a plan over budget, or a reader that is absent.
        TaintedLabel: a pseudolabel would depend on whom it must not depend on.
    """
    run, home, (config, train, window) = inputs.run, inputs.home, inputs.configs
    students, programme, reason = open_students(
        cohort, labels, run, inputs.configs, home=home, say=say
    )
    plan, roster = students.setting.plan, students.roster
    cost = say_cost(plan, programme, roster, (config, train), home, say)
    with spread_fits(students, inputs):
        course = AdaptedRounds(students)
        kept_round, ensemble = _rounds(course, programme, config)
        _ablation(course, programme, ensemble)
    if reason is not None:
        course.rounds.append({"round": programme.rounds + 1, "kept": False, "reasons": [reason]})
    course.tables[SHOWN] = course.tables[round_name(kept_round)].with_columns(
        pl.lit(SHOWN).alias("model")
    )
    if config.fuse and roster.raters.names:
        _fuse(course, run)
    if questionnaires.turns and window.keep_questionnaire:
        course.predict(MASKED_ARM, ensemble, masked_people(cohort, train, window))
    record = _record(course, kept_round, cost)
    facts = {"selftraining": record, "questionnaire": questionnaires.facts(window)}
    return _write(course, ensemble, kept_round, cohort, (train, window, home), settings, facts)


def say_cost(
    plan: FitPlan,
    programme: Programme,
    roster: Roster,
    configs: tuple[SelftrainConfig, TrainConfig],
    home: Path | None,
    say: Say,
) -> Cost:
    """Work out what the plan takes, say it, and refuse what is over the budget.

    Raises:
        LeadlineError: it is.
    """
    config, train = configs
    machine, tokens = machine_of(train, roster, home)
    people = people_of(roster, tokens)
    small = None
    if config.intermediate:
        reader = replace(train, reader=config.intermediate)
        small_machine, small_tokens = machine_of(reader, roster, home)
        small = people_of(roster, small_tokens), small_machine
    first_share = 1.0 if config.widen == "all" else config.first_share

    def cost_of(plan: FitPlan, programme: Programme) -> Cost:
        return plan_cost(plan, programme, people, machine, first_share, small)

    cost = cost_of(plan, programme)
    for line in (f"Scheme {plan.scheme}", *cost.lines()):
        say(line)
    scheme = (train.folds, train.repeats, config.measured_folds, config.members, plan.scheme)
    cheaper = [
        (words, cost_of(smaller_plan, smaller))
        for words, smaller, smaller_plan in cheaper_plans(programme, *scheme)
    ]
    refuse_over_budget(cost, config.budget_hours, cheaper)
    return cost


def _rounds(
    course: AdaptedRounds, programme: Programme, config: SelftrainConfig
) -> tuple[int, Ensemble]:
    """All rounds with their decisions; the last one kept and its ensemble."""
    best = course.ensemble(GOLD, 0)
    before = course.predict(GOLD_ONLY, best)
    course.rounds.append(
        {"round": 0, **shape_figures(before), "canary": None, "kept": True, "reasons": []}
    )
    kept_round = 0
    for round_ in range(1, programme.rounds + 1):
        kind = programme.kind(round_)
        ensemble = course.ensemble(kind, round_)
        after = course.predict(round_name(round_), ensemble)
        decision = decide(before, after, config, None)
        course.rounds.append({"round": round_, **decision, **course.shares(kind, round_)})
        if not decision["kept"]:
            break
        kept_round, best, before = round_, ensemble, after
    return kept_round, best


def _ablation(course: AdaptedRounds, programme: Programme, ensemble: Ensemble) -> None:
    """Predictions of the steps beside the rounds, and of the kept round with fewer members."""
    members = [course.plan.members[kind, 1].values() for kind in programme.ablation]
    course.students.fit([name for names in members for name in names])
    for kind in programme.ablation:
        if kind not in UNASKED and programme.kind(1) == kind:
            continue  # it is round 1 itself
        course.predict(NAMES[kind], course.ensemble(kind, 1))
    if course.plan.scheme != PAPER:
        return
    for size in ENSEMBLE_SIZES:
        if size < len(ensemble.members):
            smaller_ensemble = replace(ensemble, members=ensemble.members[:size])
            course.predict(f"{ENSEMBLE}{size}", smaller_ensemble)


def _fuse(course: AdaptedRounds, run: Path) -> None:
    """Write the label models for scoring with a teacher; predict what they give.

    The student's estimate of a person with gold is that of the models that never saw the person.
    Under ``crossfit`` those of another fold were fitted on the gold of the fold that the label
    model serves, which touches it in this roundabout way, as it does calibrations.
    """
    shown_rows = course.tables[SHOWN].sort("label")
    means = dict(shown_rows.group_by("label").agg(pl.col("mean").mean()).iter_rows())
    roster = course.roster
    student = np.full(len(roster.ids), np.nan)
    last = dict(
        zip(*roster.labelled.readings.select("row", "label").to_dict().values(), strict=True)
    )
    for row, label in last.items():  # readings of a person are in the order of time
        if label in means:
            student[row] = means[label]
    models: dict[tuple[int, int], LabelModel] = {}
    gold_sd = course.students.setting.gold_sd
    if course.plan.scheme == PAPER:
        nobody = np.zeros(len(roster.ids), dtype=bool)
        models[0, DEVELOPMENT] = _fusion_model(roster, student, nobody, gold_sd)
    else:
        for repeat in range(len(roster.folds)):
            for fold in range(course.plan.folds):
                out = roster.folds[repeat] == fold
                models[repeat, fold] = _fusion_model(roster, student, out, gold_sd)
    fusions, table = fused_predictions(models, roster, course.tables[SHOWN])
    if processes.rank() == 0:
        save_fusion(run, fusions[FUSED], fusions[TEACHER_ALONE])
    for (name,), part in table.group_by("model", maintain_order=True):
        course.tables[str(name)] = part


def _fusion_model(roster: Roster, student: Array, out: Bools, gold_sd: float) -> LabelModel:
    """The label model of teachers and final student on everyone open who is not in `out`."""
    from leadline.selftrain.labelling import observe

    open_ = ~roster.locked & ~out
    gold = roster.has_gold & open_
    rated = np.any([np.isfinite(table).any(axis=1) for table in roster.raters.draws], axis=0)
    rows = np.flatnonzero((gold & (rated | np.isfinite(student))) | (open_ & rated))
    barred = roster.has_gold & ~roster.locked & out
    return fit(observe(roster, rows, student, gold=gold, barred=barred), gold_sd=gold_sd)


def _record(course: AdaptedRounds, kept_round: int, cost: Cost) -> dict[str, Any]:
    """The rounds and their decisions, as a run keeps them."""
    return {
        "scheme": course.plan.scheme,
        "rounds": course.rounds,
        "kept": kept_round,
        "teachers": list(course.roster.raters.names),
        "cost": cost.to_plain(),
    }


def _write(
    course: AdaptedRounds,
    ensemble: Ensemble,
    kept_round: int,
    cohort: Cohort,
    configs: tuple[TrainConfig, WindowConfig, Path | None],
    settings: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Write the run, its manifest last."""
    train, window, home = configs
    run, roster, left_out = course.students.setting.run, course.roster, course.left_out()
    steps = _save_steps(course, kept_round, (train, window))
    ensemble = _kept_checkpoints(run / CHECKPOINT, ensemble)
    if processes.rank() == 0:
        save_ensemble(run, ensemble, train, window)
        keep_drawn_folds(cohort, roster.left_out(), train)
        counts = dict.fromkeys(left_out, 0)
        counts |= dict(roster.labelled.readings.group_by("person_id").len().iter_rows())
        ledger_table(left_out, counts).write_parquet(run / "ledger.parquet")
    processes.barrier()
    estimates = labelled_estimates(ensemble, roster.labelled, window, run)
    processes.leave()  # what is left is for one process
    if not processes.is_first():
        return {}
    tables = list(course.tables.values())
    if train.baselines:
        tables += _baselines(course, train, home)
    pl.concat(tables).write_parquet(run / "predictions.parquet")
    estimates.write_parquet(run / "estimates.parquet")
    ledger = course.students.ledger
    ledger.write(run, course.students.table())
    check_ancestry(run, ledger.locked, left_out, relabels=ledger.relabels)
    write_json(run / COURSE, facts["selftraining"])
    step_files = [f"{folder}/model.json" for folder in steps.values() if folder is not None]
    return write_run_manifest(
        run,
        cohort,
        settings,
        _facts(course, kept_round, train),
        (PSEUDOLABELS, MODELS, BATCHES, COURSE, *step_files),
        command="selftrain",
        steps=steps,
        **facts,
        reference_model=GOLD_ONLY,
        shown_model=SHOWN,
        readers={},
    )


def _save_steps(
    course: AdaptedRounds, kept_round: int, configs: tuple[TrainConfig, WindowConfig]
) -> dict[str, str | None]:
    """Keep the models of every step, for the day on which the locked test is opened.

    Returns:
        The folder of each step, None for the one that is the run's own model.
    """
    run = course.students.setting.run
    folders: dict[str, str | None] = {}
    for name, ensemble in course.steps.items():
        folders[name] = None if name == round_name(kept_round) else step_folder(name)
        if (folder := folders[name]) is not None:
            kept_ensemble = _kept_checkpoints(run / folder, ensemble)
            if processes.rank() == 0:
                save_ensemble(run, kept_ensemble, *configs, folder)
    return folders


def _kept_checkpoints(folder: Path, ensemble: Ensemble) -> Ensemble:
    """Copy the checkpoints of models to where a run keeps them."""
    members = []
    for member in ensemble.members:
        model = member.model
        assert isinstance(model, AdaptedModel), "rounds of adapted readers have no other"
        place = folder / f"repeat-{member.repeat}-fold-{member.fold}"
        if processes.rank() == 0 and not place.exists():
            copy = place.with_name(f".{place.name}.copy")
            shutil.rmtree(copy, ignore_errors=True)  # left by a kill
            shutil.copytree(model.model.checkpoint, copy)
            copy.replace(place)
        processes.barrier()
        stored = replace(model.model, checkpoint=place)
        members.append(replace(member, model=replace(model, model=stored)))
    return replace(ensemble, members=tuple(members))


def _baselines(course: AdaptedRounds, train: TrainConfig, home: Path | None) -> list[pl.DataFrame]:
    """Baselines on the same people: out of fold, or of the development set under ``paper``."""
    labelled = course.roster.labelled
    tables = baseline_predictions(labelled, train, course.roster.left_out(), None, home)
    if course.plan.scheme == PAPER:
        aside = (pl.col("repeat") == 0) & (pl.col("fold") == DEVELOPMENT)
        tables = [table.filter(aside) for table in tables]
    return [table for table in tables if table.height]


def _facts(course: AdaptedRounds, kept_round: int, train: TrainConfig) -> dict[str, str]:
    """What the report says of the training."""
    roster, used = course.roster, course.rounds[kept_round]
    paper = course.plan.scheme == PAPER
    aside = int((roster.has_gold & (roster.folds[0] == DEVELOPMENT)).sum()) if paper else 0
    gold = int((roster.has_gold & ~roster.locked).sum())
    facts = {
        "scheme": course.plan.scheme,
        "people trained on": str(gold - aside),
        "people without a PHQ-9": str(int((~roster.has_gold & ~roster.locked).sum())),
        "locked test people": str(int(roster.locked.sum())),
        **roster.labelled.copies_in_words(course.left_out()),
        "teachers": ", ".join(roster.raters.names) or "none: the student alone",
        "rounds tried and kept": f"{sum('mae' in r for r in course.rounds) - 1} and {kept_round}",
        "pseudolabel share": f"{used.get('pseudolabel_share', 0.0):.2f}",
        "mean weight of a pseudolabel": f"{used.get('mean_weight', 0.0):.2f}",
        **model_facts(train),
    }
    if paper:
        facts["development set"] = (
            f"{aside} people: they decided on the rounds, measured the label model and calibrated "
            "the models, so figures on them are optimistic; the locked test is the judge"
        )
        facts["models in the ensemble"] = str(len(course.plan.members[GOLD, 0]))
        facts.pop("folds")
    return facts
