"""The request store at 100,000 requests: time to resume after a kill, and peak memory.

A first process plans all requests, answers half of them and is killed with SIGKILL in the
middle of the work. A second one, timed, opens the store, plans everything again (which must
add nothing), recovers, and takes its first requests; then a third finishes and writes the
labels table. Texts are made up; each of 33,334 readings has about 3,000 characters and three
draws.

Run: python bench/label_store.py [--requests 100000]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from leadline.teacher.label_table import teacher_labels
from leadline.teacher.request_store import Outcome, Planned, RequestStore, open_store
from leadline.teacher.rubric import ITEM_NAMES, load_rubric, system_prompt
from leadline.teacher.transcript import TeacherReading

TEACHER = '{"model": "bench"}'
DRAWS = 3
REPLY = json.dumps(
    {
        **{name: {"quote": "a few words", "score": 1, "confidence": "low"} for name in ITEM_NAMES},
        "total": 9,
    }
)


def planned(requests: int) -> Iterator[Planned]:
    """Made-up requests, the same in every process."""
    system = system_prompt(load_rubric())
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    for number in range(-(-requests // DRAWS)):
        transcript = "\n".join(f"Person: day {number} line {line} " * 4 for line in range(32))
        reading = TeacherReading(f"person-{number}", moment, ())
        draws = min(DRAWS, requests - number * DRAWS)
        yield Planned(TEACHER, system, (), transcript, draws, reading)


def answer(store: RequestStore, upto: int) -> None:
    """Settle pending requests until `upto` are done."""
    finished = store.counts(TEACHER)["done"]
    while finished < upto and (todo := store.pending(TEACHER, 500)):
        store.send([(item.key, 0.01) for item in todo])
        outcome = Outcome("done", REPLY, input_tokens=1500, output_tokens=500, cost=0.01)
        store.settle([(item.key, outcome) for item in todo])
        finished += len(todo)


def child(step: str, path: Path, requests: int) -> None:
    """One of the three processes; prints its figures as JSON."""
    start = time.perf_counter()
    figures: dict[str, float] = {}
    with open_store(path) as store:
        figures["new"] = store.plan(planned(requests))
        figures["plan_s"] = time.perf_counter() - start
        if step == "begin":
            answer(store, requests // 2)
            todo = store.pending(TEACHER, 500)
            store.send([(item.key, 0.01) for item in todo])
            print(json.dumps(figures), flush=True)
            time.sleep(600)  # until it is killed
        store.recover(TEACHER, repeat=("failed",), resend_lost=True)
        first = store.pending(TEACHER, 8)
        figures |= {"resume_s": time.perf_counter() - start, "first": len(first)}
        figures["resume_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if step == "finish":
            answer(store, requests)
            figures["answered_s"] = time.perf_counter() - start
            figures["labels"] = teacher_labels(store).height
            figures["finished_s"] = time.perf_counter() - start
        figures["done"] = store.counts(TEACHER)["done"]
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures), flush=True)


def launch(step: str, path: Path, requests: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--step", step, "--store", str(path)]
    process = subprocess.Popen(
        [*command, "--requests", str(requests)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if step == "begin":
        process.send_signal(signal.SIGKILL)
    process.wait()
    figures: dict[str, float] = json.loads(line)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--step", choices=("begin", "resume", "finish"))
    parser.add_argument("--store", type=Path)
    args = parser.parse_args()
    if args.step:
        child(args.step, args.store, args.requests)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.sqlite"
        report = {step: launch(step, path, args.requests) for step in ("begin", "resume", "finish")}
        report["store"] = {"mb_on_disk": path.stat().st_size / 1e6}
    print(f"{datetime.now(UTC):%Y-%m-%d}  {platform.machine()}  Python {platform.python_version()}")
    print(json.dumps(report, indent=2))
    assert report["resume"]["new"] == 0
    assert report["finish"]["labels"] == args.requests


if __name__ == "__main__":
    main()
