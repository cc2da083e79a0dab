"""The README's course with one's own data, by verb: 200 people who gave six short answers each.

    python -m bench run speed.own_data [--reader smollm2] [--held-to avx2]

Import, inspect, lock, train, evaluate and score by the command line, each in a process of its own,
as somebody would type them. Packages and readers are in place, no state is kept from before. Wall
and processor seconds of each verb, its processes included. `--held-to avx2` keeps the libraries
from AVX-512 and AMX and the reader in float32, as `--dtype auto` is on a processor without them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.common import load_checkins, tell
from bench.protocol import run_module
from bench.speed.arithmetic import AVX2
from leadline.readers.fetch import leadline_home

TAKES = "the check-ins, readers smollm2 and minilm; minutes"
LEADLINE = [sys.executable, "-c", "from leadline.cli.app import main; main()"]


def options(parser: argparse.ArgumentParser) -> None:
    """Which reader, and held to which instructions."""
    parser.add_argument("--reader", default="smollm2")
    parser.add_argument("--held-to", choices=("avx2",))


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    parts = ["own_data", *([] if args.reader == "smollm2" else [args.reader])]
    return "_".join([*parts, *([args.held_to] if args.held_to else [])])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the course once."""
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        people, messages = _write_sources(here)
        home = here / "home"
        home.mkdir(mode=0o700)
        (home / "readers").symlink_to(leadline_home() / "readers")
        environment = {**os.environ, "LEADLINE_HOME": str(home), **(AVX2 if args.held_to else {})}
        verbs = {}
        for verb, words in _course(args).items():
            tell(verb)
            verbs[verb] = _timed(words, here, environment)
    return {
        "people": people,
        "messages": messages,
        "reader": args.reader,
        "held_to": args.held_to,
        "verbs": verbs,
        "wall_seconds": round(sum(verb["wall_seconds"] for verb in verbs.values()), 1),
        "cpu_seconds": round(sum(verb["cpu_seconds"] for verb in verbs.values()), 1),
        "load_average": round(os.getloadavg()[1], 1),
    }


def _write_sources(here: Path) -> tuple[int, int]:
    """A file of messages and one of PHQ-9s, as the README has them; people and messages."""
    people = load_checkins()
    with (here / "chats.jsonl").open("w", encoding="utf-8") as stream:
        for person in people:
            for number, message in enumerate(person.messages):
                row = {
                    "person_id": person.person,
                    "conversation_id": "1",
                    "turn": number,
                    "role": message.role,
                    "text": message.text,
                }
                stream.write(json.dumps(row) + "\n")
    with (here / "phq9.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["person_id", "total"])
        table.writerows([person.person, int(person.total)] for person in people)
    return len(people), sum(len(person.messages) for person in people)


def _course(args: argparse.Namespace) -> dict[str, list[str]]:
    reader = ["--reader", args.reader, *(["--dtype", "float32"] if args.held_to else [])]
    return {
        "import": ["import", "chats.jsonl", "--phq9", "phq9.csv", "--out", "cohort"],
        "inspect": ["inspect", "cohort"],
        "lock": ["lock", "cohort", "--share", "0.2"],
        "train": ["train", "cohort", "--out", "run", *reader],
        "evaluate": ["evaluate", "run", "--cohort", "cohort", "--open-locked-test"],
        "score": ["score", "cohort", "--run", "run", "--out", "estimates.parquet"],
    }


def _timed(words: list[str], here: Path, environment: dict[str, str]) -> dict[str, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*LEADLINE, *words], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"leadline {words[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_seconds": round(wall, 1), "cpu_seconds": round(used, 1)}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The sum, and each verb."""
    by_verb = ", ".join(
        f"{verb} {used['wall_seconds']:.0f} ({used['cpu_seconds']:.0f})"
        for verb, used in results["verbs"].items()
    )
    held = f", held to {results['held_to'].upper()}, float32" if results["held_to"] else ""
    return [
        (
            f"The README's course with {results['people']} people, {results['reader']}{held}",
            f"{results['wall_seconds']:.0f} s of wall time, {results['cpu_seconds']:.0f} s of "
            f"processor time; by verb, processor seconds in brackets: {by_verb}; load of the "
            f"machine {results['load_average']}",
        )
    ]


if __name__ == "__main__":
    run_module()
