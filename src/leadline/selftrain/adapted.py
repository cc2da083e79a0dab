"""Adapted students: each is fitted from the base checkpoint once, and what it says is kept.

`plan` says which students there are and which labels each is fitted on. Here they are fitted, asked
and written down, children first, so that a killed run goes on inside the very fit in which it
was: a fit has its own checkpoints (`finetune.train`), a student's estimates and a set of labels
are one file each.

A gold label enters the loss with weight 1. A pseudolabel enters with its precision relative to
gold as weight, and as what it is: a distribution, not a point (`TrainingLabel.sd`).

As in `chain`, what the ancestry ledger records is read off the rows that were handed to a fit,
and who must not be among them off the folds and the lock as they were drawn.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl

from leadline import processes
from leadline.arrays import Array, Bools, Ints
from leadline.cohort.splits import random_place
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.phq9.distribution import Totals
from leadline.runs.config import TrainConfig
from leadline.runs.labelled import TrainingLabel
from leadline.runs.train import finetune_config, train_adapted
from leadline.selftrain.ancestry import (
    PSEUDOLABEL_COLUMNS,
    AncestryLedger,
    Fitted,
    PseudolabelBatch,
    refuse_fitted,
)
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.labelling import (
    Labels,
    believed_labels,
    evenness,
    observe,
    raw_labels,
)
from leadline.selftrain.node_store import Node, NodeStore
from leadline.selftrain.plan import PAPER, RAW, TRUE, FitPlan, Folds, Labelling, Student
from leadline.selftrain.roster import Roster
from leadline.selftrain.widening import Candidates, entering, share_of_round
from leadline.teacher.label_model import GOLD_SD, MIN_LABELLED, STUDENT, LabelModel, fit

TRAINED, MEASURED = "trained", "measured"
"""Arrays of a node: rows of the people whom a student, or its labels' model, was fitted on."""


@dataclass(frozen=True)
class Setting:
    """What all students of a run share.

    Attributes:
        plan: which students there are.
        config, train: settings.
        run: the run directory.
        home: where readers are kept.
        true_totals: the true total of each person at the last reading, shape (N,), NaN where it
            is not known; None but in simulated cohorts.
        gold_sd: standard error of measurement of one PHQ-9, points.
        say: told of each fit that is begun.
    """

    plan: FitPlan
    config: SelftrainConfig
    train: TrainConfig
    run: Path
    home: Path | None = None
    true_totals: Array | None = None
    gold_sd: float = GOLD_SD
    say: Callable[[str], None] = lambda _: None


