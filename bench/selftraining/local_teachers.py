"""Two local teachers that rate the check-ins, and nobody's text leaves the machine.

*anchors*: SmolLM2's states between the statements of absence and of presence of each symptom
(`leadline.readers.anchors`), on a scale of 0 to 27 that was fitted to no PHQ-9; its draws
are layers, which `accuracy.reader_layer_head` once compared on these people. *decisions*: SmolLM2
behind `transformers serve`, asked the nine items of the rubric one by one, the probabilities of
0-3 read at the answer (`local_server.rate`). The same model asked for the rubric's JSON is counted
as well: how many of its answers are a rating.

    python -m bench run selftraining.local_teachers [--no-server] [--chat 20] [--keep FOLDER]

`selftraining.checkins` trains with their ratings, and its result holds these figures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from bench.common import CheckIn, load_checkins
from bench.protocol import run_module
from bench.selftraining.local_server import MODEL, Server, rate, serve
from leadline.artefact import sha256, write_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort, write_cohort
from leadline.cohort.timeline import Message, timelines
from leadline.cohort.windows import Span
from leadline.heads.design import pool_states
from leadline.phq9.items import ITEM_COLUMNS
from leadline.readers.anchors import anchor_names, anchor_statements
from leadline.readers.config import ReaderConfig
from leadline.readers.state_cache import StateCache, cached_states
from leadline.runs.state_source import StateSource
from leadline.tables import LABELS, PHQ9, TURNS
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import LABELS_FILE
from leadline.teacher.selection import cohort_readings
from leadline.teacher.transcript import TeacherReading, render

TAKES = "the check-ins, reader smollm2, and fastapi and uvicorn but with --no-server; an hour"
RESULT = "local_teachers"
WINDOW = WindowConfig(days=0)
LAYERS = (16, 22, 26)
ANCHORS, DECISIONS = "anchors-smollm2", "decisions-smollm2"


def readings_of(cohort: Cohort) -> list[TeacherReading]:
    """One reading a person, all of the check-in."""
    return list(cohort_readings(cohort, WINDOW, "all"))


def anchor_ratings(readings: list[TeacherReading], timelines: list[Any]) -> np.ndarray:
    """Totals by layer, shape (people, layers): 0 where statements of absence lie, 27 presence."""
    source = StateSource("smollm2", ReaderConfig(layers=LAYERS))
    reader = source.readers[0]
    _, anchors = anchor_statements()
    talks = [[Message("assistant", a.question), Message("user", a.statement)] for a in anchors]
    stated = np.stack([state[0] for state in cached_states(reader, talks, StateCache(reader))])
    states = source.read(timelines)
    spans = [Span(row, reading.first, reading.last) for row, reading in enumerate(readings)]
    out = []
    for view, (_, part) in source.views.items():
        pooled = pool_states(states, spans, view, "mean")
        shares = []
        for name in anchor_names():
            named = np.array([a.direction == name for a in anchors])
            present = np.array([a.present for a in anchors])
            low = stated[named & ~present][:, part].mean(axis=0, dtype=np.float64)
            high = stated[named & present][:, part].mean(axis=0, dtype=np.float64)
            shares.append((pooled - low) @ (high - low) / ((high - low) @ (high - low)))
        out.append(27 * np.mean(shares, axis=0))
    return np.clip(np.column_stack(out), 0, 27)


def decision_ratings(server: Server, readings: list[TeacherReading]) -> np.ndarray:
    """Probabilities of 0-3 for each person and item, shape (people, 9, 4)."""
    return np.array([rate(server, render(r.messages, r.person_id))[0] for r in readings])


def chat_answers(server: Server, cohort: Path, people: int, max_tokens: int) -> dict[str, Any]:
    """What SmolLM2 makes of the rubric and its JSON for the first `people` check-ins."""
    config = LabelConfig(
        teacher="openai", model=str(MODEL), base_url=server.url, draws=1, limit=people,
        max_tokens=max_tokens, concurrency=1, timeout=300.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        report = label_cohort(cohort, Path(folder) / "labels", config, window=WINDOW)
    states = {name: count for name, count in report["states"].items() if count}
    return {"asked": people, "max_tokens": max_tokens, "states": states, "labels": report["labels"]}


def write_labels(
    folder: Path,
    readings: list[TeacherReading],
    model: str,
    draws: np.ndarray,
    items: np.ndarray | None,
) -> Path:
    """Ratings as a LABELS directory.

    Args:
        folder: what to write.
        readings: one a person.
        model: the teacher's name.
        draws: totals, shape (people, draws).
        items: scores 0-3 of the nine items, shape (people, 9), or None.
    """
    rows = []
    for number, reading in enumerate(readings):
        scores = [None] * len(ITEM_COLUMNS) if items is None else [int(x) for x in items[number]]
        for draw, total in enumerate(draws[number]):
            rows.append(
                {"person_id": reading.person_id, "time": reading.as_of, "first": reading.first,
                 "last": reading.last, "source": "teacher", "round": 0, "model": model,
                 "draw": draw, **dict(zip(ITEM_COLUMNS, scores, strict=True)),
                 "total": float(total), "weight": 1.0, "ancestors": [], "confidence": None,
                 "quotes": 0, "quotes_found": 0, "user_words": reading.user_words}
            )  # fmt: skip
    folder.mkdir()
    pl.DataFrame(rows, schema=LABELS).write_parquet(folder / LABELS_FILE)
    write_manifest(
        folder, kind="labels", command="bench", settings={}, inputs={},
        files={LABELS_FILE: sha256(folder / LABELS_FILE)},
    )  # fmt: skip
    return folder


def agreement(
    people: list[CheckIn], readings: list[TeacherReading], total: np.ndarray
) -> dict[str, Any]:
    """How far ratings agree with the PHQ-9s: for the report alone, nothing is fitted to it."""
    gold = {person.person: person.total for person in people}
    truth = np.array([gold[reading.person_id] for reading in readings])
    return {
        "r": round(float(np.corrcoef(total, truth)[0, 1]), 3),
        "mae": round(float(np.abs(total - truth).mean()), 2),
        "bias": round(float((total - truth).mean()), 2),
        "slope": round(float(np.polyfit(truth, total, 1)[0]), 2),
    }


def write_checkins(people: list[CheckIn], labelled: np.ndarray, folder: Path) -> Path:
    """A cohort in which only the people marked in `labelled` have their PHQ-9."""
    turns = [
        (person.person, person.person, number, message.role, message.text, None)
        for person in people
        for number, message in enumerate(person.messages)
        if message.text.strip()
    ]
    gold = [
        {"person_id": person.person, "total": person.total, "instrument": "phq9"}
        for person, is_labelled in zip(people, labelled, strict=True)
        if is_labelled
    ]
    names = [person.person for person in people]
    write_cohort(
        folder,
        pl.DataFrame(turns, schema=TURNS, orient="row"),
        pl.DataFrame(gold, schema=PHQ9),
        pl.DataFrame({"person_id": names, "locked": [False] * len(names)}),
        command="bench", settings={}, inputs={},
    )  # fmt: skip
    return folder


def server_ratings(cohort_dir: Path, chat: int, tokens: int, keep: Path) -> dict[str, Any]:
    """Ratings by the server: the chat's states, and probabilities (people, 9, 4)."""
    file = keep / "ratings.json"
    if not file.is_file():
        with serve(MODEL) as server:
            start = time.perf_counter()
            items = decision_ratings(server, readings_of(read_cohort(cohort_dir)))
            seconds = round(time.perf_counter() - start)
            states = chat_answers(server, cohort_dir, chat, tokens) if chat else None
        ratings = {"items": items.tolist(), "seconds": seconds, "chat": states}
        file.write_text(json.dumps(ratings), encoding="utf-8")
    return dict(json.loads(file.read_text(encoding="utf-8")))


