"""The worklist of 100,000 people over HTTP: pages of 50, 8 clients, how long a page takes.

    python -m bench run speed.worklist [--people 100000]

People are put into the tables as a night leaves them: sealed identifiers, a view each, places in
the lanes. Clients walk through the lanes of `leadline monitor serve` page by page.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from sqlalchemy import insert, text

from bench.common import tell
from bench.protocol import run_module
from bench.served import DATABASES, Service, durable_store, serving, together
from bench.speed.ingestion import timed
from leadline.monitor.standing import Standing
from leadline.store import times
from leadline.store.schema import lane_entry, person, person_key, person_now
from leadline.store.store import Store

TAKES = "PostgreSQL for its half; two minutes"
RESULT = "monitor_worklist"
CLIENTS = (1, 8)
AT_ONCE = 5000
LANES = ("ask", "everyone")


def options(parser: argparse.ArgumentParser) -> None:
    """How many people, how long, and on which databases."""
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--databases", default=",".join(DATABASES))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Pages a second and milliseconds a page, with one client and with eight."""
    figures: dict[str, Any] = {"people": args.people}
    for kind in args.databases.split(","):
        with durable_store(kind) as (store, key), tempfile.TemporaryDirectory() as home:
            for rows in _people(store, args.people):
                store.database.write(lambda c, tables=rows: _put(c, tables))
            store.database.write(lambda c: c.execute(text("ANALYZE")))
            with serving(store, key, Path(home)) as service:
                figures[kind] = [_pages(service, number, args.seconds) for number in CLIENTS]
        tell(kind, figures[kind])
    return figures


def _people(store: Store, count: int) -> Iterator[dict[Any, list[dict[str, Any]]]]:
    """Rows of people by table, some thousands at once."""
    rng = np.random.default_rng(0)
    now = times.now()
    standing = Standing("steady", times.day(now) - 3.0)
    for numbers in _parts(count):
        tables: dict[Any, list[dict[str, Any]]] = {
            table: [] for table in (person, person_key, person_now, lane_entry)
        }
        for number in numbers:
            _add(store, tables, (number, now), (rng, standing))
        yield tables


def _parts(count: int) -> Iterator[range]:
    for first in range(0, count, AT_ONCE):
        yield range(first, min(first + AT_ONCE, count))


def _add(
    store: Store,
    tables: dict[Any, list[dict[str, Any]]],
    who: tuple[int, int],
    how: tuple[np.random.Generator, Standing],
) -> None:
    (number, now), (rng, standing) = who, how
    person_id, external = uuid.uuid4().hex, f"person-{number}"
    key, wrapped = store.vault.new_key(person_id)
    mean = float(rng.uniform(0, 27))
    tables[person].append({
        "id": person_id, "external_hash": store.vault.find("person", external),
        "external_sealed": key.seal(external, "external"), "made_at": now,
        "estimate_allowed": True, "received": 40, "scored_upto": 40})  # fmt: skip
    tables[person_key].append({
        "person_id": person_id, "wrapped_key": wrapped, "kek_id": store.vault.key_id})  # fmt: skip
    numbers = dict.fromkeys(("sd", "p_ge_10", "p_ge_20", "p_worse", "p_better", "value"), 0.25)
    tables[person_now].append({
        "person_id": person_id, "model_id": "model", "at": now, "mean": mean,
        "lower": max(mean - 5, 0), "upper": min(mean + 5, 27), **numbers,
        "words_of_change": "no clear change", "words": 120, "standing": standing.name,
        "standing_since": now, "standing_state": standing.to_json(),
        "last_message_at": now - number, "last_phq9_at": now - 30 * times.DAY,
        "last_phq9_total": 12.0, "reason": "An answer would tell on which side of 10 it is. " * 3,
        "spark": json.dumps([[day, round(mean, 1)] for day in range(30)])})  # fmt: skip
    for lane in LANES:
        rank = float(rng.random())
        tables[lane_entry].append({"lane": lane, "person_id": person_id, "rank": rank})


def _put(connection: Any, tables: dict[Any, list[dict[str, Any]]]) -> None:
    for table, rows in tables.items():
        connection.execute(insert(table), rows)


def _pages(service: Service, clients: int, seconds: float) -> dict[str, Any]:
    took, whole = together([_walk(service, number, seconds) for number in range(clients)])
    return {
        "clients": clients, "pages_per_second": round(len(took) / whole, 1),
        "p50_ms": round(float(np.quantile(took, 0.5)) * 1e3, 1),
        "p95_ms": round(float(np.quantile(took, 0.95)) * 1e3, 1),
    }  # fmt: skip


def _walk(service: Service, number: int, seconds: float) -> Callable[[], list[float]]:
    """A client that reads page after page of a lane."""
    client, lane = service.client(), LANES[number % len(LANES)]
    place = {"after": ""}

    def read() -> None:
        answer = service.call(client, f"GET /v1/worklist?lane={lane}{place['after']}")
        assert len(answer["entries"]) == 50
        place["after"] = f"&after={quote(answer['after'])}" if answer["after"] else ""

    return lambda: timed(seconds, read)


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Milliseconds a page, by database and clients."""
    return [
        (f"worklist of {results['people']:,} people over HTTP, 50 rows, {name}, "
         f"{one['clients']} client{'s' if one['clients'] > 1 else ''}",
         f"p50 {one['p50_ms']:.0f} ms, p95 {one['p95_ms']:.0f} ms, "
         f"{one['pages_per_second']:.0f} pages/s")
        for kind, name in DATABASES.items()
        for one in results.get(kind, [])
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
