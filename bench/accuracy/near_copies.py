"""One person under two ids among simulated people: who is found, who is taken for a copy, seconds.

    python -m bench run accuracy.near_copies [--people N]

Simulated people share templates, so they are the hard case: strangers who use the same sentences.
First 100 of 600 people (preset `paper`) are doubled, their copies edited or cut, and it is counted
how many are found and how many groups hold different people. Then everyone of a cohort of N people
without copies is looked at: people who are grouped all the same, seconds and memory.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from bench.protocol import run_module
from leadline.cohort.near_copies import near_copies
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

TAKES = "a minute; with --people 100000 three, and 7 GB"
RESULT = "near_copies"
PEOPLE, DOUBLED = 600, 100
AGAIN = "-again"
Turns = list[str]
Cut = Callable[[Turns, random.Random], Turns]


def whole(turns: Turns, _: random.Random) -> Turns:
    return turns


def first_half(turns: Turns, _: random.Random) -> Turns:
    return turns[: (len(turns) + 1) // 2]


def last_third(turns: Turns, _: random.Random) -> Turns:
    return turns[-max(1, len(turns) // 3) :]


def thinned(turns: Turns, draw: random.Random) -> Turns:
    return [turn for turn in turns if draw.random() > 0.3] or turns[:1]


def shuffled(turns: Turns, draw: random.Random) -> Turns:
    return draw.sample(turns, len(turns))


KINDS: dict[str, tuple[float, Cut]] = {
    "word for word": (0.0, whole),
    "10% of the words changed": (0.1, whole),
    "20% of the words changed": (0.2, whole),
    "the first half, 10% changed": (0.1, first_half),
    "the last third, 10% changed": (0.1, last_third),
    "3 of 10 turns missing, 10% changed": (0.1, thinned),
    "turns in another order": (0.0, shuffled),
    "turns in another order, 10% changed": (0.1, shuffled),
}


def edited(text: str, share: float, words: list[str], draw: random.Random) -> str:
    """`text` with a share of its words replaced by words of anybody."""
    return " ".join(draw.choice(words) if draw.random() < share else w for w in text.split())


def turns_table(people: dict[str, Turns]) -> pl.DataFrame:
    """What is needed of a table of turns."""
    rows = [(name, "user", text) for name, turns in people.items() for text in turns]
    return pl.DataFrame(rows, schema=["person_id", "role", "text"], orient="row")


def count_copies(people: dict[str, Turns], kind: str, draw: random.Random) -> dict[str, int]:
    """How many of the doubled people are found, and how many groups hold different people."""
    share, cut = KINDS[kind]
    words = [word for turns in people.values() for text in turns for word in text.split()]
    doubled = draw.sample(sorted(people), DOUBLED)
    copies = {
        name + AGAIN: [edited(text, share, words, draw) for text in cut(people[name], draw)]
        for name in doubled
    }
    groups = near_copies(turns_table(people | copies))
    members: dict[str, set[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, set()).add(name.removesuffix(AGAIN))
    hits = sum(name in groups and groups.get(name + AGAIN) == groups[name] for name in doubled)
    return {"found": hits, "mixed": sum(len(names) > 1 for names in members.values())}


def simulated_turns(people: int, folder: Path) -> pl.DataFrame:
    """The turns of simulated people of preset `paper`."""
    config = preset("paper", people=people, gold=people // 2, locked=people // 10)
    return simulate_cohort(folder / str(people), config).turns


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--people", type=int, default=7000)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        turns = simulated_turns(PEOPLE, Path(folder)).filter(pl.col("role") == "user")
        people: dict[str, Turns] = {}
        for name, text in turns.select("person_id", "text").iter_rows():
            people.setdefault(name, []).append(text)
        kinds = {kind: count_copies(people, kind, draw) for kind in KINDS}
        large = simulated_turns(args.people, Path(folder))
        begin, processor = time.perf_counter(), time.process_time()
        grouped = len(near_copies(large))
        return {
            "kinds": kinds,
            "large": {
                "people": args.people,
                "turns": large.height,
                "grouped": grouped,
                "seconds": round(time.perf_counter() - begin, 1),
                "processor_seconds": round(time.process_time() - processor, 1),
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
            },
        }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Each figure in words."""
    large = results["large"]
    found = [
        (
            f"near-copies of {DOUBLED} of {PEOPLE} simulated people: {kind}",
            f"{counts['found']} found, {counts['mixed']} groups of different people",
        )
        for kind, counts in results["kinds"].items()
    ]
    figure = (
        f"{large['grouped']} grouped, {large['seconds']} s ({large['processor_seconds']} s of "
        f"processor, the machine was shared), {large['peak_gb']} GB at the peak"
    )
    what = f"near-copies among {large['people']:,} simulated people, {large['turns']:,} turns"
    return [*found, (f"{what}, none doubled", figure)]


if __name__ == "__main__":
    run_module()