class RatedCheckins(NamedTuple):
    """Label directories by teacher, and how far the ratings agree with the PHQ-9s."""

    labels: dict[str, Path]
    teachers: dict[str, Any]


def rate_checkins(people: list[CheckIn], args: argparse.Namespace, folder: Path) -> RatedCheckins:
    """Let the teachers rate everyone; labels lie in `folder`."""
    everyone = np.ones(len(people), dtype=bool)
    cohort_dir = write_checkins(people, everyone, folder / "cohort")
    cohort = read_cohort(cohort_dir)
    readings = readings_of(cohort)
    layers = anchor_ratings(readings, list(timelines(cohort)))
    labels = {ANCHORS: write_labels(folder / "a", readings, ANCHORS, layers, None)}
    teachers: dict[str, Any] = {"anchors": agreement(people, readings, layers.mean(axis=1))}
    if args.server:
        ratings = server_ratings(cohort_dir, args.chat, args.chat_tokens, args.keep or folder)
        chances = np.array(ratings["items"])
        totals = (chances @ np.arange(4)).sum(axis=1, keepdims=True)
        items = chances.argmax(axis=2)
        labels[DECISIONS] = write_labels(folder / "d", readings, DECISIONS, totals, items)
        teachers["decisions"] = {
            **agreement(people, readings, totals[:, 0]),
            "people": len(readings),
            "seconds": ratings["seconds"],
        }
        teachers["chat"] = ratings["chat"]
    return RatedCheckins(labels, teachers)


def options(parser: argparse.ArgumentParser) -> None:
    """Whether a server is asked, and how."""
    parser.add_argument("--chat", type=int, default=20, help="people asked by the rubric's JSON")
    parser.add_argument("--chat-tokens", type=int, default=400)
    parser.add_argument("--no-server", dest="server", action="store_false", help="anchors alone")
    parser.add_argument("--keep", type=Path, help="folder for the server's ratings")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Rate, and hold the ratings against the PHQ-9s."""
    with tempfile.TemporaryDirectory() as folder:
        return {"teachers": rate_checkins(load_checkins(), args, Path(folder)).teachers}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """What the teachers are worth against the PHQ-9s, nothing fitted to them."""
    teachers, table = results["teachers"], []
    titles = {"anchors": "Anchors", "decisions": "SmolLM2 asked item by item (`decisions`)"}
    for key, title in titles.items():
        if key in teachers:
            row = teachers[key]
            figure = (
                f"r {row['r']:.3f} with the PHQ-9, MAE {row['mae']:.2f}, bias "
                f"{row['bias']:+.2f}, slope {row['slope']:.2f}"
            )
            table.append((title, figure))
    if chat := teachers.get("chat"):
        states = ", ".join(f"{count} {name}" for name, count in chat["states"].items())
        figure = f"of {chat['asked']} people, {states} at {chat['max_tokens']} tokens, so "
        table.append(("SmolLM2 asked for the rubric's JSON", f"{figure}{chat['labels']} labels"))
    if "decisions" not in teachers:
        table.append(("SmolLM2 behind a local server, item by item", "not yet measured"))
    return table


if __name__ == "__main__":
    run_module()
