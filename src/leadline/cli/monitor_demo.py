"""`leadline demo --monitor`: simulated people over months, through the real HTTP interface.

A run learns from some simulated people; others, whom it never saw, talk for months up to today.
Their messages are sent to `leadline monitor serve` in a process of its own, read by `leadline
monitor score` in another, and ranked by a night; then the list of whom to ask is read, the first
of it is asked, and answers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import polars as pl

from leadline.artefact import MANIFEST, read_manifest
from leadline.cli.monitor import step_lines
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.monitor.config import MonitorConfig
from leadline.monitor.nightly import night_of
from leadline.monitor.start import new_token, night, start_store
from leadline.phq9.items import ITEM_COLUMNS
from leadline.readers.fetch import fetch_reader
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.store import times
from leadline.store.vault import KeyConfig

Say = Callable[[str], None]

TRAIN = TrainConfig(reader="minilm", fit="ridge", baselines=False)
PEOPLE = 60
SMALLEST = 10
TRAINED_ON = 160  # simulated people, of another seed
GAP_DAYS = 9.0  # median, from one conversation to the next
USER_TURNS = 40.0
SILENT_SHARE = 0.1  # of people, who stopped writing some weeks ago
ANSWERED_SHARE = 0.5  # of PHQ-9s at the end of a course, sent in; the rest wait to be asked for
BATCH = 500
SHOWN = 3  # courses
PATIENCE = 900.0  # seconds until what was sent must have been read
SOURCE = "demo"


@dataclass(frozen=True)
class DemoPeople:
    """What simulated people send.

    Attributes:
        messages: as the interface takes them, in the order of their times.
        phq9s: that are sent without anybody asking.
        answers: person -> the PHQ-9 that they answer when they are asked.
    """

    messages: list[dict[str, Any]]
    phq9s: list[dict[str, Any]]
    answers: dict[str, dict[str, Any]]


class ServiceClient:
    """A client of one service, with a token.

    Args:
        address: of the service.
        token: of a bearer.
    """

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def text(self, method: str, path: str, body: Any = None) -> str:
        """What the service answers.

        Raises:
            LeadlineError: it refuses.
        """
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, self._headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        if answer.status >= http.client.BAD_REQUEST:
            raise LeadlineError(
                f"The service answered {answer.status} to {method} {path.split('?')[0]}.",
                remedy="Please report this: the demo sends what the interface takes.",
            )
        return text

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """The same, as JSON."""
        return json.loads(self.text(method, path, body))

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def run_monitor_demo(
    out: Path, *, people: int | None = None, seed: int = 0, say: Say = print
) -> dict[str, Any]:
    """Make OUT/monitor with a run, a store and its people; the worklist and three courses.

    Args:
        out: where; what an earlier demo made is replaced.
        people: how many are followed; None for as many as fit into minutes.
        seed: of everything.
        say: told what is done.

    Raises:
        LeadlineError: too few people, or `out` holds something that the demo did not make.
    """
    people = PEOPLE if people is None else people
    if people < SMALLEST:
        raise LeadlineError(
            f"--people is {people}.", remedy=f"Use at least {SMALLEST} people for this demo."
        )
    check_place(out)
    place = out / "monitor"
    run = _train(place, seed, say)
    followed = _simulate_followed(place / "people", people, seed, say)
    store, keys = _new_store(place, run)
    say(f"Made a store for the estimates of {run}: {store}")
    token = new_token(store, keys, "demo", ("ingest", "care", "metrics"), (1.0, None))
    with _served(store, place / "serve.log") as address:
        client = ServiceClient(address, token)
        try:
            counts = _send_all(client, followed, say)
            with _scored(store, place):
                counts["seconds of reading"] = round(_wait(client, counts["messages"], say), 1)
            say("The night: everybody moved on by a day, and the asks of the day")
            for line in step_lines(night(store, keys, night_of(times.now()))):
                say(f"  {line}")
            return counts | _read_back(client, followed, say)
        finally:
            client.close()


def _train(place: Path, seed: int, say: Say) -> Path:
    """A run on simulated people."""
    cohort, run = place / "cohort", place / "run"
    settings = preset(
        "easy", people=TRAINED_ON, gold=TRAINED_ON, locked=0, user_turns=14.0, seed=seed + 1000
    )
    fetch_reader(TRAIN.reader, progress=say)
    say(f"Training on {TRAINED_ON} simulated people (the followed ones are others)")
    simulate_cohort(cohort, settings, overwrite=(cohort / MANIFEST).is_file())
    overwrite = (run / MANIFEST).is_file()
    config = replace(TRAIN, seed=seed)
    train_run(read_cohort(cohort), run, config, WindowConfig(), overwrite=overwrite)
    return run


def _simulate_followed(path: Path, people: int, seed: int, say: Say) -> DemoPeople:
    """People who talk for months up to today."""
    settings = replace(
        preset("easy", people=people, gold=people, locked=0, user_turns=USER_TURNS, seed=seed),
        session_gap_days=GAP_DAYS,
    )
    say(f"Simulating {people} other people over months")
    simulate_cohort(path, settings, overwrite=(path / MANIFEST).is_file())
    answers = pl.read_parquet(path / "truth" / "phq9_all.parquet").filter(pl.col("repeat") == 0)
    return _up_to_today(read_cohort(path), answers, np.random.default_rng(seed))


def _up_to_today(cohort: Cohort, answers: pl.DataFrame, rng: np.random.Generator) -> DemoPeople:
    """Everybody's months shifted so that the last words of most are some days old."""
    now = datetime.now(UTC).replace(microsecond=0)
    messages, phq9s, later = [], [], {}
    tables = answers.partition_by("person_id", as_dict=True)
    for (name,), turns in cohort.turns.group_by("person_id", maintain_order=True):
        administrations = tables[(name,)].sort("time")
        last = max(turns["time"].max(), administrations["time"].max())  # type: ignore[type-var]
        silent = rng.random() < SILENT_SHARE
        days = rng.uniform(20, 60) if silent else rng.uniform(0.1, 6.0)
        shift = now - timedelta(days=float(days)) - last  # type: ignore[operator]
        for row in turns.iter_rows(named=True):
            messages.append(
                {
                    "source": SOURCE, "id": f"{name} {row['conversation_id']} {row['turn']}",
                    "person": name, "conversation": row["conversation_id"], "role": row["role"],
                    "turn": row["turn"], "time": (row["time"] + shift).isoformat(),
                    "text": row["text"],
                }
            )  # fmt: skip
        for number, row in enumerate(administrations.iter_rows(named=True)):
            answer = {
                "source": SOURCE, "id": f"{name} {number}", "person": name,
                "time": (row["time"] + shift).isoformat(),
                "items": [row[column] for column in ITEM_COLUMNS],
            }  # fmt: skip
            if number < administrations.height - 1 or rng.random() < ANSWERED_SHARE:
                phq9s.append(answer)
            else:
                later[str(name)] = answer
    messages.sort(key=lambda message: str(message["time"]))
    return DemoPeople(messages, phq9s, later)


