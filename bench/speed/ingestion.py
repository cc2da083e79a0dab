"""Durable messages a second: one a request and batches of 100, 1 and 8 writers, sealed.

    python -m bench run speed.ingestion [--seconds 4]

Through the store (threads of one process) and through real HTTP (`leadline monitor serve` in a
process of its own, clients in another), on SQLite (WAL, synchronous=FULL) and PostgreSQL (fsync,
synchronous commit). A message counts when its answer has come, which is after the commit.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import tell
from bench.protocol import run_module
from bench.served import DATABASES, Service, durable_store, serving, together
from leadline.store import times
from leadline.store.messages import NewMessage, store_messages
from leadline.store.people import PersonChange, put_person
from leadline.store.store import Store

TAKES = "PostgreSQL for its half; two minutes"
RESULT = "monitor_ingestion"
WAYS = ((1, 1), (8, 1), (1, 100), (8, 100))  # writers, messages at once
PEOPLE = 400
TEXT = "I hardly slept again, and in the morning I could not get out of bed for work. " * 2
START = 1_760_000_000_000_000
NUMBERS = itertools.count()


def options(parser: argparse.ArgumentParser) -> None:
    """How long each way is measured, and on which databases."""
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--databases", default=",".join(DATABASES))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Each way on each database."""
    figures: dict[str, Any] = {"seconds": args.seconds, "characters": len(TEXT)}
    for kind in args.databases.split(","):
        figures[kind] = {}
        with durable_store(kind) as (store, key), tempfile.TemporaryDirectory() as home:
            store.database.write(partial(_agree, store=store))
            figures[kind]["store"] = _all_ways(partial(_through_store, store), args.seconds, kind)
            with serving(store, key, Path(home)) as service:
                figures[kind]["http"] = _all_ways(
                    partial(_through_http, service), args.seconds, f"{kind}, HTTP"
                )
    return figures


def _agree(connection: Any, store: Store) -> None:
    for number in range(PEOPLE):
        change = PersonChange(f"person-{number}", consent={"estimate": True})
        put_person(connection, store.vault, change, START)


def _all_ways(
    begin: Callable[[int, float], Callable[[], list[float]]], seconds: float, name: str
) -> list[dict[str, Any]]:
    ways = []
    for writers, size in WAYS:
        latencies, took = together([begin(size, seconds) for _ in range(writers)])
        ways.append({
            "writers": writers, "batch": size,
            "per_second": round(len(latencies) * size / took, 1),
            "p50_ms": round(float(np.quantile(latencies, 0.5)) * 1e3, 2),
            "p95_ms": round(float(np.quantile(latencies, 0.95)) * 1e3, 2),
        })  # fmt: skip
        tell(name, ways[-1])
    return ways


def timed(seconds: float, work: Callable[[], None]) -> list[float]:
    """Seconds of each time that it was done, until time is over."""
    took, end = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        work()
        took.append(time.perf_counter() - begun)
    return took


def _through_store(store: Store, size: int, seconds: float) -> Callable[[], list[float]]:
    def send() -> None:
        batch = [_message() for _ in range(size)]
        work = partial(store_messages, vault=store.vault, batch=batch, now=times.now())
        outcomes = store.database.write(work)
        assert {outcome.status for outcome in outcomes} == {"stored"}

    return partial(timed, seconds, send)


def _through_http(service: Service, size: int, seconds: float) -> Callable[[], list[float]]:
    client = service.client()

    def send() -> None:
        body = {"messages": [_json(_message()) for _ in range(size)]}
        answer = service.call(client, "POST /v1/messages", body)
        assert {result["status"] for result in answer["results"]} == {"stored"}

    return partial(timed, seconds, send)


def _message() -> NewMessage:
    number = next(NUMBERS)
    person = f"person-{number * 7919 % PEOPLE}"
    return NewMessage("app", f"m{number}", person, "c", "user", START + number, TEXT)


def _json(item: NewMessage) -> dict[str, Any]:
    return {
        "source": item.source, "id": item.id, "person": item.person,
        "conversation": item.conversation, "role": item.role,
        "time": times.moment(item.time).isoformat(), "text": item.text,
    }  # fmt: skip


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Messages a second, by database, way, writers and size of a batch."""
    table = []
    for kind, name in DATABASES.items():
        for way, words in (("store", "through the store"), ("http", "over HTTP")):
            for one in results.get(kind, {}).get(way, []):
                writers = f"{one['writers']} writer{'s' if one['writers'] > 1 else ''}"
                at_once = "one a request" if one["batch"] == 1 else f"batches of {one['batch']}"
                figure = f"{one['per_second']:,.0f}/s, p95 {one['p95_ms']:.1f} ms a request"
                table.append((f"durable messages, sealed, {name}, {words}, {writers}, {at_once}",
                              figure))  # fmt: skip
    return table


if __name__ == "__main__":
    run_module()
