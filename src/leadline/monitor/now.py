"""What a list shows of a person now, made from what the store knows, in one transaction.

All of it can be made again at any time: it is a view of estimates, PHQ-9s and asks. A person whose
record changed is marked (`refresh_due`); whoever comes first makes the view again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, insert, select, update

from leadline.monitor.asks import ask_reason, ask_value
from leadline.monitor.belief import Belief, beliefs
from leadline.monitor.config import MonitorConfig, read_config
from leadline.monitor.course import CourseChange
from leadline.monitor.records import Record, keep_parameters, read_parameters, read_records
from leadline.monitor.standing import Direction, Facts, Standing, next_standing
from leadline.monitor.statespace import OFFSET, SEVERITY, STATES, CourseParameters
from leadline.phq9.distribution import Totals
from leadline.store import schema
from leadline.store.lanes import replace_entries
from leadline.store.models import live_model
from leadline.store.people import StoredPerson, people_by_id
from leadline.store.schema import person, person_now
from leadline.store.store import Store
from leadline.store.times import DAY, day

INTERVAL = 0.9
SPARK_DAYS = 30
AT_ONCE = 200  # people refreshed in one transaction
LANES_OF_VIEWS = ("everyone", "changed", "silent")
CHANGED = ("turning worse", "turning better", "reliably worse", "reliably better")


@dataclass(frozen=True)
class Ground:
    """What every view rests on.

    Attributes:
        model_id: of the live model; empty before there is one.
        parameters: of the course.
        config: of the team.
        without_labels: whether the model has never seen a label.
    """

    model_id: str
    parameters: CourseParameters
    config: MonitorConfig
    without_labels: bool


def read_ground(connection: Connection) -> Ground:
    """The live model, its parameters and the team's settings."""
    model = live_model(connection)
    model_id = "" if model is None else str(model["model_id"])
    without_labels = bool(model is not None and model["without_labels"])
    parameters = read_parameters(connection, model_id)
    return Ground(model_id, parameters, read_config(connection), without_labels)


def refresh_people(store: Store, person_ids: Sequence[str], now: int) -> None:
    """Make again what the list shows of some people."""
    for first in range(0, len(person_ids), AT_ONCE):
        part = list(person_ids[first : first + AT_ONCE])
        store.database.write(partial(_refresh, store=store, person_ids=part, now=now))


def refresh_due(store: Store, now: int, count: int = AT_ONCE) -> int:
    """Make again what is older than what it is made from; how many people."""
    query = select(person.c.id).where(person.c.refresh_due.is_not(None)).limit(count)
    ids = store.database.read(lambda connection: list(connection.execute(query).scalars()))
    refresh_people(store, ids, now)
    return len(ids)


def _refresh(connection: Connection, store: Store, person_ids: list[str], now: int) -> None:
    people = people_by_id(connection, store.vault, person_ids, lock=True)
    ground = read_ground(connection)
    ids = list(people)
    records = read_records(connection, ids, ground.model_id)
    starts = [
        None if row is None else day(row)
        for row in (people[person_id].row["treatment_start"] for person_id in ids)
    ]
    ends, paths = beliefs([records[person_id] for person_id in ids], starts, ground.parameters)
    params_id = keep_parameters(connection, ground.parameters, ground.model_id, now)
    _write_beliefs(connection, dict(zip(ids, ends, strict=True)), ground.model_id, params_id)
    before = standings_before(connection, ids)
    views = []
    for person_id, belief, path in zip(ids, ends, paths, strict=True):
        subject = Seen(people[person_id], records[person_id], belief, before.get(person_id))
        views.append(_view(connection, subject, ground, now) | {"spark": _spark(path, now)})
    write_views(connection, people, views)
    connection.execute(update(person).where(person.c.id.in_(ids)).values(refresh_due=None))


@dataclass(frozen=True)
class Seen:
    """A person as a view is made of them."""

    stored: StoredPerson
    record: Record
    belief: Belief | None
    standing: Standing | None


def standings_before(connection: Connection, person_ids: Sequence[str]) -> dict[str, Standing]:
    """The standings that people have in their views."""
    query = select(person_now.c.person_id, person_now.c.standing_state)
    rows = connection.execute(query.where(person_now.c.person_id.in_(person_ids)))
    return {person_id: Standing.from_json(state) for person_id, state in rows}


def _view(connection: Connection, subject: Seen, ground: Ground, now: int) -> dict[str, Any]:
    last_ask = _last_ask(connection, subject.stored.id)
    return view_of(subject, ground, now) | {"last_ask_at": last_ask}


def view_of(subject: Seen, ground: Ground, now: int) -> dict[str, Any]:
    """The row of `person_now` of one person, without what only asks know."""
    today, record = day(now), subject.record
    belief = None if subject.belief is None else subject.belief.at(today, ground.parameters)
    change = None if belief is None else belief.change(ground.config.points, ground.parameters)
    facts = _facts(subject, change)
    standing = next_standing(subject.standing, facts, today, ground.config.standing)
    numbers = _numbers(belief, record, ground)
    return {
        "person_id": subject.stored.id,
        "team_id": subject.stored.row["team_id"],
        "model_id": ground.model_id,
        "at": now,
        **numbers,
        "p_worse": None if change is None else change.p_worse,
        "p_better": None if change is None else change.p_better,
        "words_of_change": None if change is None else change.words,
        "words": record.words,
        "standing": standing.name,
        "standing_since": int(standing.since * DAY),
        "standing_state": standing.to_json(),
        "last_message_at": record.last_message,
        "last_phq9_at": None if record.last_phq9 is None else record.last_phq9[0],
        "last_phq9_total": None if record.last_phq9 is None else record.last_phq9[1],
    }


