"""From a message to the estimate that can be read: seconds, over HTTP, and those of the reader.

    python -m bench run speed.freshness [--messages 40]

`leadline monitor serve` and `leadline monitor score` as processes; a client sends one message at a
time and asks for the person's estimates until the new one is there. The reader is a tiny stand-in,
so what is measured is everything else; its own time is that of `RunningScorer` on one message.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import tell
from bench.monitored import Scene, scene
from bench.protocol import run_module
from bench.served import DATABASES, Service, durable_store, key_words, serving
from leadline.running.scorer import RunningConfig, RunningScorer, TimedMessage
from leadline.runs.checkpoint import run_identity
from leadline.store import times

TAKES = "PostgreSQL for its half; two minutes"
RESULT = "monitor_freshness"
START = 1_760_000_000_000_000
TEXT = "I hardly slept again and could not get out of bed for work this morning."
PATIENCE = 30.0  # seconds


def options(parser: argparse.ArgumentParser) -> None:
    """How many messages, and on which databases."""
    parser.add_argument("--messages", type=int, default=40)
    parser.add_argument("--databases", default=",".join(DATABASES))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds to the estimate, quantiles over messages."""
    figures: dict[str, Any] = {"messages": args.messages}
    with tempfile.TemporaryDirectory() as folder:
        made = scene(Path(folder), 1)
        figures["reader"] = _quantiles(_reader_seconds(made, args.messages))
        for kind in args.databases.split(","):
            model = (run_identity(made.run), str(made.run))
            with durable_store(kind, model) as (store, key), serving(store, key, made.home) as web:
                states = key.parent / "states"
                words = ["monitor", "score", *key_words(store, key), "--states", str(states)]
                web.nursery.start(words, key.parent / "score.log")
                figures[kind] = _quantiles(_seconds(web, args.messages))
            tell(kind, figures[kind])
    return figures


def _seconds(service: Service, messages: int) -> list[float]:
    client = service.client()
    service.call(client, "PUT /v1/people/ada", {"consent": {"estimate": True}})
    rng = np.random.default_rng(0)
    took = []
    for number in range(messages):
        time.sleep(float(rng.uniform(0, 0.7)))  # at any moment of the scorer's pause
        moment = (times.moment(START) + timedelta(hours=number)).isoformat()
        body = {"source": "app", "id": str(number), "person": "ada", "conversation": "c",
                "role": "user", "time": moment, "text": TEXT}  # fmt: skip
        begun = time.perf_counter()
        service.call(client, "POST /v1/messages", {"messages": [body]})
        while len(_estimates(service, client)) <= number:
            assert time.perf_counter() - begun < PATIENCE
            time.sleep(0.02)
        took.append(time.perf_counter() - begun)
    client.close()
    return took[1:]  # the first waits for the scorer's start


def _estimates(service: Service, client: Any) -> list[Any]:
    found: list[Any] = service.call(client, "GET /v1/people/ada/estimates")["estimates"]
    return found


def _reader_seconds(made: Scene, messages: int) -> list[float]:
    took = []
    with tempfile.TemporaryDirectory() as folder:
        scorer = RunningScorer(made.run, config=RunningConfig(), folder=Path(folder) / "states",
                               home=made.home)  # fmt: skip
        for number in range(messages):
            moment = times.moment(START) + timedelta(hours=number)
            begun = time.perf_counter()
            scorer.add_many({"ada": [TimedMessage("user", TEXT, moment, "c", 0)]})
            took.append(time.perf_counter() - begun)
        scorer.close()
    return took


def _quantiles(seconds: list[float]) -> dict[str, float]:
    return {name: round(float(np.quantile(seconds, at)), 3)
            for name, at in (("p50", 0.5), ("p95", 0.95))}  # fmt: skip


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Seconds by database, less the reader's."""
    reader = results["reader"]["p95"]
    return [
        (f"message to visible estimate, {name}, {results['messages']} messages, stand-in reader",
         f"p50 {one['p50']:.2f} s, p95 {one['p95']:.2f} s; less the reader's p95 of "
         f"{reader:.2f} s: {one['p95'] - reader:.2f} s")
        for kind, name in DATABASES.items()
        if (one := results.get(kind))
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
