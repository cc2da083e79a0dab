"""What a plan of fits takes, worked out before anything is fitted.

Fits are counted by `plan`; people in each are those of its folds; tokens are counted by the
reader's own tokenizer. Operations follow `finetune.resources`, with the layers below the adapted
ones counted once for each person, since all fits share their outputs. Hours are operations over
what the machine does (`finetune.speed`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.finetune.resources import Shape, Step, adapted_layers, forward_flops, step_flops
from leadline.selftrain.plan import (
    CROSSFIT,
    PAPER,
    FitPlan,
    Programme,
    Student,
    crossfit_plan,
    every_fit,
    paper_plan,
)
from leadline.selftrain.widening import share_of_round


@dataclass(frozen=True)
class People:
    """How many people a plan is about, and how much they say.

    Attributes:
        gold, free: open people with gold, and without.
        tokens: of one person, the mean.
    """

    gold: int
    free: int
    tokens: float


@dataclass(frozen=True)
class Cost:
    """What a plan takes.

    Attributes:
        fits: by round of the student.
        recursion: fits of the recursion without its savings; 0 in the scheme ``paper``.
        tokens_trained: of all fits and epochs.
        tokens_asked: of people of whom a student is asked.
        operations: floating-point.
        memory_gib: of a training step at the longest person.
        hours: on one device.
        basis: how the speed behind the hours is known.
        intermediate_hours: of these, those of the smaller reader, None without one.
    """

    fits: Mapping[int, int]
    recursion: int
    tokens_trained: float
    tokens_asked: float
    operations: float
    memory_gib: float
    hours: float
    basis: str
    intermediate_hours: float | None = None

    @property
    def count(self) -> int:
        """All fits."""
        return sum(self.fits.values())

    def lines(self) -> list[str]:
        """The cost in words, a line each."""
        by_round = ", ".join(f"{n} of round {r}" for r, n in sorted(self.fits.items()))
        saved = f"; the full recursion would take {self.recursion}" if self.recursion else ""
        small = ""
        if self.intermediate_hours is not None:
            small = f", {self.intermediate_hours:.1f} of them of the intermediate reader"
        return [
            f"{self.count} fits ({by_round}){saved}",
            f"{self.tokens_trained / 1e6:,.1f} million tokens trained on, "
            f"{self.tokens_asked / 1e6:,.1f} read",
            f"{self.memory_gib:.1f} GiB for a training step at the longest conversation (computed)",
            f"{self.hours:.1f} hours on one device{small} ({self.basis})",
        ]

    def to_plain(self) -> dict[str, Any]:
        """The cost as JSON values."""
        return {
            "fits": self.count,
            "fits_by_round": {str(r): n for r, n in sorted(self.fits.items())},
            "fits_of_the_full_recursion": self.recursion,
            "tokens_trained": round(self.tokens_trained),
            "tokens_read": round(self.tokens_asked),
            "memory_gib": self.memory_gib,
            "hours": self.hours,
            "intermediate_hours": self.intermediate_hours,
            "basis": self.basis,
        }


@dataclass(frozen=True)
class Machine:
    """A reader on a machine, as far as costs go.

    Attributes:
        shape: of the reader, cut above the layer that is read.
        step: one training step.
        epochs: of a fit.
        operations: floating-point operations a second.
        basis: how that is known.
        memory_gib: of a training step at the longest person.
        shares_lower: whether outputs of the layers below the adapted ones are shared by all fits.
    """

    shape: Shape
    step: Step
    epochs: float
    operations: float
    basis: str
    memory_gib: float
    shares_lower: bool


@dataclass(frozen=True)
class _Load:
    """Tokens of the fits of one reader."""

    trained: float
    read: float
    operations: float
    hours: float


def plan_cost(
    plan: FitPlan,
    programme: Programme,
    people: People,
    machine: Machine,
    first_share: float = 1.0,
    small: tuple[People, Machine] | None = None,
) -> Cost:
    """What a plan takes on a machine; see the module's description.

    Args:
        plan: students and labellings.
        programme: what it was made for.
        people: how many, and how much they say.
        machine: the reader where it runs.
        first_share: of the people without gold that enter the first round.
        small: the same of the intermediate reader, where there is one.
    """

    def share(student: Student) -> float:
        return share_of_round(student.round, programme.rounds, first_share)

    students = list(plan.students.values())
    full_size = [student for student in students if small is None or not student.intermediate]
    loads = [_load(plan, full_size, people, machine, share)]
    if small is not None:
        others = [student for student in students if student.intermediate]
        loads.append(_load(plan, others, *small, share))
    bases = [machine.basis, *([small[1].basis] if small is not None else [])]
    return Cost(
        fits=Counter(student.round for student in students),
        recursion=_recursion(plan, programme),
        tokens_trained=sum(load.trained for load in loads),
        tokens_asked=sum(load.read for load in loads),
        operations=sum(load.operations for load in loads),
        memory_gib=machine.memory_gib,
        hours=sum(load.hours for load in loads),
        basis="; ".join(bases),
        intermediate_hours=loads[1].hours if small is not None else None,
    )


def _load(
    plan: FitPlan,
    students: Sequence[Student],
    people: People,
    machine: Machine,
    share: Callable[[Student], float],
) -> _Load:
    trained, questioned = 0.0, 0.0
    for student in students:
        free = _share(plan, student.free_out)
        gold = _share(plan, frozenset(f for f in student.gold_out if f < plan.folds))
        trained += people.gold * gold
        trained += people.free * free * share(student) if student.round else 0.0
        asks_all = student.round == 0 or plan.scheme == PAPER
        questioned += people.gold * (1 - gold) + people.free * (1.0 if asks_all else 1 - free)
    trained *= people.tokens * machine.epochs
    questioned *= people.tokens
    operations = _operations(trained, questioned, people, machine) if students else 0.0
    return _Load(trained, questioned, operations, operations / machine.operations / 3600)


def _share(plan: FitPlan, out: frozenset[int]) -> float:
    """Share of people who are in none of these folds and parts, which are drawn apart."""
    folds = sum(place < plan.folds for place in out)
    parts = len(out) - folds
    return (1 - folds / plan.folds) * (1 - parts / plan.parts if parts else 1.0)


def _recursion(plan: FitPlan, programme: Programme) -> int:
    if plan.scheme == PAPER:
        return 0
    repeats = len({repeat for members in plan.members.values() for repeat, _ in members})
    return every_fit(programme.rounds, plan.folds, repeats, programme.ablation)


def _operations(
    tokens_trained: float, tokens_asked: float, people: People, machine: Machine
) -> float:
    shape, step = machine.shape, machine.step
    forward, whole_step = forward_flops(shape, step.tokens), step_flops(shape, step)
    if not machine.shares_lower:
        return tokens_trained * whole_step + tokens_asked * forward
    lower = 1.0 - adapted_layers(shape.depth, step.top) / shape.depth
    everyone = (people.gold + people.free) * people.tokens
    once = everyone * forward * lower
    return (
        once
        + tokens_trained * (whole_step - forward * lower)
        + tokens_asked * forward * (1 - lower)
    )


def cheaper_plans(
    programme: Programme, folds: int, repeats: int, measured_folds: int, members: int, scheme: str
) -> list[tuple[str, Programme, FitPlan]]:
    """Plans that take less, with the flags that ask for each, what loses least first."""
    out = []

    def add(words: str, smaller: Programme, to: str, count: int, measured: int) -> None:
        plan = (
            paper_plan(smaller, folds, count)
            if to == PAPER
            else crossfit_plan(smaller, folds, repeats, measured)
        )
        out.append((words, smaller, plan))

    bare = replace(programme, ablation=())
    if programme.ablation:
        add("--no-ablation", bare, scheme, members, measured_folds)
    if scheme == CROSSFIT and measured_folds > 1:
        add("--no-ablation --measured-folds 1", bare, scheme, members, 1)
    if programme.rounds > 1:
        single = replace(bare, rounds=1)
        add("--no-ablation --measured-folds 1 --rounds 1", single, scheme, members, 1)
    if scheme == CROSSFIT:
        add("--no-ablation --scheme paper", bare, PAPER, members, 1)
    add("--no-ablation --scheme paper --rounds 1 --members 1", replace(bare, rounds=1), PAPER, 1, 1)
    return out


def refuse_over_budget(
    cost: Cost, budget_hours: float, alternatives: Sequence[tuple[str, Cost]]
) -> None:
    """Raise if a plan takes longer than the budget, and name the best plan that does not.

    Raises:
        LeadlineError: it does.
    """
    if not budget_hours or cost.hours <= budget_hours:
        return
    fitting = [(words, plan) for words, plan in alternatives if plan.hours <= budget_hours]
    if fitting:
        words, cheaper = fitting[0]
        remedy = f"Within it: {words} ({cheaper.count} fits, {cheaper.hours:.1f} hours)."
    else:
        least = min((plan.hours for _, plan in alternatives), default=cost.hours)
        remedy = f"The least takes {least:.1f} hours: use a smaller reader or fewer people."
    raise LeadlineError(
        f"This plan takes about {cost.hours:.1f} hours, more than --budget-hours {budget_hours:g}: "
        f"{cost.count} fits.",
        remedy=remedy,
    )


def mean_tokens(tokens: Sequence[int]) -> float:
    """Tokens of a person, the mean; 0 of nobody."""
    counts: Array = np.array(tokens, dtype=np.float64)
    return float(counts.mean()) if len(counts) else 0.0
