"""Seconds until `leadline --help` answers, and for the whole demo.

python bench/start_time.py [--demo]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from checkins import save

RUNS = 15
HELP = [sys.executable, "-c", "from leadline.cli.app import main; main()", "--help"]


def main() -> None:
    """Time it and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", action="store_true")
    given = parser.parse_args()
    taken = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(HELP, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    found = {"runs": RUNS, "help_seconds_median": round(statistics.median(taken), 3),
             "help_seconds_worst": round(max(taken), 3)}  # fmt: skip
    if given.demo:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            command = [*HELP[:-1], "demo", "--out", f"{folder}/demo"]
            subprocess.run(command, check=True, capture_output=True)
            found["demo_seconds"] = round(time.perf_counter() - start, 1)
    save("start_time", found)


if __name__ == "__main__":
    main()