def _new_store(place: Path, run: Path) -> tuple[str, KeyConfig]:
    """A store without anybody, where an earlier demo's may lie."""
    for name in ("store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.key"):
        (place / name).unlink(missing_ok=True)
    shutil.rmtree(place / "states", ignore_errors=True)
    keys = KeyConfig(key_file=place / "store.key")
    store = str(place / "store.sqlite")
    start_store(store, run, keys, MonitorConfig(), keep_texts=True)
    return store, keys


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "leadline", "monitor", *words]


def _key(store: str) -> tuple[str, ...]:
    return ("--store", store, "--key-file", str(Path(store).with_suffix(".key")))


@contextlib.contextmanager
def _served(store: str, log: Path) -> Iterator[str]:
    """The service in a process of its own; its address."""
    with log.open("w+", encoding="utf-8") as stream:
        words = _command("serve", *_key(store), "--port", "0")
        with subprocess.Popen(words, stderr=stream) as process:
            try:
                yield _address(process, log)
            finally:
                process.terminate()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where a service that was just started listens."""
    while process.poll() is None:
        match = re.search(r" on (http://\S+:\d+)\n", log.read_text(encoding="utf-8"))
        if match is not None:
            return match[1]
        time.sleep(0.05)
    raise LeadlineError("The service did not start.", file=log, remedy="See what it says there.")


@contextlib.contextmanager
def _scored(store: str, place: Path) -> Iterator[None]:
    """A scorer in a process of its own."""
    words = _command("score", *_key(store), "--states", str(place / "states"))
    with (
        (place / "score.log").open("w", encoding="utf-8") as stream,
        subprocess.Popen(words, stderr=stream) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def _send_all(client: ServiceClient, people: DemoPeople, say: Say) -> dict[str, Any]:
    """Agreements, messages and PHQ-9s over HTTP; counts and rates."""
    names = list(dict.fromkeys(message["person"] for message in people.messages))
    agreed = {"consent": {"estimate": True}, "evidence": "simulated"}
    for name in names:
        client.send("PUT", f"/v1/people/{quote(name)}", agreed)
    begun = time.monotonic()
    stored = _send(client, "messages", people.messages)
    seconds = time.monotonic() - begun
    answered = _send(client, "phq9s", people.phq9s)
    again = _send(client, "messages", people.messages[:BATCH], outcome="known")
    say(
        f"Sent {stored:,} messages of {len(names)} people in {seconds:.1f} s "
        f"({stored / seconds:,.0f} a second) and {answered} PHQ-9s over HTTP; "
        f"{again:,} messages sent twice were known"
    )
    return {"people": len(names), "messages": stored, "phq9s": answered,
            "messages a second": round(stored / seconds)}  # fmt: skip


def _send(
    client: ServiceClient, kind: str, items: Sequence[dict[str, Any]], outcome: str = "stored"
) -> int:
    """Send items in batches, of which each must meet the same end; how many."""
    path = {"messages": "/v1/messages", "phq9s": "/v1/phq9"}[kind]
    for first in range(0, len(items), BATCH):
        results = client.send("POST", path, {kind: items[first : first + BATCH]})["results"]
        others = {result["status"] for result in results} - {outcome}
        if others:
            raise LeadlineError(
                f"Of the {kind} some were {', '.join(sorted(others))}.",
                remedy="Please report this: the demo sends each once.",
            )
    return len(items)


def _wait(client: ServiceClient, messages: int, say: Say) -> float:
    """Wait until everything was read; seconds."""
    begun = last_line = time.monotonic()
    while True:
        text = client.text("GET", "/metrics")
        waiting = int(float(re.findall(r"^leadline_messages_unread (\S+)$", text, re.M)[0]))
        views = int(float(re.findall(r"^leadline_views_due (\S+)$", text, re.M)[0]))
        seconds = time.monotonic() - begun
        if waiting == 0 and views == 0:
            say(f"Read {messages:,} messages in {seconds:.0f} s, an estimate after each of a "
                "person's own")  # fmt: skip
            return seconds
        if seconds > PATIENCE:
            raise LeadlineError(
                f"After {PATIENCE:.0f} s {waiting:,} messages still wait.",
                remedy="See score.log beside the store.",
            )
        if time.monotonic() - last_line > 5:
            last_line = time.monotonic()
            say(f"  {messages - waiting:,} of {messages:,} messages read, {seconds:.0f} s")
        time.sleep(0.25)


def _read_back(client: ServiceClient, people: DemoPeople, say: Say) -> dict[str, Any]:
    """The list of whom to ask, its first asked and answering, and three courses."""
    page = client.send("GET", "/v1/worklist?lane=ask")["entries"]
    if not page:
        page = client.send("GET", "/v1/worklist?lane=everyone")["entries"]
    answering = [row for row in page if row["person"] in people.answers]
    answer = _ask_first(client, answering, people, say)
    changed, silent, everyone = (
        client.send("GET", f"/v1/worklist?lane={lane}")["entries"]
        for lane in ("changed", "silent", "everyone")
    )
    rows = [*answering[:1], *changed[:1], *silent[:1], *page, *everyone]
    names = list(dict.fromkeys(row["person"] for row in rows))[:SHOWN]
    courses = [_course(client, name) for name in names]
    return {"worklist": page, "answer": answer, "courses": courses}


def _course(client: ServiceClient, name: str) -> Any:
    return client.send("GET", f"/v1/people/{quote(name)}/course")


def _ask_first(
    client: ServiceClient, page: Sequence[Any], people: DemoPeople, say: Say
) -> dict[str, Any] | None:
    """Ask the first of the list who would answer; their severity before and after."""
    if not page:
        return None
    name = page[0]["person"]
    before = _course(client, name)["now"]
    client.send("POST", "/v1/asks", {"person": name, "channel": "app"})
    answer = people.answers[name]
    _send(client, "phq9s", [answer])
    after = _course(client, name)
    total = after["phq9s"][-1]["total"]
    say(
        f"Asked {name}, who answered with a total of {total:.0f}: the estimate was "
        f"{_interval(before)} before and is {_interval(after['now'])} now"
    )
    return {"person": name, "total": total, "before": before, "after": after["now"]}


def _interval(day: Any) -> str:
    return f"{day['mean']:.1f} ({day['lower']:.0f} to {day['upper']:.0f})"


WIDTH = 55  # characters for 0 to 27 points
STEP_DAYS = 7
ROWS = 16


def worklist_lines(page: Sequence[Any]) -> list[str]:
    """The list of whom to ask as a person reads it."""
    lines = [f"{'person':<10} {'now (90%)':<14} {'last PHQ-9':<12} standing"]
    for row in page[:10]:
        now = "-" if row["mean"] is None else _interval(row)
        last = row["last_phq9"]
        phq9 = "none" if last is None else f"{row['last_phq9_total']:.0f}, {last[5:10]}"
        lines.append(f"{row['person']:<10} {now:<14} {phq9:<12} {row['standing_words'] or ''}")
        drawn = " (drawn at random)" if row["drawn_at_random"] else ""
        lines.append(f"{'':<10} {row['reason']}{drawn}")
    return lines


def course_lines(course: Any) -> list[str]:
    """A course drawn in text: a row a week, from 0 to 27 points, up is older.

    `o` is the estimate of severity, `-` its 90% interval, a number an answered PHQ-9.
    """
    lines = [f"{course['person']}: {course['standing_words'] or 'no standing yet'}"]
    change = course["change"]
    if change is not None:
        lines.append(
            f"since {change['since'][:10]}: {change['p_worse']:.0%} at least "
            f"{change['points']:.0f} points worse, {change['p_better']:.0%} at least as much better"
        )
    lines.append(f"{'':<10} 0{'10':>{_column(10)}}{'20':>{_column(20) - _column(10)}}"
                 f"{'27':>{WIDTH - _column(20) - 1}}")  # fmt: skip
    days = course["days"][::-1][::STEP_DAYS][:ROWS][::-1]
    edges = [day["day"][:10] for day in days]
    for at, day in enumerate(days):
        totals = [
            answer["total"]
            for answer in course["phq9s"]
            if (at == 0 or answer["time"][:10] > edges[at - 1]) and answer["time"][:10] <= edges[at]
        ]
        lines.append(f"{edges[at]:<10} {_week(day, totals)}")
    return lines


def _column(points: float) -> int:
    return round(points / 27 * (WIDTH - 1))


def _week(day: Any, totals: Sequence[float]) -> str:
    """One row of a course."""
    row = [" "] * WIDTH
    for at in range(_column(day["lower"]), _column(day["upper"]) + 1):
        row[at] = "-"
    row[_column(day["mean"])] = "o"
    for total in totals:
        text = f"{total:.0f}"
        start = min(_column(total), WIDTH - len(text))
        row[start : start + len(text)] = text
    return "".join(row).rstrip()


def check_place(out: Path) -> None:
    """Refuse to make a demo of monitoring where something else lies.

    Raises:
        LeadlineError: OUT/monitor holds files and none of them is of a demo.
    """
    place = out / "monitor"
    if place.is_dir() and any(place.iterdir()):
        cohort = place / "cohort"
        if not (cohort / MANIFEST).is_file():
            raise LeadlineError(
                "There is something that no demo made.", file=place, remedy="Give another --out."
            )
        read_manifest(cohort, "cohort")
