"""A real OpenAI-compatible server on loopback as the teacher: `transformers serve`, SmolLM2.

A model of 135 million parameters does not rate depression, and this server takes the JSON
schema of a request without enforcing it, so most answers are not valid. That is what is
measured: every request ends in a recorded state, none that is invalid becomes a label, tokens
are counted, a SIGKILL in the middle loses no answer, and running again asks nothing. Most
requests cut the answer short, which a slow machine can afford; some leave room for a whole
rating.

The same server can be held to a scale: its endpoint `/v1/systemone` answers a question by the
probability of each allowed answer and writes no text. `rate` puts the nine items to it.
Texts are made up.

    python -m bench run selftraining.local_server [--requests 190] [--save --work FOLDER]

An interrupted measurement goes on with the same --work. Needs the reader smollm2 (leadline
reader fetch smollm2) and the packages fastapi and uvicorn.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import polars as pl

from bench.common import save
from bench.protocol import run_module
from leadline.artefact import MANIFEST
from leadline.cohort.store import write_cohort
from leadline.tables import PEOPLE, PHQ9, TURNS
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import REQUESTS, read_labels
from leadline.teacher.rubric import ITEM_NAMES, load_rubric

TAKES = "reader smollm2, fastapi and uvicorn; ten minutes"
HOME = Path(os.environ.get("LEADLINE_HOME", Path.home() / ".cache" / "leadline"))
MODEL = HOME / "readers" / "smollm2"
SAYINGS = (
    "I sleep badly and wake up early",
    "work was fine and I met a friend",
    "I cannot enjoy the things I used to",
    "my sister is the one who feels down, not me",
    "most evenings I am too tired to cook",
)


LEVELS = ("Not at all", "Several days", "More than half of the days", "Nearly every day")
CHAT, DECIDE = "/v1/chat/completions", "/v1/systemone"
ENDED = ("done", "invalid", "truncated", "refused", "failed")
CHILD = """
import json, sys
from pathlib import Path
from leadline.teacher.label import LabelConfig, label_cohort
label_cohort(Path(sys.argv[1]), Path(sys.argv[2]), LabelConfig(**json.loads(sys.argv[3])))
"""


@dataclass(frozen=True)
class Server:
    """A running server and what it has logged."""

    port: int
    log: IO[bytes]

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible part."""
        return f"http://127.0.0.1:{self.port}/v1"

    def requests(self, path: str) -> int:
        """Requests to `path` that it has answered."""
        return os.pread(self.log.fileno(), 1 << 26, 0).count(f"POST {path} ".encode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(model: Path, *, patience: float = 120.0) -> Iterator[Server]:
    """Start `transformers serve` on loopback; stop it in the end."""
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command += ["--default-seed", "1"]
    # Spinning threads collapse as soon as anything else runs on the machine.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "HF_HUB_OFFLINE": "1"}
    # A `timeout` ends this process with SIGTERM; as an exception it also ends the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + patience
            while not healthy(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"no server: {log.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.3)
            yield Server(port, log)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def made_up_cohort(path: Path, people: int) -> Path:
    """People of two turns each, without gold."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    turns = []
    for number in range(people):
        person = f"bench-person-{number:05d}"
        text = f"{SAYINGS[number % 5]}, {SAYINGS[number // 5 % 5]}, for {number} days"
        turns.append((person, "c", 0, "assistant", "How were the last two weeks?", start))
        turns.append((person, "c", 1, "user", text, start))
    names = [f"bench-person-{number:05d}" for number in range(people)]
    write_cohort(
        path,
        pl.DataFrame(turns, schema=TURNS, orient="row"),
        pl.DataFrame(schema=PHQ9),
        pl.DataFrame({"person_id": names, "locked": [False] * people}, schema=PEOPLE),
        command="bench",
        settings={},
        inputs={},
    )
    return path


def measure_labelling(
    server: Server, requests: int, max_tokens: int, folder: Path, *, kill: bool = False
) -> dict[str, Any]:
    """Label, killed in the middle if asked for; then once more, which must ask nothing.

    What lies in `folder` of an earlier, interrupted measurement is gone on with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cohort, out, stored = folder / "cohort", folder / "labels", folder / "kept.json"
    begun = len(answers(out))
    if not (cohort / MANIFEST).is_file():
        made_up_cohort(cohort, requests)
    config = LabelConfig(
        teacher="openai",
        model=str(MODEL),
        base_url=server.url,
        draws=1,
        max_tokens=max_tokens,
        concurrency=2,
        timeout=300.0,
    )
    before, start = server.requests(CHAT), time.perf_counter()
    if kill and not stored.is_file():
        recorded = killed_half_way(cohort, out, config, requests // 2)
        stored.write_text(json.dumps(recorded), encoding="utf-8")
    before_kill = json.loads(stored.read_text(encoding="utf-8")) if kill else {}
    first = label_cohort(cohort, out, config)
    seconds, reached = time.perf_counter() - start, server.requests(CHAT) - before
    now = answers(out)
    changed = sum(now.get(key) != answer for key, answer in before_kill.items())
    again = label_cohort(cohort, out, config)
    return {
        "requests": requests,
        "max_tokens": max_tokens,
        "seconds": round(seconds, 1),
        "states": {name: count for name, count in first["states"].items() if count},
        "errors": first["errors"],
        "input_tokens": first["usage"]["input_tokens"],
        "output_tokens": first["usage"]["output_tokens"],
        "labels": read_labels(out).height,
        "answered_before_the_kill": len(before_kill),
        "of_them_lost_or_changed": changed,
        "answered_in_earlier_runs": begun,
        "requests_that_the_server_answered": reached,
        "asked_again": server.requests(CHAT) - before - reached,
        "tokens_again": again["usage"]["input_tokens"] - first["usage"]["input_tokens"],
    }


def answers(out: Path) -> dict[str, list[Any]]:
    """What the store has recorded of each request that ended, by its key."""
    if not (out / REQUESTS).is_file():
        return {}
    where = ", ".join(f"'{state}'" for state in ENDED)
    columns = "key, state, reply, input_tokens, output_tokens"
    query = f"SELECT {columns} FROM requests WHERE state IN ({where})"
    with sqlite3.connect(f"file:{out / REQUESTS}?mode=ro", uri=True, timeout=30) as store:
        try:
            return {key: rest for key, *rest in store.execute(query)}
        except sqlite3.OperationalError:  # the store is being made
            return {}


def killed_half_way(
    cohort: Path, out: Path, config: LabelConfig, enough: int
) -> dict[str, list[Any]]:
    """SIGKILL a labelling once `enough` answers are recorded; what was recorded by then."""
    command = [sys.executable, "-c", CHILD, str(cohort), str(out), json.dumps(asdict(config))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        while child.poll() is None and len(answers(out)) < enough:
            time.sleep(0.1)
    finally:
        child.kill()
    if child.wait(10) != -signal.SIGKILL:
        raise RuntimeError("the labelling ended before it was killed")
    return answers(out)


def rate(server: Server, transcript: str, model: Path = MODEL) -> tuple[list[list[float]], int]:
    """Nine items by typed decisions: probabilities of 0-3 for each, shape (9, 4); input tokens.

    Raises:
        RuntimeError: an answer is not a distribution over the four levels.
    """
    questions = {
        name: {
            "type": "score",
            "instructions": "How often was the person bothered by this over the last two weeks? "
            + asks,
            "criteria": list(LEVELS),
        }
        for name, asks in zip(ITEM_NAMES, load_rubric().asks, strict=True)
    }
    body = {"model": str(model), "state": transcript, "questions": questions}
    request = urllib.request.Request(
        server.url.removesuffix("/v1") + DECIDE,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as reply:
        answer = json.loads(reply.read())
    items = [
        [answer["answers"][name]["probabilities"][str(level)] for level in range(len(LEVELS))]
        for name in ITEM_NAMES
    ]
    if any(abs(sum(item) - 1) > 1e-4 or min(item) < 0 for item in items):
        raise RuntimeError("an answer is not a distribution over the four levels")
    return items, int(answer["usage"]["input_tokens"])


def measure_decisions(server: Server, people: int) -> dict[str, Any]:
    """Rate made-up people item by item; every answer has to be on the scale."""
    start, tokens, totals = time.perf_counter(), 0, []
    for number in range(people):
        text = f"{SAYINGS[number % 5]}, {SAYINGS[number // 5 % 5]}, for {number} days"
        items, count = rate(server, f"Assistant: How were the last two weeks?\nPerson: {text}")
        totals.append(sum(k * p for item in items for k, p in enumerate(item)))
        tokens += count
    return {
        "requests": people,
        "valid": len(totals),
        "input_tokens": tokens,
        "seconds": round(time.perf_counter() - start, 1),
        "least_total": round(min(totals), 2),
        "greatest_total": round(max(totals), 2),
    }


def measure_arms(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Every arm that was asked for; those that are finished in `work` are not run again."""
    arms_of: dict[str, Any] = {}
    with serve(MODEL) as server:
        arms = {
            "short": lambda folder: measure_labelling(
                server, args.requests, args.max_tokens, folder, kill=True
            ),
            "long": lambda folder: measure_labelling(
                server, args.long_requests, args.long_tokens, folder
            ),
            "decisions": lambda _: measure_decisions(server, args.decisions),
        }
        counts = (args.requests, args.long_requests, args.decisions)
        for (name, arm), count in zip(arms.items(), counts, strict=True):
            file = work / f"{name}.json"
            if count and not file.is_file():
                file.write_text(json.dumps(arm(work / name)), encoding="utf-8")
            if count:
                arms_of[name] = json.loads(file.read_text(encoding="utf-8"))
            if args.save:
                save("local_teacher", arms_of, args.command)
    return arms_of


def options(parser: argparse.ArgumentParser) -> None:
    """How many requests, and of what length."""
    parser.add_argument("--requests", type=int, default=190, help="with short answers")
    parser.add_argument("--max-tokens", type=int, default=8, help="of a short answer")
    parser.add_argument("--long-requests", type=int, default=10, help="with room for a rating")
    parser.add_argument("--long-tokens", type=int, default=400, help="of a long answer")
    parser.add_argument("--decisions", type=int, default=40, help="people rated on a scale")
    parser.add_argument("--work", type=Path, help="folder to keep the work in; go on from there")
    parser.add_argument("--save", action="store_true", help="write bench/results")


def result(args: argparse.Namespace) -> str | None:
    """The name of its file."""
    return "local_teacher" if args.save else None


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Start the server, measure."""
    if not (MODEL / "manifest.json").is_file():
        sys.exit("The reader smollm2 is not there; run: leadline reader fetch smollm2")
    with tempfile.TemporaryDirectory() as folder:
        return measure_arms(args, args.work or Path(folder))


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """What became of the requests of each arm."""
    table = [_labelling_row(results[arm]) for arm in ("short", "long") if arm in results]
    if "decisions" in results:
        row = results["decisions"]
        what = (
            "The server's `/v1/systemone`, which reads the probabilities of 0-3 for each item "
            "and writes no text"
        )
        figure = (
            f"{row['valid']} of {row['requests']} requests gave a valid rating, "
            f"{row['input_tokens']:,} input tokens, {row['seconds']:.0f} s"
        )
        table.append((what, figure))
    return table


def _labelling_row(row: dict[str, Any]) -> tuple[str, str]:
    states = ", ".join(f"{count} {name}" for name, count in row["states"].items())
    killed = ""
    if row["answered_before_the_kill"]:
        killed = (
            f"; killed by SIGKILL after {row['answered_before_the_kill']} answers, of which "
            f"{row['of_them_lost_or_changed']} were lost or changed"
        )
    return (
        f"{row['requests']} requests with {row['max_tokens']} tokens for the answer",
        f"{states}, {row['labels']} labels, {row['input_tokens']:,.0f} input and "
        f"{row['output_tokens']:,.0f} output tokens{killed}; run again, it asked "
        f"{row['asked_again']}",
    )


if __name__ == "__main__":
    run_module()
