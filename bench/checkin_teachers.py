"""Two local teachers that rate the check-ins, and nobody's text leaves the machine.

*anchors*: SmolLM2's states between the statements of absence and of presence of each symptom
(`leadline.readers.anchors`), on a scale of 0 to 27 that was fitted to no PHQ-9; its draws
are layers, which `checkins_table.py` once compared on these people. *decisions*: SmolLM2 behind
`transformers serve`, asked the nine items of the rubric one by one, the probabilities of 0-3
read at the answer (`local_teacher.rate`). The same model asked for the rubric's JSON is counted
as well: how many of its answers are a rating.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from checkins import CheckIn
from leadline.artefact import sha256, write_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Message
from leadline.cohort.windows import Span
from leadline.heads.design import pool_states
from leadline.phq9.items import ITEM_COLUMNS
from leadline.readers.anchors import anchor_names, anchor_statements
from leadline.readers.config import ReaderConfig
from leadline.readers.state_cache import StateCache, cached_states
from leadline.runs.state_source import StateSource
from leadline.tables import LABELS
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import LABELS_FILE
from leadline.teacher.selection import cohort_readings
from leadline.teacher.transcript import TeacherReading, render
from local_teacher import MODEL, Server, rate

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
    said = np.stack([state[0] for state in cached_states(reader, talks, StateCache(reader))])
    states = source.read(timelines)
    spans = [Span(row, reading.first, reading.last) for row, reading in enumerate(readings)]
    out = []
    for view, (_, part) in source.views.items():
        pooled = pool_states(states, spans, view, "mean")
        shares = []
        for name in anchor_names():
            mine = np.array([a.direction == name for a in anchors])
            present = np.array([a.present for a in anchors])
            low = said[mine & ~present][:, part].mean(axis=0, dtype=np.float64)
            high = said[mine & present][:, part].mean(axis=0, dtype=np.float64)
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
        found = label_cohort(cohort, Path(folder) / "labels", config, window=WINDOW)
    states = {name: count for name, count in found["states"].items() if count}
    return {"asked": people, "max_tokens": max_tokens, "states": states, "labels": found["labels"]}


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
    given = np.array([gold[reading.person_id] for reading in readings])
    return {
        "r": round(float(np.corrcoef(total, given)[0, 1]), 3),
        "mae": round(float(np.abs(total - given).mean()), 2),
        "bias": round(float((total - given).mean()), 2),
        "slope": round(float(np.polyfit(given, total, 1)[0]), 2),
    }
