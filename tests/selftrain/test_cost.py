"""What a plan takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leadline.errors import LeadlineError
from leadline.finetune.resources import SHAPES, Step, forward_flops, step_flops
from leadline.selftrain.cost import (
    Cost,
    Machine,
    People,
    cheaper_plans,
    mean_tokens,
    plan_cost,
    refuse_over_budget,
)
from leadline.selftrain.plan import CROSSFIT, RAW, TEACHER, Programme, crossfit_plan, paper_plan

SHAPE = SHAPES["smollm2"].cut(2 / 3)
STEP = Step(300, top=1 / 3, checkpointing="none")
MACHINE = Machine(SHAPE, STEP, 2.0, 1e12, "assumed", 3.5, shares_lower=False)
PEOPLE = People(gold=100, free=200, tokens=300.0)
WANTED = Programme(1)


def test_one_member_and_one_round_by_hand():
    cost = plan_cost(paper_plan(WANTED, 5, 1), WANTED, PEOPLE, MACHINE)
    assert cost.count == 2
    assert cost.recursion == 0
    people_trained = 80 + (80 + 200)  # four fifths of gold twice, everyone without it once
    assert cost.tokens_trained == pytest.approx(people_trained * 300 * 2)
    assert cost.tokens_asked == pytest.approx(2 * (20 + 200) * 300)
    operations = cost.tokens_trained * step_flops(SHAPE, STEP) + cost.tokens_asked * forward_flops(
        SHAPE, 300
    )
    assert cost.operations == pytest.approx(operations)
    assert cost.hours == pytest.approx(operations / 1e12 / 3600)


def test_shared_lower_layers_are_counted_once_for_each_person():
    plan = paper_plan(WANTED, 5, 3)
    apart = plan_cost(plan, WANTED, PEOPLE, MACHINE)
    shared = plan_cost(plan, WANTED, PEOPLE, replace(MACHINE, shares_lower=True))
    lower = 13 / 20 * forward_flops(SHAPE, 300)  # seven of twenty layers are adapted
    saved = (apart.tokens_trained + apart.tokens_asked - 300 * 300) * lower
    assert apart.operations - shared.operations == pytest.approx(saved)


def test_parts_and_folds_are_drawn_apart():
    wanted = Programme(2)
    plan = crossfit_plan(wanted, 5, 1, 1)
    cost = plan_cost(plan, wanted, PEOPLE, MACHINE)
    assert cost.recursion == 140
    assert cost.fits == {0: 11, 1: 21, 2: 5}
    by_hand = 0.0
    for student in plan.students.values():
        by_hand += 100 * (1 - len(student.gold_out) / 5)
        if student.round:
            folds = sum(place < 5 for place in student.free_out)
            half = 0.5 if len(student.free_out) > folds else 1.0
            by_hand += 200 * (1 - folds / 5) * half
    assert cost.tokens_trained == pytest.approx(by_hand * 600)


def test_a_first_share_takes_less():
    plan = paper_plan(WANTED, 5, 1)
    half = plan_cost(plan, WANTED, PEOPLE, MACHINE, first_share=0.5)
    whole = plan_cost(plan, WANTED, PEOPLE, MACHINE)
    assert whole.tokens_trained - half.tokens_trained == pytest.approx(100 * 600)


def cost(hours: float, fits: int = 10) -> Cost:
    return Cost({0: fits}, 0, 1e6, 1e6, 1e15, 4.0, hours, "assumed")


def test_the_first_cheaper_plan_within_the_budget_is_named():
    cheaper = [("--no-ablation", cost(9, 8)), ("--rounds 1", cost(4, 5)), ("--members 1", cost(1))]
    with pytest.raises(LeadlineError, match=r"about 12\.0 hours.*--budget-hours 5") as refusal:
        refuse_over_budget(cost(12), 5, cheaper)
    assert refusal.value.remedy == "Within it: --rounds 1 (5 fits, 4.0 hours)."
    with pytest.raises(LeadlineError) as refusal:
        refuse_over_budget(cost(12), 0.5, cheaper)
    assert "The least takes 1.0 hours" in refusal.value.remedy
    refuse_over_budget(cost(12), 12.0, cheaper)
    refuse_over_budget(cost(12), 0.0, cheaper)  # no budget was named


def test_each_cheaper_plan_takes_less_than_the_one_that_is_refused():
    wanted = Programme(2, (RAW, TEACHER))
    plan = crossfit_plan(wanted, 5, 1, 2)
    whole = plan_cost(plan, wanted, PEOPLE, MACHINE)
    found = cheaper_plans(wanted, 5, 1, 2, 3, CROSSFIT)
    hours = [plan_cost(other, smaller, PEOPLE, MACHINE).hours for _, smaller, other in found]
    assert max(hours) < whole.hours
    assert [words for words, *_ in found][:2] == [
        "--no-ablation",
        "--no-ablation --measured-folds 1",
    ]
    assert min(hours) == hours[-1]


def test_lines_say_fits_tokens_memory_and_hours():
    text = "\n".join(cost(1.25).lines())
    assert "10 fits (10 of round 0)" in text
    assert "4.0 GiB" in text
    assert "1.2 hours on one device (assumed)" in text


def test_mean_tokens_of_nobody_is_zero():
    assert mean_tokens([]) == 0.0
    assert mean_tokens([2, 4]) == 3.0


def test_fits_of_an_intermediate_reader_are_counted_at_its_own_price():
    programme = Programme(1, intermediate=True)
    plan = paper_plan(programme, 5, 2)
    assert len(plan.students) == 6  # two members of gold alone twice, and two of round 1
    dear = plan_cost(plan, programme, PEOPLE, MACHINE)
    half = replace(MACHINE, operations=2 * MACHINE.operations)
    cheap = plan_cost(plan, programme, PEOPLE, MACHINE, small=(PEOPLE, half))
    assert cheap.intermediate_hours is not None
    assert dear.hours - cheap.hours == pytest.approx(cheap.intermediate_hours)
    assert "of them of the intermediate reader" in "\n".join(cheap.lines())
    assert dear.intermediate_hours is None
