"""What the benches share: the check-ins, with folds and figures on them, and result files.

The check-ins are people who wrote about their mood and worry, with their PHQ-9 total. The data
is not part of this repository. It is looked for in ``../shared/data`` beside the checkout, or in
the folder that ``LEADLINE_DATA`` names.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from leadline.cohort.timeline import Message

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
QUESTIONS = {
    "Depword": "Which words come to mind for how your mood has been over the past two weeks?",
    "Depphrase": "Could you say that in a few short phrases?",
    "Deptext": "Tell me more about your mood in these two weeks, in as much detail as you like.",
    "Worword": "And worry: which words describe it over the past two weeks?",
    "Worphrase": "Could you put your worry into a few short phrases?",
    "Wortext": "Tell me more about how you have been worrying in these two weeks.",
}


class CheckIn(NamedTuple):
    """One person: twelve messages (six of their own) and the PHQ-9 total."""

    person: str
    messages: list[Message]
    total: float


def data_folder() -> Path | None:
    """The folder of the check-in data, None where it is absent."""
    for root in (os.environ.get("LEADLINE_DATA"), ROOT.parent / "shared" / "data",
                 ROOT.parent.parent / "shared" / "data"):  # fmt: skip
        if root and (Path(root) / "checkin_phq9" / "people.csv").is_file():
            return Path(root) / "checkin_phq9"
    return None


def load_checkins() -> list[CheckIn]:
    """All people in file order. Exits with a message where the data is absent."""
    folder = data_folder()
    if folder is None:
        sys.exit("The check-in data is not on this machine: set LEADLINE_DATA to its folder.")
    with (folder / "people.csv").open(newline="", encoding="utf-8-sig") as stream:
        return [
            CheckIn(row["person_id"], render(row), float(row["PHQ9tot"]))
            for row in csv.DictReader(stream)
        ]


def render(row: dict[str, str]) -> list[Message]:
    """A six-turn check-in: the assistant's question, then the person's own words."""
    turns = []
    for column, question in QUESTIONS.items():
        turns += [Message("assistant", question), Message("user", row[column] or "")]
    return turns


def folds(people: list[CheckIn], count: int = 5, seed: int = 0) -> np.ndarray:
    """Fold 0..count-1 of each person, stratified by total: sorted, then dealt in rounds."""
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(people)), [person.total for person in people]))
    out = np.empty(len(people), int)
    for at in range(0, len(people), count):
        block = order[at : at + count]
        out[block] = generator.permutation(count)[: len(block)]
    return out


def figures(total: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Pearson's r, MAE and RMSE of estimates."""
    error = estimate - total
    return {
        "r": round(float(np.corrcoef(total, estimate)[0, 1]), 4),
        "mae": round(float(np.abs(error).mean()), 4),
        "rmse": round(float(np.sqrt((error**2).mean())), 4),
    }


def interval(score: dict[str, Any], digits: int) -> str:
    """Value and 95% interval of a score of `leadline evaluate`."""
    if score["value"] is None:
        return "-"
    return f"{score['value']:.{digits}f} ({score['low']:.{digits}f} to {score['high']:.{digits}f})"


def tell(*words: object) -> None:
    """Say how far a bench is, on the error stream: what it prints is its results."""
    print(*words, file=sys.stderr, flush=True)


def run_facts(command: str) -> dict[str, Any]:
    """Date, machine and command: what every result begins with."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python "
        f"{platform.python_version()}, {packages}",
        "command": command,
    }


def save(name: str, results: dict[str, Any], command: str) -> dict[str, Any]:
    """Write ``bench/results/NAME.json`` with date, machine and command; what was written."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    entries = {**run_facts(command), **results}
    (RESULTS / f"{name}.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return entries


def read_result(name: str) -> dict[str, Any]:
    """What ``bench/results/NAME.json`` holds, or the first line of ``NAME.jsonl``."""
    file = RESULTS / f"{name}.json"
    if file.is_file():
        text = file.read_text(encoding="utf-8")
    else:
        text = file.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()[0]
    return cast(dict[str, Any], json.loads(text))