def _facts(subject: Seen, change: CourseChange | None) -> Facts:
    reliable: Direction = ""
    if change is not None and change.words.startswith("reliably"):
        reliable = "worse" if change.mean > 0 else "better"
    last = subject.record.last_message
    return Facts(
        p_worse=0.0 if change is None else change.p_worse,
        p_better=0.0 if change is None else change.p_better,
        reliable=reliable,
        last_message_day=None if last is None else day(last),
        words=subject.record.words,
        failed=subject.stored.row["failed"] is not None,
        conversations=frozenset(
            int(person_id.day) for person_id in subject.record.history.estimates
        ),
    )


def _numbers(belief: Belief | None, record: Record, ground: Ground) -> dict[str, Any]:
    """Mean, interval and worth of an answer; all absent where nothing can be said."""
    names = ("mean", "lower", "upper", "sd", "p_ge_10", "p_ge_20", "value", "reason")
    if belief is None:
        return dict.fromkeys(names)
    mean, variance = belief.severity(ground.parameters)
    sd = math.sqrt(max(variance, 0.0))
    totals = Totals.normal(np.array([mean]), np.array([max(sd, 1e-6)]))
    lower, upper = (float(bound[0]) for bound in totals.delivered_interval(INTERVAL))
    rule = ground.config.ask_rule(ground.parameters.sem)
    gain = _offset_gain(belief, ground.parameters)
    value = ask_value(np.array([mean]), np.array([variance]), np.array([gain]), rule)
    bounded = float(np.clip(mean, 0, 27))
    nearest = min(rule.cuts, key=lambda cut: abs(cut - mean))
    reason = ask_reason(bounded, (lower, upper), nearest,
                        answered=record.last_phq9 is not None, at_random=False)  # fmt: skip
    figures = (bounded, lower, upper, sd, totals.at_least(10)[0], totals.at_least(20)[0], value[0])
    return dict(zip(names, (*map(float, figures), reason), strict=True))


def _offset_gain(belief: Belief, parameters: CourseParameters) -> float:
    """Variance of the lasting error that a PHQ-9 now would remove, of 1."""
    column = belief.covariance[:STATES, :STATES] @ SEVERITY
    return float(column[OFFSET] ** 2 / (SEVERITY @ column + parameters.sem**2))


def _spark(path: Sequence[tuple[float, float]], now: int) -> str:
    """The last days of a course for a small drawing: days ago and points, the last of each."""
    today = day(now)
    bounded = {
        int(today) - int(when): round(mean, 1) for when, mean in path if today - when <= SPARK_DAYS
    }
    return json.dumps(sorted(bounded.items(), reverse=True))


def _last_ask(connection: Connection, person_id: str) -> int | None:
    ask = schema.ask
    query = select(ask.c.asked_at).where(ask.c.person_id == person_id, ask.c.asked_at.is_not(None))
    return connection.execute(query.order_by(ask.c.asked_at.desc()).limit(1)).scalar()


def _write_beliefs(
    connection: Connection, ends: dict[str, Belief | None], model_id: str, params_id: str
) -> None:
    belief = schema.belief
    of_model = belief.c.person_id.in_(list(ends)) & (belief.c.model_id == model_id)
    connection.execute(delete(belief).where(of_model))
    rows = [
        {
            "person_id": person_id,
            "model_id": model_id,
            "params_id": params_id,
            "day": end.day,
            "reference_day": end.reference_day,
            "state": end.pack(),
        }
        for person_id, end in ends.items()
        if end is not None
    ]
    if rows:
        connection.execute(insert(belief), rows)


def write_views(
    connection: Connection, people: dict[str, StoredPerson], views: Sequence[dict[str, Any]]
) -> None:
    """Put the views of people in the place of the old ones, and the people into their lanes."""
    if not views:
        return
    ids = [view["person_id"] for view in views]
    connection.execute(delete(person_now).where(person_now.c.person_id.in_(ids)))
    connection.execute(insert(person_now), list(views))
    entries = [
        {
            "lane": lane,
            "person_id": view["person_id"],
            "team_id": people[view["person_id"]].row["team_id"],
            "rank": rank,
        }
        for view in views
        for lane, rank in _ranks(view).items()
    ]
    replace_entries(connection, LANES_OF_VIEWS, ids, entries)


def _ranks(view: dict[str, Any]) -> dict[str, float]:
    """The lanes that follow from a view, and the places in them.

    Those of item 9 and of asks have rules of their own.
    """
    ranks = {"everyone": float(view["last_message_at"] or 0)}
    if view["standing"] in CHANGED:
        worse = "worse" in view["standing"]
        sure = view["standing"].startswith("reliably")
        chance = float(view["p_worse" if worse else "p_better"] or 0)
        ranks["changed"] = 4.0 * worse + 2.0 * sure + chance
    if view["standing"] == "silent":
        ranks["silent"] = -float(view["last_message_at"] or 0)
    return ranks
