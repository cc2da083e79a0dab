"""What it costs to hold a cohort against its manifest, beside the import that made it.

Makes a table as `speed.importing` does and imports it in a process of its own; then another process
does what every verb does before it reads a cohort (`check_cohort`: SHA-256 of each file, read in
pieces, columns, heights), and a third `leadline verify`. The median of some rounds. The files have
just been written, so they are in memory: a cold disk costs the time of reading them once more.

    python -m bench run speed.verification --turns 10000000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.common import ROOT, tell
from bench.protocol import run_module
from bench.speed.importing import make_table

TAKES = "2 GB of disk and some minutes for 10 million turns"
RESULT = "verification"

STEPS = {
    "import": (
        "from leadline.importing.importing import import_files\n"
        "from leadline.sources.config import ImportConfig\n",
        "import_files(source, ImportConfig(), out)",
    ),
    "check": ("from leadline.cohort.store import check_cohort\n", "check_cohort(out)"),
    "verify": ("from leadline.runs.verify import verify\n", "assert not verify(out).wrong"),
}
"""What is measured: what it imports, which does not count, and what it does."""

CHILD = """
import json, sys, time
from pathlib import Path
{imports}
source, out = map(Path, sys.argv[1:])
start, cpu = time.perf_counter(), time.process_time()
{work}
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu]))
"""


def options(parser: argparse.ArgumentParser) -> None:
    """How large the cohort is."""
    parser.add_argument("--turns", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many")
    parser.add_argument("--folder", type=Path, default=None, help="where to work")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and processor seconds of each step."""
    figures: dict[str, list[list[float]]] = {name: [] for name in STEPS}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name).resolve()
        source, out = folder / "turns.parquet", folder / "cohort"
        make_table(source, args.turns, shuffled=False)
        for _ in range(args.rounds):
            for step in STEPS:
                figures[step].append(seconds_of(step, source, out))
                tell(f"{step}: {figures[step][-1]}")
            size = sum(file.stat().st_size for file in out.glob("*.parquet"))
            shutil.rmtree(out)
    return {
        "turns": args.turns,
        "rounds": args.rounds,
        "megabytes": round(size / 1e6),
        **{
            step: {
                "seconds": round(median(entry[0] for entry in entries), 3),
                "processor_seconds": round(median(entry[1] for entry in entries), 3),
            }
            for step, entries in figures.items()
        },
    }


def seconds_of(step: str, source: Path, out: Path) -> list[float]:
    """Seconds and processor seconds of a step in a process of its own."""
    imports, work = STEPS[step]
    child = [sys.executable, "-c", CHILD.format(imports=imports, work=work), str(source), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(child, check=True, capture_output=True, text=True, env=environment)
    figures: list[float] = json.loads(done.stdout)
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Each step beside the import."""
    whole = results["import"]["seconds"]
    cohort = f"a cohort of {results['turns']:,} turns ({results['megabytes']:,} MB)"
    names = {"check": "checking", "verify": "`leadline verify` of"}
    return [
        (
            f"{names[step]} {cohort}",
            f"{results[step]['seconds']:.2f} s, {results[step]['seconds'] / whole:.1%} of its "
            f"import ({whole:.1f} s)",
        )
        for step in names
    ]


if __name__ == "__main__":
    run_module()
