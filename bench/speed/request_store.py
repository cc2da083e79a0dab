"""The request store at 100,000 requests: time to resume after a kill, and peak memory.

A first process plans all requests, answers half of them and is killed with SIGKILL in the
middle of the work. A second one, timed, opens the store, plans everything again (which must
add nothing), recovers, and takes its first requests; then a third finishes and writes the
labels table. Texts are made up; each of 33,334 readings has about 3,000 characters and three
draws.

    python -m bench run speed.request_store [--requests 100000]
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common import ROOT
from bench.protocol import run_module
from leadline.teacher.label_table import teacher_labels
from leadline.teacher.request_store import Outcome, Planned, RequestStore, open_store
from leadline.teacher.rubric import ITEM_NAMES, load_rubric, system_prompt
from leadline.teacher.transcript import TeacherReading

TAKES = "200 MB of disk; a minute"
RESULT = None
CHILD = """
import sys
from pathlib import Path
from bench.speed.request_store import child
step, path, requests = sys.argv[1:]
child(step, Path(path), int(requests))
"""
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
    """Start one of the processes, kill the first; its figures."""
    command = [sys.executable, "-c", CHILD, step, str(path), str(requests)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    line = process.stdout.readline()
    if step == "begin":
        process.send_signal(signal.SIGKILL)
    process.wait()
    figures: dict[str, float] = json.loads(line)
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    """How many requests."""
    parser.add_argument("--requests", type=int, default=100_000)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Plan, kill, resume, finish; exits where a request was lost or planned twice."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.sqlite"
        steps = {step: launch(step, path, args.requests) for step in ("begin", "resume", "finish")}
        steps["store"] = {"mb_on_disk": path.stat().st_size / 1e6}
    assert steps["resume"]["new"] == 0
    assert steps["finish"]["labels"] == args.requests
    return {"requests": args.requests, **steps}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Planning, resuming after the kill, finishing."""
    begin, resume, finish = (results[step] for step in ("begin", "resume", "finish"))
    store = f"request store at {results['requests']:,} requests"
    return [
        (f"{store}, planning", f"{begin['plan_s']:.1f} s"),
        (f"{store}, first requests after a SIGKILL",
         f"{resume['resume_s']:.1f} s, {resume['resume_mb']:.0f} MB"),
        (f"{store}, finishing the rest and its labels",
         f"{finish['peak_mb']:.0f} MB, {results['store']['mb_on_disk']:.0f} MB on disk"),
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
