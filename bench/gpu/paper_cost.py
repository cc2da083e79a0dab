"""What the protocol of docs/paper.md takes with a reader of 27B weights: computed, not measured.

Fits, tokens and hours are those that `leadline selftrain` says before it starts
(`selftrain.cost`), at the speed that a recipe states; US dollars of the teacher are what
`leadline label --dry-run` expects (`teacher.label.estimate`), at a price that is given: Leadline
keeps no price list.

    python -m bench run gpu.paper_cost [--gold N --free N --tokens N --price-in X --price-out X]
"""

from __future__ import annotations

import argparse
from typing import Any

from bench.protocol import run_module
from leadline.cohort.timeline import Message
from leadline.finetune.resources import PEAK, SHAPES
from leadline.runs.config import TrainConfig
from leadline.runs.recipe import read_tables, recipe_settings, shipped, step_of
from leadline.selftrain.cost import Machine, People, plan_cost
from leadline.selftrain.plan import RAW, TEACHER, Programme, crossfit_plan, paper_plan
from leadline.teacher.config import BYTES_PER_TOKEN, LabelConfig
from leadline.teacher.label import estimate, plan_requests
from leadline.teacher.transcript import TeacherReading

TAKES = "a second"
RESULT = "paper_cost"
ONE, EIGHT = "qwen3.5-27b-1xh100", "qwen3.5-27b-8xh100"
ABLATION = (RAW, TEACHER)
PLANS = (
    ("--scheme paper --rounds 1 --members 1 --no-ablation", ONE),
    ("--scheme paper --rounds 2 --members 3 --no-ablation", ONE),
    ("--scheme paper --rounds 2 --members 3", ONE),
    ("--scheme paper --rounds 2 --members 3", EIGHT),
    ("--scheme crossfit --rounds 1 --no-ablation", EIGHT),
    ("--scheme crossfit --rounds 2 --no-ablation", EIGHT),
)
"""Flags of `leadline selftrain`, and the recipe."""

REASONING = ("off", "medium", "high")


def machine(recipe: str, tokens: int) -> tuple[Machine, TrainConfig, int]:
    """A recipe as `selftrain.cost` sees it, its settings, and its devices."""
    config = TrainConfig(**recipe_settings(recipe))
    resources = read_tables(shipped()[recipe])["resources"]
    (share,) = config.layer_numbers()
    devices = int(resources["devices"])
    speed = devices * PEAK[resources["device"]] * resources["utilisation"]
    return (
        Machine(
            shape=SHAPES[resources["shape"]].cut(float(share)),
            step=step_of(config, resources, tokens),
            epochs=config.epochs,
            operations=speed,
            basis=f"{resources['utilisation']:.0%} of the peak assumed",
            memory_gib=resources["memory_gib"]["value"],
            shares_lower=config.adapt == "lora",
        ),
        config,
        devices,
    )


def one_plan(flags: str, recipe: str, args: argparse.Namespace) -> dict[str, Any]:
    """What a plan takes on the machine of a recipe."""
    words = flags.split()
    rounds = int(words[words.index("--rounds") + 1])
    programme = Programme(rounds, () if "--no-ablation" in words else ABLATION)
    how, config, devices = machine(recipe, args.tokens)
    if "paper" in words:
        plan = paper_plan(programme, config.folds, int(words[words.index("--members") + 1]))
    else:
        plan = crossfit_plan(programme, config.folds, 1, 1)
    cost = plan_cost(plan, programme, People(args.gold, args.free, args.tokens), how)
    return {"flags": flags, "recipe": recipe, "devices": devices,
            "device_hours": devices * cost.hours, **cost.to_plain()}  # fmt: skip


def teacher(reasoning: str, args: argparse.Namespace) -> dict[str, Any]:
    """Tokens and dollars of three draws of everybody who is not locked."""
    config = LabelConfig(teacher="anthropic", model="M", reasoning=reasoning,
                         price_in=args.price_in, price_out=args.price_out)  # fmt: skip
    text = "x" * round(args.tokens * BYTES_PER_TOKEN)
    reading = TeacherReading("p", None, (Message("user", text),))
    one = estimate(plan_requests(iter([reading]), config), config)
    people = args.gold + args.free
    return {"reasoning": reasoning, "requests": people * one["requests"],
            "input_tokens": people * one["expected_input_tokens"],
            "output_tokens": people * one["expected_output_tokens"],
            "usd": people * one["expected_usd"],
            "usd_by_batch": people * one["expected_usd"] * config.batch_price}  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """People, how much they say, and the teacher's price."""
    parser.add_argument("--gold", type=int, default=3111, help="people with a PHQ-9, not locked")
    parser.add_argument("--free", type=int, default=3172, help="people without")
    parser.add_argument("--tokens", type=int, default=8192, help="of a person")
    parser.add_argument("--price-in", type=float, default=5.0, help="US dollars a million tokens")
    parser.add_argument("--price-out", type=float, default=25.0)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Compute every plan and every teacher."""
    given = {name: getattr(args, name) for name in
             ("gold", "free", "tokens", "price_in", "price_out")}  # fmt: skip
    return {
        "basis": "computed",
        "given": given,
        "plans": [one_plan(flags, recipe, args) for flags, recipe in PLANS],
        "teachers": [teacher(reasoning, args) for reasoning in REASONING],
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Every plan, then every teacher."""
    plans = [
        (f"`{plan['flags']}` | {plan['devices']} H100",
         f"{plan['fits']} | {plan['tokens_trained'] / 1e6:,.0f} | "
         f"{plan['tokens_read'] / 1e6:,.0f} | {plan['memory_gib']:.1f} | {plan['hours']:,.0f} | "
         f"{plan['device_hours']:,.0f}")
        for plan in results["plans"]
    ]  # fmt: skip
    return plans + [
        (f"`--reasoning {row['reasoning']}`",
         f"{row['requests']:,} | {row['input_tokens'] / 1e6:,.0f} | "
         f"{row['output_tokens'] / 1e6:,.1f} | {row['usd']:,.0f} | {row['usd_by_batch']:,.0f}")
        for row in results["teachers"]
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
