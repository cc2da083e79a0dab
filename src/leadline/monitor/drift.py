"""Figures of a night by which drift is seen, on the people of whom something is known.

Without labels: what the estimates themselves expect of their error (the mean of E|Y - median| under
their own distributions; the idea of direct loss estimation, for which a calibrated distribution
is all that is needed), their mean, the share above 10, words and turns of the windows. With
labels: how often the interval of the last estimate before a real PHQ-9 held it, and the mean error,
among all and among those who were asked at random, since the others were chosen by their estimates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select

from leadline.arrays import Array
from leadline.phq9.items import TOTALS
from leadline.store.estimates import unpack_distribution
from leadline.store.models import live_model
from leadline.store.schema import ask, drift_window, estimate, phq9
from leadline.store.times import DAY

WINDOW_DAYS = 14  # an estimate is of the fortnight before a PHQ-9
RECENT_DAYS = 90  # PHQ-9s that the figures with labels rest on
WIDTH = 0.9


def drift_figures(connection: Connection, number: int, now: int) -> dict[str, Any]:
    """Write the figures of a night; the same as a dictionary.

    Args:
        connection: of a writing transaction.
        number: days of the date since 1970-01-01.
        now: microseconds.
    """
    model = live_model(connection)
    if model is None:
        return {}
    model_id = str(model["model_id"])
    figures = _unlabelled(_last_estimates(connection, model_id, now))
    figures |= _labelled(connection, model_id, now)
    of_night = (drift_window.c.day == number) & (drift_window.c.model_id == model_id)
    connection.execute(delete(drift_window).where(of_night))
    rows = [
        {"day": number, "model_id": model_id, "figure": name, "value": value, "people": people,
         "made_at": now}
        for name, (value, people) in figures.items()
    ]  # fmt: skip
    if rows:
        connection.execute(insert(drift_window), rows)
    return {name: {"value": value, "people": people} for name, (value, people) in figures.items()}


def _last_estimates(connection: Connection, model_id: str, now: int) -> list[Any]:
    """The last estimate of everybody who said something in the last fortnight."""
    since = now - WINDOW_DAYS * DAY
    counts = (estimate.c.model_id == model_id) & estimate.c.superseded_at.is_(None)
    recent = counts & (estimate.c.time >= since)
    last = (
        select(estimate.c.person_id, func.max(estimate.c.time).label("time"))
        .where(recent)
        .group_by(estimate.c.person_id)
        .subquery()
    )
    query = (
        select(estimate)
        .join(last, (last.c.person_id == estimate.c.person_id) & (last.c.time == estimate.c.time))
        .where(recent)
    )
    rows = {row["person_id"]: row for row in connection.execute(query).mappings()}
    return list(rows.values())


def _unlabelled(rows: list[Any]) -> dict[str, tuple[float, int]]:
    if not rows:
        return {}
    people = len(rows)
    distributions = np.stack([unpack_distribution(bytes(row["distribution"])) for row in rows])
    medians = np.array([row["median"] for row in rows])
    expected = (distributions * np.abs(np.arange(TOTALS) - medians[:, None])).sum(axis=1)
    figures = {
        "expected absolute error": expected,
        "mean estimate": np.array([row["mean"] for row in rows]),
        "estimated share at 10 or more": np.array([row["p_ge_10"] for row in rows]),
        "words of a window": np.array([row["window_words"] for row in rows]),
        "turns of a window": np.array([row["window_turns"] for row in rows]),
    }
    return {name: (float(values.mean()), people) for name, values in figures.items()}


def _labelled(connection: Connection, model_id: str, now: int) -> dict[str, tuple[float, int]]:
    """Estimates before recent PHQ-9s held against them; of a person the last pair counts."""
    query = (
        select(phq9.c.person_id, phq9.c.time, phq9.c.total, ask.c.drawn_at_random)
        .outerjoin(ask, ask.c.id == phq9.c.ask_id)
        .where(phq9.c.retracted_at.is_(None), phq9.c.time >= now - RECENT_DAYS * DAY)
        .where(phq9.c.instrument == "phq9")
        .order_by(phq9.c.time, phq9.c.id)
    )
    pairs: dict[str, tuple[Any, Any]] = {}
    for row in connection.execute(query).mappings().all():
        before = _estimate_before(connection, model_id, row)
        if before is not None:
            pairs[row["person_id"]] = (row, before)
    drawn = [pair for pair in pairs.values() if pair[0]["drawn_at_random"]]
    return _held(list(pairs.values()), "") | _held(drawn, ", asked at random")


def _estimate_before(connection: Connection, model_id: str, row: Any) -> Any:
    query = (
        select(estimate)
        .where(estimate.c.person_id == row["person_id"], estimate.c.model_id == model_id)
        .where(estimate.c.superseded_at.is_(None), estimate.c.time <= row["time"])
        .where(estimate.c.time > row["time"] - WINDOW_DAYS * DAY)
        .order_by(estimate.c.time.desc(), estimate.c.seq.desc())
        .limit(1)
    )
    return connection.execute(query).mappings().first()


def _held(pairs: list[tuple[Any, Any]], who: str) -> dict[str, tuple[float, int]]:
    if not pairs:
        return {}
    total = np.array([row["total"] for row, _ in pairs])
    lower, upper, median = (
        np.array([before[name] for _, before in pairs]) for name in ("lower", "upper", "median")
    )
    inside: Array = ((lower <= total) & (total <= upper)).astype(np.float64)
    people = len(pairs)
    return {
        f"90% interval holds{who}": (float(inside.mean()), people),
        f"absolute error{who}": (float(np.abs(total - median).mean()), people),
        f"PHQ-9 less estimate{who}": (float((total - median).mean()), people),
    }