class AdaptedStudents:
    """The students of a plan and the labels that they are fitted on.

    Args:
        roster: people, folds and ratings.
        setting: what all students share.
        ledger: where ancestry is recorded and refused.
    """

    def __init__(self, roster: Roster, setting: Setting, ledger: AncestryLedger) -> None:
        self.roster, self.setting, self.ledger = roster, setting, ledger
        self.store = NodeStore(setting.run / "nodes")
        self.ids = np.array(roster.ids, dtype=object)
        self.open_gold = roster.has_gold & ~roster.locked
        self.open_free = ~roster.has_gold & ~roster.locked
        self.parts = [self._dealt(repeat) for repeat in range(len(roster.folds))]
        self.finals = setting.plan.finals()
        self._shared: dict[str, Any] = {}
        self.seconds: list[float] = []  # of each fit, as far as nothing ran beside it
        self.fit_together: Callable[[AdaptedStudents, Iterable[str]], None] | None = None

    def _dealt(self, repeat: int) -> Ints:
        """Part of each person without gold, -1 for others, shape (N,)."""
        parts = np.full(len(self.ids), -1)
        count = self.setting.plan.parts
        if count:
            seed = self.setting.train.seed + repeat
            free = np.flatnonzero(self.open_free)
            order = sorted(free, key=lambda row: random_place(seed, f"part {self.ids[row]}"))
            parts[order] = np.arange(len(order)) % count
        return parts

    def _in(self, repeat: int, places: Folds) -> Bools:
        """Who is in these folds or parts, shape (N,)."""
        plan = self.setting.plan
        draw = repeat if plan.scheme != PAPER else 0
        parts = self.parts[draw]
        in_part = (parts >= 0) & np.isin(parts + plan.folds, list(places))
        return np.isin(self.roster.folds[draw], list(places)) | in_part

    def shared(self, reader: str) -> Any:
        """What all fits of a reader in this process share; None where nothing can be shared."""
        if self.setting.train.adapt != "lora":
            return None
        if reader not in self._shared:
            from leadline.finetune.shared import SharedReader

            config = finetune_config(self.setting.train, self.setting.train.seed)
            self._shared[reader] = SharedReader(reader, config, self.setting.home)
        return self._shared[reader]

    # Students

    def estimates(self, name: str) -> Node:
        """What a student says of those whom it is asked about.

        Returns:
            ``gold_at`` and ``free_at``, rows of `roster.gold` and `roster.unlabelled`, and
            ``gold_raw`` and ``free_raw``, what the head gives there: (R, 28), or (R,).
        """
        student = self.setting.plan.students[name]
        labels = [self.labels(label) for label in student.labels]
        node = self.store.get(name, lambda: self._make(student, labels), needs=TRAINED)
        if name not in self.ledger.fitted:
            self._record(student, node[TRAINED], labels)
            if self.setting.plan.scheme != PAPER:
                estimated = self._asked_people(node)
                self.ledger.refuse_seen(name, self.ids[estimated], "estimates of others")
        return node

    def fit(self, names: Iterable[str]) -> None:
        """Fit students, all that can be fitted side by side at once where that was arranged."""
        if self.fit_together is not None:
            self.fit_together(self, names)
        for name in names:
            self.estimates(name)

    def fits_at_hand(self, names: Iterable[str]) -> list[str]:
        """Students, of these and of those they descend from, that nothing but a fit is wanting."""
        plan = self.setting.plan
        ready: dict[str, None] = {}
        for name in names:
            if self.store.has(name):
                continue
            labellings = [plan.labellings[label] for label in plan.students[name].labels]
            makers = [maker for labelling in labellings for maker in labelling.makers()]
            missing = [maker for maker in makers if not self.store.has(maker)]
            ready |= dict.fromkeys(self.fits_at_hand(missing) if missing else [name])
        return list(ready)

    def checkpoint(self, name: str) -> Path:
        """Where the weights of a student lie, which are kept for final models alone."""
        return self.setting.run / "nodes" / "fits" / name

    def _make(self, student: Student, labels: list[Node]) -> Node:
        """Fit a student and ask it."""
        targets = self.targets(student, labels)
        place = self.checkpoint(student.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        train = self.setting.train
        if student.intermediate:
            train = replace(train, reader=self.setting.config.intermediate)
        self._say_progress(student)
        start = time.monotonic()
        model = train_adapted(
            train,
            self.roster.people,
            targets,
            place,
            self.seed(student),
            home=self.setting.home,
            shared=self.shared(train.reader),
        )
        self.seconds.append(time.monotonic() - start)
        node = {TRAINED: np.unique([target.span.person for target in targets])}
        node |= self._ask(student, model)
        del model
        if student.name not in self.finals and processes.rank() == 0:
            shutil.rmtree(place)
        return node

    def _say_progress(self, student: Student) -> None:
        """Which fit is begun, and how long the rest takes at the speed so far."""
        finished, most = self._finished()
        words = f"Fit {finished + 1} of at most {most}: {student.kind}, round {student.round}"
        if self.seconds:
            words += f"; {fmean(self.seconds):,.0f} s each, {self._minutes_left():,.0f} min left"
        self.setting.say(words)

    def _finished(self) -> tuple[int, int]:
        """How many students are at hand, and how many there can be."""
        names = self.setting.plan.students
        return sum(map(self.store.has, names)), len(names)

    def _minutes_left(self) -> float:
        """For the students that are not at hand, at the speed so far."""
        finished, most = self._finished()
        return (most - finished) * fmean(self.seconds) / 60

    def say_fitted(self, name: str) -> None:
        """Which fit has ended in a worker, and how long the rest takes at the speed so far."""
        student, (finished, most) = self.setting.plan.students[name], self._finished()
        words = f"{finished} of at most {most} fits: {student.kind}, round {student.round}"
        self.setting.say(f"{words}; {self._minutes_left():,.0f} min left")

    def seed(self, student: Student) -> int:
        """Seed of a fit: that of `leadline train` for the same fold, whatever the labels.

        So a round differs from the one before in its labels alone.
        """
        fold = 0 if self.setting.plan.scheme == PAPER else min(student.gold_out)
        return self.setting.train.seed + 1000 * student.repeat + fold

    def targets(self, student: Student, labels: list[Node]) -> list[TrainingLabel]:
        """Every reading that a student is fitted on."""
        gold = self.roster.gold
        inside = self.open_gold & ~self._in(student.repeat, student.gold_out)
        rows = np.flatnonzero(gold.final & inside[gold.person])
        targets = [
            TrainingLabel(self.roster.gold_spans[row], float(gold.total[row])) for row in rows
        ]
        for node in labels:
            numbers = (node[x].tolist() for x in ("people", "mean", "weight", "target_sd"))
            targets += [
                TrainingLabel(self.roster.spans[person], mean, weight, sd, gold=False)
                for person, mean, weight, sd in zip(*numbers, strict=True)
            ]
        return targets

    def _ask(self, student: Student, model: Any) -> Node:
        """A student's raw estimates of the people that anybody needs of it."""
        from leadline.finetune.members import raw_estimates

        gold = self.roster.gold
        out = self.open_gold & self._in(student.repeat, student.gold_out)
        # Prefixes serve the calibration of final models alone.
        lengths = (
            np.ones(len(gold.final), dtype=bool) if student.name in self.finals else gold.final
        )
        gold_at = np.flatnonzero(lengths & out[gold.person])
        free = self.open_free[self.roster.unlabelled.person]
        if student.round and self.setting.plan.scheme != PAPER:
            free &= self._in(student.repeat, student.free_out)[self.roster.unlabelled.person]
        free_at = np.flatnonzero(free)
        first_free = int(self.roster.has_gold.sum())
        spans = [self.roster.gold_spans[row] for row in gold_at]
        spans += [self.roster.spans[first_free + row] for row in free_at]
        raw = raw_estimates(model, self.roster.people, spans)
        return {
            "gold_at": gold_at,
            "gold_raw": raw[: len(gold_at)],
            "free_at": free_at,
            "free_raw": raw[len(gold_at) :],
        }

    def _asked_people(self, node: Node) -> Ints:
        gold, free = self.roster.gold, self.roster.unlabelled
        people = (gold.person[node["gold_at"]], free.person[node["free_at"]])
        return np.unique(np.concatenate(people))

    def _means(self, name: str) -> Array:
        """A student's estimate of each person's last reading, shape (N,), NaN where not asked."""
        node = self.estimates(name)
        out = np.full(len(self.ids), np.nan)
        gold = np.full(len(self.roster.gold.total), np.nan)
        gold[node["gold_at"]] = raw_means(node["gold_raw"])
        has_gold = self.roster.has_gold
        out[has_gold] = gold[self.roster.last[has_gold]]
        out[self.roster.unlabelled.person[node["free_at"]]] = raw_means(node["free_raw"])
        return out

    def mean_of(self, names: Iterable[str]) -> Array:
        """The average estimate of several students, shape (N,)."""
        out: Array = np.mean([self._means(name) for name in names], axis=0)
        return out

    def _record(self, student: Student, trained: Ints, labels: list[Node]) -> None:
        """Enter a student in the ledger and refuse it if it has seen whom it must not."""
        labelled = frozenset(int(row) for node in labels for row in node["people"])
        own_gold = [row for row in trained.tolist() if row not in labelled]
        people = frozenset(self.ids[own_gold])
        self.ledger.add_model(Fitted(student.name, people, student.labels))
        hidden = self._hidden(student)
        if self.setting.plan.scheme == PAPER:
            # The development set measures the label model, so that labels descend from it; what
            # is refused is training on it.
            refuse_fitted(self.ledger, student.name, self.ids[hidden])
        else:
            purpose = f"training, round {student.round}"
            self.ledger.refuse_seen(student.name, self.ids[hidden], purpose)

    def _hidden(self, student: Student) -> Bools:
        """Who must stay unseen, by the folds and the lock as they were drawn, shape (N,)."""
        hidden = self.roster.locked | np.isin(self.ids, list(self.ledger.locked))
        hidden |= self.roster.has_gold & self._in(student.repeat, student.gold_out)
        return hidden | (~self.roster.has_gold & self._in(student.repeat, student.free_out))

    # Labels

    def labels(self, name: str) -> Node:
        """Labels of people without gold.

        Returns:
            ``people`` (rows), ``mean``, ``sd``, ``weight``; ``target_sd``, by how much a PHQ-9
            of such a person would scatter about the mean; ``measured``, the rows of the people
            whom the label model was fitted on.
        """
        labelling = self.setting.plan.labellings[name]
        for maker in labelling.makers():
            self.estimates(maker)
        node = self.store.get(name, lambda: self._label(labelling), needs=MEASURED)
        if name not in self.ledger.batches:
            self._record_labels(labelling, node)
        return node

    def _label(self, labelling: Labelling) -> Node:
        inside = self.open_free & self._in(labelling.repeat, labelling.to)
        recipients = np.flatnonzero(inside & ~self._in(labelling.repeat, labelling.free_out))
        nobody: Ints = np.array([], dtype=np.int64)
        if labelling.kind == TRUE:
            assert self.setting.true_totals is not None, "true labels are asked of simulated people"
            mean = self.setting.true_totals[recipients]
            labels = Labels(mean, np.zeros(len(mean)), np.ones(len(mean)))
            return self._node(labelling, recipients, labels, nobody, 0.0, None)
        if labelling.kind == RAW:
            labels = raw_labels(
                self._observed(labelling, recipients, np.full(len(self.ids), np.nan))
            )
            return self._node(labelling, recipients, labels, nobody, 0.0, None)
        student, model, measured = self._label_model(labelling, recipients)
        observed = self._observed(labelling, recipients, student)
        labels = believed_labels(labelling.kind, model, observed)
        student_totals = (student[recipients] - model.intercepts[-1]) / model.slopes[-1]
        return self._node(labelling, recipients, labels, measured, model.gold_sd, student_totals)

    def _label_model(
        self, labelling: Labelling, recipients: Ints
    ) -> tuple[Array, LabelModel, Ints]:
        """The student's estimates, the label model, and the rows that it was fitted on."""
        student = np.full(len(self.ids), np.nan)
        estimate = self.mean_of(labelling.students)
        for makers, fold in labelling.measured:
            people = self.open_gold & self._in(labelling.repeat, frozenset({fold}))
            student[people] = self.mean_of(makers)[people]
        self._refuse_few(int(np.isfinite(student).sum()))
        others = self.open_free & ~self._in(labelling.repeat, labelling.free_out)
        if not labelling.with_own_ratings:
            others &= ~self._in(labelling.repeat, labelling.to)
        if labelling.round == 1:  # by students that were fitted on nobody without gold
            student[others] = estimate[others]
        rated = np.any(
            [np.isfinite(x).any(axis=1) for x in (*self.roster.raters.draws, student[:, None])],
            axis=0,
        )
        rows = np.flatnonzero((self._gold_seen(labelling) | others) & rated)
        observed = self._observed(labelling, rows, student)
        model = fit(observed, gold_sd=self.setting.gold_sd)
        student[recipients] = estimate[recipients]
        return student, model, rows

    def _refuse_few(self, people: int) -> None:
        if people < MIN_LABELLED:
            folds = self.setting.plan.folds
            raise LeadlineError(
                f"{people} people with a PHQ-9 in a fold of {folds} are too few to measure what a "
                f"label is worth; {MIN_LABELLED} are needed.",
                remedy="Use fewer --folds, a larger --measured-folds, or leadline train.",
            )

    def _gold_seen(self, labelling: Labelling) -> Bools:
        """Whose gold the label model may look at, shape (N,)."""
        if self.setting.plan.scheme == PAPER:  # the development set is what it is measured on
            return self.open_gold
        return self.open_gold & ~self._in(labelling.repeat, labelling.gold_out)

    def _observed(self, labelling: Labelling, rows: Ints, student: Array) -> Any:
        gold = self._gold_seen(labelling)
        return observe(self.roster, rows, student, gold=gold, barred=self.open_gold & ~gold)

    def _node(
        self,
        labelling: Labelling,
        recipients: Ints,
        labels: Labels,
        measured: Ints,
        gold_sd: float,
        student_totals: Array | None,
    ) -> Node:
        """The labels that enter, as a node; `student_totals` is None where no student was asked."""
        usable = np.flatnonzero(labels.kept())
        mean, sd, weight = (x[usable] for x in (labels.mean, labels.sd, labels.weight))
        gold = self.roster.gold.total[self.roster.last[self._gold_trained(labelling)]]
        groups = self._groups(labelling)
        if student_totals is not None:
            config = self.setting.config
            share = share_of_round(labelling.round, config.rounds, config.first_share)
            rows = entering(
                Candidates(mean, sd, weight, student_totals[usable]),
                share,
                config.widen,
                gold,
                groups=groups,
                seed=self.setting.train.seed,
            )
            usable, mean, sd, weight = usable[rows], mean[rows], sd[rows], weight[rows]
        if self.setting.config.even:
            weight = weight * evenness(mean, gold, groups)
        return {
            "people": recipients[usable],
            "mean": mean,
            "sd": sd,
            "weight": weight,
            "target_sd": np.sqrt(sd**2 + gold_sd**2),
            MEASURED: measured,
        }

    def _gold_trained(self, labelling: Labelling) -> Bools:
        return self.open_gold & ~self._in(labelling.repeat, labelling.gold_out)

    def _groups(self, labelling: Labelling) -> int:
        """How many sets of labels enter a training beside this one, itself included."""
        students = self.setting.plan.students.values()
        return next((len(s.labels) for s in students if labelling.name in s.labels), 1)

    def _record_labels(self, labelling: Labelling, node: Node) -> None:
        """Enter labels. A person's own ratings are the evidence of their label, not ancestors."""
        measured, people = node[MEASURED], node["people"]
        barred = frozenset(np.flatnonzero(self.open_gold & ~self._gold_seen(labelling)).tolist())
        example_sets = [self.roster.raters.example_people[row] for row in (*measured, *people)]
        examples = frozenset[int]().union(*(rows for rows in example_sets if not rows & barred))
        makers = set(labelling.makers())
        self.ledger.add_batch(
            PseudolabelBatch(
                name=labelling.name,
                labelled=frozenset(self.ids[people]),
                models=tuple(sorted(makers)),
                raters=self.roster.raters.names,
                people=frozenset(self.ids[sorted({*measured.tolist(), *examples})]),
            )
        )

    def table(self) -> pl.DataFrame:
        """All pseudolabels so far as rows of `ancestry.PSEUDOLABEL_COLUMNS`."""
        tables = [pl.DataFrame(schema=PSEUDOLABEL_COLUMNS)]
        for name in self.ledger.batches:
            labelling, node = self.setting.plan.labellings[name], self.labels(name)
            spans: list[Span] = [self.roster.spans[row] for row in node["people"]]
            columns = {
                "person_id": self.ids[node["people"]].tolist(),
                "first": [span.first for span in spans],
                "last": [span.last for span in spans],
                "source": [STUDENT] * len(spans),
                "round": [labelling.round] * len(spans),
                "repeat": [labelling.repeat] * len(spans),
                "batch": [name] * len(spans),
                "total": node["mean"],
                "sd": node["sd"],
                "weight": node["weight"],
            }
            tables.append(pl.DataFrame(columns, schema=PSEUDOLABEL_COLUMNS))
        return pl.concat(tables)


def raw_means(raw: Array) -> Array:
    """The mean of what a head gives: of distributions (R, 28), or the numbers (R,) themselves."""
    if raw.ndim == 1:
        return raw
    return Totals(raw / raw.sum(axis=1, keepdims=True)).mean()
