"""From rows of the store to histories: what is known of people, as the course takes it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, func, select

from leadline.monitor.course import DatedAnswer, DatedEstimate, History
from leadline.monitor.statespace import CourseParameters
from leadline.store.estimates import counted
from leadline.store.models import newest_params, put_params
from leadline.store.schema import estimate, message, phq9
from leadline.store.times import day

ITEM9_VARIANCE = 0.5
"""Points squared: what leaving item 9 out adds to a PHQ-8 that stands for a PHQ-9. Most people who
seek help answer it with 0, so a PHQ-8 is a little lower and little less exact."""
PRORATED_VARIANCE = 1.0
"""Points squared: of a total in which up to two answers were replaced by the mean of the others."""


@dataclass(frozen=True)
class Record:
    """What the store knows of one person.

    Attributes:
        history: estimates and PHQ-9s that count.
        words: of the person in the window of the last estimate; None without one.
        last_message: of the person, microseconds; None without one.
        last_phq9: time in microseconds and total; None without one.
    """

    history: History
    words: int | None
    last_message: int | None
    last_phq9: tuple[int, float] | None


def read_records(
    connection: Connection, person_ids: Sequence[str], model_id: str, asof: int | None = None
) -> dict[str, Record]:
    """Records of people, by their ids in the store.

    Args:
        connection: of a transaction.
        person_ids: of the store.
        model_id: whose estimates count; those of two models are never mixed.
        asof: what was known then, microseconds; None: what counts now.
    """
    estimates = _estimates(connection, person_ids, model_id, asof)
    answers = _answers(connection, person_ids, asof)
    last = _last_messages(connection, person_ids, asof)
    return {
        person_id: _record(estimates[person_id], answers[person_id], last.get(person_id))
        for person_id in person_ids
    }


def _estimates(
    connection: Connection, person_ids: Sequence[str], model_id: str, asof: int | None
) -> dict[str, list[Any]]:
    names = ("person_id", "seq", "time", "mean", "variance", "window_words")
    query = (
        select(*(estimate.c[name] for name in names))
        .where(estimate.c.person_id.in_(person_ids), estimate.c.model_id == model_id)
        .where(counted(estimate.c, asof, "made_at", "superseded_at"))
        .order_by(estimate.c.person_id, estimate.c.time, estimate.c.seq)
    )
    return _by_person(connection, query)


def _answers(
    connection: Connection, person_ids: Sequence[str], asof: int | None
) -> dict[str, list[Any]]:
    query = (
        select(phq9.c.person_id, phq9.c.time, phq9.c.total, phq9.c.instrument, phq9.c.prorated)
        .where(phq9.c.person_id.in_(person_ids))
        .where(counted(phq9.c, asof, "received_at", "retracted_at"))
        .order_by(phq9.c.person_id, phq9.c.time, phq9.c.id)
    )
    return _by_person(connection, query)


def _last_messages(
    connection: Connection, person_ids: Sequence[str], asof: int | None
) -> dict[str, int]:
    query = (
        select(message.c.person_id, func.max(message.c.time))
        .where(message.c.person_id.in_(person_ids), message.c.role == "user")
        .where(counted(message.c, asof, "received_at", "superseded_at"))
        .group_by(message.c.person_id)
    )
    return {person_id: int(time) for person_id, time in connection.execute(query)}


def _by_person(connection: Connection, query: Any) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        out[row["person_id"]].append(row)
    return out


def _record(estimates: list[Any], answers: list[Any], last_message: int | None) -> Record:
    history = History(
        tuple(
            DatedEstimate(day(row["time"]), row["mean"], row["variance"], row["seq"])
            for row in estimates
        ),
        tuple(
            DatedAnswer(day(row["time"]), row["total"], further_variance(row)) for row in answers
        ),
    )
    words = int(estimates[-1]["window_words"]) if estimates else None
    last = (int(answers[-1]["time"]), float(answers[-1]["total"])) if answers else None
    return Record(history, words, last_message, last)


def further_variance(row: Any) -> float:
    """Variance of an answered total beyond that of a full PHQ-9, points squared."""
    shorter = ITEM9_VARIANCE if row["instrument"] == "phq8" else 0.0
    return shorter + (PRORATED_VARIANCE if row["prorated"] else 0.0)


def parameters_id(parameters: CourseParameters) -> str:
    """The id of parameters: equal ones have one."""
    return sha256(_content(parameters).encode()).hexdigest()


def keep_parameters(
    connection: Connection, parameters: CourseParameters, model_id: str, now: int
) -> str:
    """Keep parameters of a course for the estimates of a model; their id."""
    params_id = parameters_id(parameters)
    content = (_content(parameters), parameters.people)
    put_params(connection, params_id, model_id, content, now)
    return params_id


def read_parameters(connection: Connection, model_id: str) -> CourseParameters:
    """The newest parameters for a model's estimates; the defaults, which say so, without any."""
    row = newest_params(connection, model_id)
    return CourseParameters() if row is None else CourseParameters(**json.loads(row["content"]))


def _content(parameters: CourseParameters) -> str:
    values = asdict(parameters)
    return json.dumps({field.name: values[field.name] for field in fields(parameters)})
