"""Time to evaluate made-up predictions of eight models, and to write the report.

    python bench/evaluate_speed.py

Prints one line a size: people, labels, repeats, resamples, seconds of each step.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tests.support.predictions import predictions

from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.report import render_report
from leadline.evaluate.results import evaluate_predictions

NOISE = {
    "leadline": 0.5,
    **{f"model {n}": 0.5 + 0.1 * n for n in range(1, 7)},
    "constant": None,
}


def main() -> None:
    """Time three sizes with the default settings."""
    config = EvaluateConfig()
    print(f"{datetime.now(UTC):%Y-%m-%d} {platform.machine()} {os.cpu_count()} cores")
    print("people  labels  repeats  resamples  evaluate_s  report_s")
    for people, labels, repeats in ((200, 1, 3), (842, 1, 1), (842, 1, 3), (842, 3, 3)):
        table = predictions(people, labels, NOISE, repeats=repeats)
        start = time.perf_counter()
        results = evaluate_predictions(table, config)
        middle = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            render_report(results, table, out=Path(folder) / "report.html")
        end = time.perf_counter()
        print(
            f"{people:6d}  {people * labels:6d}  {repeats:7d}  {config.resamples:9d}  "
            f"{middle - start:10.1f}  {end - middle:8.1f}"
        )


if __name__ == "__main__":
    main()
