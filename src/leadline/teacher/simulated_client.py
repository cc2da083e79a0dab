"""The simulator's teacher: answers are read from the cohort's own truth, nothing is sent.

A simulated cohort holds `truth/teacher.parquet`: person_id, time, draw, item_1..item_9,
total. Its draws pass through the same store, rubric and label table as a real teacher's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import TRUTH
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, check_truth
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import LABELS
from leadline.teacher.client import Answer
from leadline.teacher.rubric import HIGHEST_TOTAL, ITEM_NAMES, parse_rating
from leadline.teacher.transcript import Request, TeacherReading

RATINGS = f"{TRUTH}/teacher.parquet"

COLUMNS = ("person_id", "time", "draw", *ITEM_COLUMNS, "total")


class SimulatedClient:
    """Implements `Client`. A request's transcript is the key that `reading_key` gives."""

    def __init__(self, cohort: Path) -> None:
        path = cohort / RATINGS
        if not path.is_file():
            raise LeadlineError(
                "This cohort has no simulated teacher.",
                remedy="Use a cohort that `leadline simulate` made, or another --teacher.",
                file=path,
            )
        table = pl.read_parquet(check_truth(cohort, RATINGS))
        missing = [name for name in COLUMNS if name not in table.columns]
        if missing:
            raise LeadlineError(
                f"The simulated teacher lacks the columns {', '.join(missing)}.",
                remedy="Simulate the cohort again with this version of Leadline.",
                file=path,
            )
        self._answers: dict[str, dict[datetime | None, dict[int, str]]] = {}
        for person, moment, draw, *scores in table.select(COLUMNS).iter_rows():
            times = self._answers.setdefault(person, {})
            times.setdefault(_utc(moment), {})[int(draw)] = _reply(scores)

    def ask(self, request: Request) -> Answer:
        """The simulated draw for the person and the moment nearest to the reading's."""
        person, stamp = json.loads(request.transcript)
        moment = None if stamp is None else datetime.fromisoformat(stamp)
        times = self._answers.get(person)
        if not times:
            return Answer("failed", error="no simulated answer")
        reply = times[min(times, key=_distance(moment))].get(request.draw)
        if reply is None:
            return Answer("failed", error="no such draw")
        return Answer("done", reply, 0, 0)

    def close(self) -> None:
        """Nothing is open."""


def reading_key(reading: TeacherReading) -> str:
    """What stands in for the transcript: person and moment, which stay on this machine."""
    return json.dumps([reading.person_id, reading.as_of and _utc(reading.as_of).isoformat()])


def _distance(moment: datetime | None) -> Callable[[datetime | None], float]:
    def seconds(time: datetime | None) -> float:
        if moment is None or time is None:
            return 0.0 if moment is time else float("inf")
        return abs((time - moment).total_seconds())

    return seconds


def _utc(moment: datetime) -> datetime:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _reply(scores: list[float | None]) -> str:
    *items, total = scores
    answer: dict[str, object] = {
        name: {
            "quote": "",
            "score": None if score is None else min(3, max(0, round(score))),
            "confidence": "medium",
        }
        for name, score in zip(ITEM_NAMES, items, strict=True)
    }
    answer["total"] = min(HIGHEST_TOTAL, max(0, round(total or 0)))
    return json.dumps(answer)


SIMULATED = "simulated"


def simulated_draws(cohort: Cohort, window: WindowConfig, teacher: str = SIMULATED) -> pl.DataFrame:
    """The simulated teacher's draws of locked people's gold readings, for scoring alone.

    Args:
        cohort: a simulated cohort on disk.
        window: which text counts.
        teacher: the name that the teacher has in the labels.

    Returns:
        A table of `tables.LABELS` without items.

    Raises:
        LeadlineError: the cohort has no simulated teacher.
    """
    assert cohort.path is not None, "a simulated teacher reads the cohort's own truth"
    client = SimulatedClient(cohort.path)
    readings = label_readings(cohort, window).filter("locked")
    rows: list[dict[str, Any]] = []
    for person, time, first, last in readings.select(
        "person_id", "time", "first", "last"
    ).iter_rows():
        key = reading_key(TeacherReading(person, time, (), first, last))
        for draw in count():
            answer = client.ask(Request("", "", key, draw))
            rating = parse_rating(answer.text or "") if answer.state == "done" else None
            if rating is None:
                break
            rows.append(
                {"person_id": person, "time": time, "first": first, "last": last}
                | {"source": "teacher", "round": 0, "model": teacher, "draw": draw}
                | {"total": float(rating.total), "weight": 1.0, "ancestors": []}
            )
    return pl.DataFrame(rows, schema=LABELS)
