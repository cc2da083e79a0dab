"""Seconds until `leadline --help` answers, and for the whole demo.

python -m bench run speed.start [--demo]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from bench.protocol import run_module

TAKES = "seconds; --demo: a minute or two"
RESULT = "start_time"
RUNS = 15
HELP = [sys.executable, "-c", "from leadline.cli.app import main; main()", "--help"]


def options(parser: argparse.ArgumentParser) -> None:
    """Whether the demo is timed as well."""
    parser.add_argument("--demo", action="store_true")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time it."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(HELP, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    figures = {"runs": RUNS, "help_seconds_median": round(statistics.median(seconds), 3),
               "help_seconds_worst": round(max(seconds), 3)}  # fmt: skip
    if args.demo:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            command = [*HELP[:-1], "demo", "--out", f"{folder}/demo"]
            subprocess.run(command, check=True, capture_output=True)
            figures["demo_seconds"] = round(time.perf_counter() - start, 1)
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Help, and the demo where it was timed."""
    median, demo = results["help_seconds_median"], results.get("demo_seconds")
    table = [("`leadline --help`", f"{median:.2f} s (median of {results['runs']}), no torch")]
    if demo is not None:
        table.append(("`leadline demo`, packages in place", f"{demo:.0f} s"))
    return table


if __name__ == "__main__":
    run_module()
