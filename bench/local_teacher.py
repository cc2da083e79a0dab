"""A real OpenAI-compatible server on loopback as the teacher: `transformers serve`, SmolLM2.

A model of 135 million parameters does not rate depression; its answers are mostly not even
valid JSON, and this server enforces no schema. That is what is measured: every request ends in
a recorded state, none that is invalid becomes a label, tokens are counted, and running again
asks nothing twice. Most requests cut the answer short, which a slow machine can afford; a few
leave room for a whole rating. Texts are made up.

Run: python bench/local_teacher.py [--requests 190] [--long-requests 10]
Needs the reader smollm2 (leadline reader fetch smollm2) and the packages fastapi and uvicorn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from leadline.dialogue.schema import PEOPLE, PHQ9, TURNS
from leadline.dialogue.store import write_cohort
from leadline.teacher.label import LabelConfig, label_cohort
from leadline.teacher.labels import read_labels

HOME = Path(os.environ.get("LEADLINE_HOME", Path.home() / ".cache" / "leadline"))
MODEL = HOME / "readers" / "smollm2"
SAYINGS = (
    "I sleep badly and wake up early",
    "work was fine and I met a friend",
    "I cannot enjoy the things I used to",
    "my sister is the one who feels down, not me",
    "most evenings I am too tired to cook",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(model: Path, *, patience: float = 120.0) -> Iterator[str]:
    """Start `transformers serve` on loopback; give its base URL; stop it in the end."""
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
            yield f"http://127.0.0.1:{port}/v1"
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
        said = f"{SAYINGS[number % 5]}, {SAYINGS[number // 5 % 5]}, for {number} days"
        turns.append((person, "c", 0, "assistant", "How were the last two weeks?", start))
        turns.append((person, "c", 1, "user", said, start))
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


def measure(url: str, requests: int, max_tokens: int) -> dict[str, Any]:
    """Label once, then once more, which must ask nothing."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = made_up_cohort(Path(folder) / "cohort", requests)
        config = LabelConfig(
            teacher="openai",
            model=str(MODEL),
            base_url=url,
            draws=1,
            structured=False,
            max_tokens=max_tokens,
            concurrency=2,
            timeout=300.0,
        )
        start = time.perf_counter()
        first = label_cohort(cohort, Path(folder) / "labels", config)
        seconds = time.perf_counter() - start
        again = label_cohort(cohort, Path(folder) / "labels", config)
        labels = read_labels(Path(folder) / "labels").height
    return {
        "requests": requests,
        "max_tokens": max_tokens,
        "seconds": round(seconds, 1),
        "states": {name: count for name, count in first["states"].items() if count},
        "errors": first["errors"],
        "input_tokens": first["usage"]["input_tokens"],
        "output_tokens": first["usage"]["output_tokens"],
        "labels": labels,
        "asked_again": again["usage"]["input_tokens"] - first["usage"]["input_tokens"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=190, help="with short answers")
    parser.add_argument("--max-tokens", type=int, default=16, help="of a short answer")
    parser.add_argument("--long-requests", type=int, default=10, help="with room for a rating")
    parser.add_argument("--long-tokens", type=int, default=400, help="of a long answer")
    args = parser.parse_args()
    if not (MODEL / "manifest.json").is_file():
        sys.exit("The reader smollm2 is not there; run: leadline reader fetch smollm2")
    report = {}
    with serve(MODEL) as url:
        if args.requests:
            report["short"] = measure(url, args.requests, args.max_tokens)
        if args.long_requests:
            report["long"] = measure(url, args.long_requests, args.long_tokens)
    now = f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"{now}  {platform.machine()}  Python {platform.python_version()}", file=sys.stderr)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
