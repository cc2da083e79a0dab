"""People whom a teacher is to label, and settings that ask a server of this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.teacher_server import TeacherServer

from leadline.cohort.store import write_cohort
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import PEOPLE, PHQ9, TURNS, UTC_TIME
from leadline.teacher.config import LabelConfig

START = datetime(2025, 3, 1, tzinfo=UTC)
PRICES = {"price_in": 5.0, "price_out": 25.0}


def make_cohort(path: Path, texts: list[str], *, locked: int = 1, **more: Any) -> Path:
    """One conversation each; even people have a PHQ-9, the last `locked` are locked."""
    people = [f"user-{number:04d}-quokka" for number in range(len(texts))]
    turns, phq9 = [], []
    for number, (person, text) in enumerate(zip(people, texts, strict=True)):
        at = START + timedelta(days=number)
        ask = f"Hello {person}, how was your week?"
        for turn, (role, said) in enumerate([("assistant", ask), ("user", text)]):
            when = at + timedelta(minutes=turn)
            turns.append((person, f"c{number}", turn, role, said, when))
        if number % 2 == 0:
            total = float(number % 28)
            scores = [None] * 9
            phq9.append((person, at + timedelta(hours=1), total, total, *scores, "phq9", False))
    flags = [number >= len(texts) - locked for number in range(len(texts))]
    write_cohort(
        path,
        pl.DataFrame(turns, schema=TURNS, orient="row"),
        pl.DataFrame(phq9, schema=PHQ9, orient="row"),
        pl.DataFrame({"person_id": people, "locked": flags}, schema=PEOPLE),
        command="test",
        settings={},
        inputs={},
        **more,
    )
    return path


def texts(count: int) -> list[str]:
    return [f"Day {number} was slow and I slept badly" for number in range(count)]


def config(server: TeacherServer, teacher: str, **more: Any) -> LabelConfig:
    url = server.url if teacher == "anthropic" else server.url + "/v1"
    base: dict[str, Any] = {
        "teacher": teacher,
        "model": "m-1",
        "base_url": url,
        "draws": 2,
        "retries": 3,
        "poll_seconds": 0.01,
        "concurrency": 4,
    }
    return LabelConfig(**{**base, **more})


BOTH = pytest.mark.parametrize("teacher", ["anthropic", "openai"])
MODES = pytest.mark.parametrize("batch", [False, True], ids=["direct", "batch"])


def add_truth(cohort, people, *, draws=3, total=lambda n, draw: n + draw, **change):
    rows = []
    for number in range(people):
        for later, add in ((timedelta(days=-40), 20), (timedelta(hours=1), 0)):
            for draw in range(draws):
                when = START + timedelta(days=number) + later
                items = [(number + draw) % 4] * 9
                person = f"user-{number:04d}-quokka"
                rows.append((person, when, draw, *items, total(number, draw) + add))
    schema = {
        "person_id": pl.String(),
        "time": UTC_TIME,
        "draw": pl.Int16(),
        **{item: pl.Int8() for item in ITEM_COLUMNS},
        "total": pl.Float64(),
        **change,
    }
    (cohort / "truth").mkdir()
    table = pl.DataFrame(rows, schema=schema, orient="row")
    table.write_parquet(cohort / "truth" / "teacher.parquet")
    return table
