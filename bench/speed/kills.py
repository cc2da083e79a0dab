"""SIGKILLs of the service and the scorers at random moments: what is lost, doubled or different.

    python -m bench run speed.kills [--kills 200]

Real processes (`leadline monitor serve`, two of `leadline monitor score`) on SQLite and PostgreSQL.
Two clients send the messages and PHQ-9s of simulated people in small batches, some late and some
twice, until they are answered. Afterwards every message is looked for, each number that was ever
answered is held against its row, and the estimates against `leadline score` of the same messages.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from tests.support.killed import Plan, losses, run_killed
from tests.support.monitored import assert_as_scored, live_store, scored

from bench.common import tell
from bench.monitored import scene
from bench.protocol import run_module
from bench.served import DATABASES
from leadline.cohort.store import read_cohort

TAKES = "PostgreSQL for its half; five minutes"
RESULT = "monitor_kills"


def options(parser: argparse.ArgumentParser) -> None:
    """How many kills, on which databases, of which people."""
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--databases", default=",".join(DATABASES))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Kill and count; exits where something is lost, doubled or differs."""
    figures: dict[str, Any] = {"kills": args.kills}
    with tempfile.TemporaryDirectory() as folder:
        made = scene(Path(folder), args.people)
        expected = scored(made.cohort, made.run, Path(folder))
        cohort = read_cohort(made.cohort)
        figures |= {"messages": cohort.turns.height, "phq9s": cohort.phq9.height}
        for kind in args.databases.split(","):
            place = Path(folder) / kind
            place.mkdir()
            store = live_store(kind, place, made.run)
            happened = run_killed(store, made.cohort, (place, made.home),
                                  Plan(args.kills, seed=args.seed))  # fmt: skip
            found = losses(store, made.cohort, happened["told"])
            assert not any(found.values()), found
            assert_as_scored(store, expected)
            store.close()
            told = happened.pop("told")
            figures[kind] = {**happened, **found, "unanswered": told.unanswered,
                             "answers": dict(told.statuses)}  # fmt: skip
            tell(kind, figures[kind])
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """What was killed, and what of it is missing."""
    return [
        (f"{sum(one['victims'].values())} SIGKILLs, {name}: {one['victims']['web']} of the "
         f"service, {one['victims']['scorer']} of scorers, in {one['seconds']:.0f} s",
         f"{one['lost']} of {results['messages'] + results['phq9s']:,} messages and PHQ-9s lost, "
         f"{one['doubled']} doubled, {one['gaps']} gaps, {one['answers_not_kept']} answers that do "
         f"not hold; {one['unanswered']:,} requests sent again; estimates equal an undisturbed "
         "run (1e-5)")
        for kind, name in DATABASES.items()
        if (one := results.get(kind))
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
