"""Which students are fitted and which labels each is fitted on, worked out before anything runs.

Where a student takes hours, as an adapted reader does, the fits are the cost, so a plan is made
first: every student and every set of labels by name, each once however many ask for it, children
before parents. Two schemes:

**paper** (arXiv 2606.17973, as far as it is published): one fold of the people with gold is the
development set, which no student sees. Each round every member is fitted from the base on all
other gold and on labels of everyone without gold, made by the ensemble of the round before. A
person is relabelled by models that were fitted on the person's own label: what a round gains on
the development set is measured, that labels do not feed on themselves is not proved.

**crossfit**: what the students of round r are is as in `chain`: S_r(A, C) is fitted on the gold
outside the folds A and on labels of the people without gold outside C, and nothing that it
descends from lies in A or C. Three things make it affordable:

- People without gold are dealt into as many *parts* as there are rounds, across the folds. From
  round 2 on, a part and not a fold is relabelled by a student that left it out, so that a
  student costs one fit a part instead of one a fold.
- The label model needs a student's estimates of gold people whom it never saw. They are asked
  of a few folds (`measured_folds`), not of all, chosen so that students are shared.
- Final models are calibrated on each other's people, as those of `leadline train` are, and not
  by students of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from leadline.selftrain.ancestry import model_name

Folds = frozenset[int]
"""Folds 0..K-1, and parts of the people without gold from K on."""

GOLD, POSTERIOR, RAW, TEACHER, TRUE = "gold", "posterior", "raw", "teacher", "true"
"""Kinds of student, by the labels of people without gold that it is fitted on: none; the label
model's; raw teacher totals as if they were gold; the teachers' with bias and slope removed, without
a student; the true totals of simulated people."""

UNASKED = frozenset({RAW, TRUE})
"""Kinds whose labels need no student and no label model."""

PAPER, CROSSFIT = "paper", "crossfit"

NOBODY: Folds = frozenset()


@dataclass(frozen=True)
class Student:
    """A model that is fitted from the base, once.

    Attributes:
        name: as `ancestry.model_name` makes it.
        kind, round: which labels of people without gold it is fitted on.
        repeat: draw of the folds, or member of the ensemble in the scheme ``paper``.
        gold_out: folds whose gold it never sees, directly or not.
        free_out: folds and parts whose people without gold it never sees.
        labels: names of the `Labelling`s that it is fitted on.
        intermediate: fitted on the smaller reader, where one is given.
    """

    name: str
    kind: str
    round: int
    repeat: int
    gold_out: Folds
    free_out: Folds
    labels: tuple[str, ...]
    intermediate: bool = False


@dataclass(frozen=True)
class Labelling:
    """Labels of people without gold, all by the same label model.

    Attributes:
        name: unique in a plan.
        kind, round: of the student that is fitted on them.
        repeat: draw of the folds.
        gold_out: folds whose gold has no part in them.
        free_out: folds and parts of people without gold who have no part in them.
        to: folds or parts whose people are labelled.
        students: names of those whose estimates, averaged, a person's label is made of.
        measured: for the label model: names of students, and the fold whose gold people they
            estimate, averaged.
        with_own_ratings: the labelled people's own ratings are in the label model too.
    """

    name: str
    kind: str
    round: int
    repeat: int
    gold_out: Folds
    free_out: Folds
    to: Folds
    students: tuple[str, ...] = ()
    measured: tuple[tuple[tuple[str, ...], int], ...] = ()
    with_own_ratings: bool = False

    def makers(self) -> tuple[str, ...]:
        """Names of all students that are asked for these labels or for what they are worth."""
        return (*self.students, *(name for names, _ in self.measured for name in names))


@dataclass
class FitPlan:
    """Students and labellings in an order in which they can be made.

    Attributes:
        scheme: ``paper`` or ``crossfit``.
        folds: number of folds.
        parts: of the people without gold, numbered from `folds` on.
        members: of the final ensemble, by (kind, round): names of students by (repeat, fold).
        students, labellings: by name.
    """

    scheme: str
    folds: int
    parts: int
    members: dict[tuple[str, int], dict[tuple[int, int], str]] = field(default_factory=dict)
    students: dict[str, Student] = field(default_factory=dict)
    labellings: dict[str, Labelling] = field(default_factory=dict)

    def add_student(self, student: Student) -> str:
        """Add a student unless it is there, and return its name."""
        return self.students.setdefault(student.name, student).name

    def add_labelling(self, labelling: Labelling) -> str:
        """Add a labelling unless it is there, and return its name."""
        return self.labellings.setdefault(labelling.name, labelling).name

    def needed(self, kind: str, round_: int) -> Iterator[str]:
        """Names of all students that the ensemble of a kind and round descends from, itself too."""
        names: set[str] = set()
        waiting = list(self.members[kind, round_].values())
        while waiting:
            name = waiting.pop()
            if name in names:
                continue
            names.add(name)
            yield name
            for label in self.students[name].labels:
                labelling = self.labellings[label]
                waiting += labelling.students
                waiting += [maker for makers, _ in labelling.measured for maker in makers]

    def finals(self) -> set[str]:
        """Names of the students of all final ensembles, which estimate people for the record."""
        return {name for members in self.members.values() for name in members.values()}


@dataclass(frozen=True)
class Programme:
    """What a plan is made for.

    Attributes:
        rounds: of labelling and training anew.
        ablation: kinds of student whose ensemble of round 1 is made beside the rounds.
        start: what the labels of round 1 are made of: ``both`` teacher and student, or the
            ``teacher`` alone.
        intermediate: whether students that only label are fitted on a smaller reader.
    """

    rounds: int
    ablation: tuple[str, ...] = ()
    start: str = "both"
    intermediate: bool = False

    def kind(self, round_: int) -> str:
        """Kind of the labels that the students of a round are fitted on."""
        if round_ == 0:
            return GOLD
        return TEACHER if round_ == 1 and self.start == "teacher" else POSTERIOR

    def ensembles(self) -> list[tuple[str, int]]:
        """Kind and round of every ensemble that is judged, in the order in which it is made."""
        rounds = [(self.kind(round_), round_) for round_ in range(self.rounds + 1)]
        steps = [(kind, 1) for kind in self.ablation if (kind, 1) not in rounds]
        return rounds + steps


# The scheme of the paper

DEVELOPMENT = 0
"""The fold that is the development set."""


def paper_plan(programme: Programme, folds: int, members: int) -> FitPlan:
    """The scheme ``paper``: rounds x members fits, and as many for each step of the ablation.

    Args:
        programme: rounds and ablation.
        folds: of which the first is the development set.
        members: students of each round, alike but for their seed.
    """
    plan = FitPlan(PAPER, folds, 0)
    out = frozenset({DEVELOPMENT})

    def ensemble(kind: str, round_: int, tree: str) -> tuple[str, ...]:
        labels = (labelling(kind, round_),) if round_ else ()
        names = []
        for member in range(members):
            name = model_name(tree, kind, round_, member, out, NOBODY)
            small = tree != MAIN
            student = Student(name, kind, round_, member, out, NOBODY, labels, small)
            names.append(plan.add_student(student))
        return tuple(names)

    def labelling(kind: str, round_: int) -> str:
        makers: tuple[str, ...] = ()
        if kind not in UNASKED:
            makers = ensemble(programme.kind(round_ - 1), round_ - 1, _tree(programme))
        everyone = frozenset(range(folds))
        name = f"{model_name(_tree(programme), kind, round_, 0, out, NOBODY)}-to-all"
        measured = ((makers, DEVELOPMENT),) if makers else ()
        return plan.add_labelling(
            Labelling(
                name,
                kind,
                round_,
                0,
                out,
                NOBODY,
                everyone,
                makers,
                measured,
                with_own_ratings=True,
            )
        )

    for kind, round_ in programme.ensembles():
        names = ensemble(kind, round_, MAIN)
        plan.members[kind, round_] = {(k, DEVELOPMENT): name for k, name in enumerate(names)}
    return plan


# The proved scheme

MAIN, SMALL = "main", "small"
"""Trees of `ancestry.model_name`: students of the reader, and of the intermediate one."""


def _tree(programme: Programme) -> str:
    """Tree of the students that only label."""
    return SMALL if programme.intermediate else MAIN


class _Crossfit:
    """The recursion of `crossfit_plan`, for one draw of the folds."""

    def __init__(
        self, plan: FitPlan, programme: Programme, repeat: int, measured_folds: int
    ) -> None:
        self.plan, self.programme, self.repeat = plan, programme, repeat
        self.measured_folds = measured_folds
        self.measures: dict[Folds, tuple[int, ...]] = {}

    def student(self, kind: str, round_: int, gold_out: Folds, free_out: Folds, tree: str) -> str:
        """The student S_r(A, C) with all that it descends from."""
        if round_ == 0:
            kind, free_out = GOLD, gold_out
        name = model_name(tree, kind, round_, self.repeat, gold_out, free_out)
        if name not in self.plan.students:
            labels = tuple(
                self.labelling(kind, round_, gold_out, free_out, to)
                for to in (self.places(round_, free_out) if round_ else ())
            )
            small = tree != MAIN
            self.plan.add_student(
                Student(name, kind, round_, self.repeat, gold_out, free_out, labels, small)
            )
        return name

    def places(self, round_: int, free_out: Folds) -> list[int]:
        """Folds that round 1 labels one by one, or parts that later rounds do."""
        folds, parts = self.plan.folds, self.plan.parts
        places = range(folds) if round_ == 1 else range(folds, folds + parts)
        return [place for place in places if place not in free_out]

    def labelling(self, kind: str, round_: int, gold_out: Folds, free_out: Folds, to: int) -> str:
        """Labels of the people without gold of a fold or part, for the student S_r(A, C)."""
        tree = _tree(self.programme)
        without = free_out | {to}
        students: tuple[str, ...] = ()
        measured: list[tuple[tuple[str, ...], int]] = []
        if kind not in UNASKED:
            before = self.programme.kind(round_ - 1)
            students = (self.student(before, round_ - 1, gold_out, without, tree),)
            for fold in self.measuring(gold_out):
                fold_out = frozenset({fold})
                maker = self.student(
                    before, round_ - 1, gold_out | fold_out, without | fold_out, tree
                )
                measured.append(((maker,), fold))
        stem = model_name(tree, kind, round_, self.repeat, gold_out, without)
        out = frozenset({to})
        return self.plan.add_labelling(
            Labelling(
                f"{stem}-to{to}",
                kind,
                round_,
                self.repeat,
                gold_out,
                free_out,
                out,
                students,
                tuple(measured),
            )
        )

    def measuring(self, gold_out: Folds) -> tuple[int, ...]:
        """Folds outside `gold_out` on whose gold a label model is measured.

        Those come first with which others leave out the same folds already, so that students
        are shared; then the next folds around the circle.
        """
        if gold_out not in self.measures:
            planned = {out | {fold} for out, folds in self.measures.items() for fold in folds}
            folds = self.plan.folds
            others = [f % folds for f in range(max(gold_out) + 1, max(gold_out) + 1 + folds)]
            others = [fold for fold in others if fold not in gold_out]
            others.sort(key=lambda fold: gold_out | {fold} not in planned)  # stable
            self.measures[gold_out] = tuple(others[: self.measured_folds])
        return self.measures[gold_out]


def crossfit_plan(programme: Programme, folds: int, repeats: int, measured_folds: int) -> FitPlan:
    """The scheme ``crossfit`` with as few fits as `measured_folds` allows.

    Args:
        programme: rounds and ablation.
        folds: each gives a final model that descends from nobody of it.
        repeats: draws of the folds.
        measured_folds: folds with gold on which each label model is measured.
    """
    plan = FitPlan(CROSSFIT, folds, max(programme.rounds, 1))
    for repeat in range(repeats):
        recursion = _Crossfit(plan, programme, repeat, measured_folds)
        for kind, round_ in programme.ensembles():
            members = plan.members.setdefault((kind, round_), {})
            for fold in range(folds):
                out = frozenset({fold})
                members[repeat, fold] = recursion.student(kind, round_, out, out, MAIN)
    return plan


def every_fit(rounds: int, folds: int, repeats: int, ablation: Iterable[str] = ()) -> int:
    """Fits of the recursion of `chain` for the same rounds: what `crossfit_plan` saves.

    There every fold is relabelled apart, label models are measured on all folds, and the final
    models are calibrated by students that leave two folds out.
    """
    keys: set[tuple[str, int, Folds, Folds]] = set()

    def student(kind: str, round_: int, gold_out: Folds, free_out: Folds) -> None:
        if round_ == 0:
            kind, free_out = GOLD, gold_out
        key = (kind, round_, gold_out, free_out)
        if key in keys:
            return
        keys.add(key)
        if round_ == 0:
            return
        for to in set(range(folds)) - free_out:
            if kind in UNASKED:
                continue
            before, without = (POSTERIOR if round_ > 1 else GOLD), free_out | {to}
            student(before, round_ - 1, gold_out, without)
            for fold in set(range(folds)) - gold_out:
                student(before, round_ - 1, gold_out | {fold}, without | {fold})

    ensembles = [(POSTERIOR, round_) for round_ in range(rounds + 1)]
    for kind, round_ in [*ensembles, *((kind, 1) for kind in ablation)]:
        for fold in range(folds):
            for second in range(folds):
                out = frozenset({fold, second})  # alone, and the pairs that calibrate it
                student(kind, round_, out, out)
    return repeats * len(keys)
