"""The night: everybody moved on, asks of the day, courses, drift, retention. Each once a date.

Every step puts down that it ended (`night`), in the transaction of its last write where it has one,
so a night that was killed goes on where it was and a date that is run twice does nothing twice:
above all, the lot of the day is drawn once. Steps are counts alone; nothing is sent to anybody.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from leadline.monitor.answering import read_answering
from leadline.monitor.asks import ask_reason, choose_asks
from leadline.monitor.belief import Belief
from leadline.monitor.course import History, smoothed_course
from leadline.monitor.drift import drift_figures
from leadline.monitor.now import (
    Ground,
    Seen,
    read_ground,
    refresh_people,
    standings_before,
    view_of,
    write_views,
)
from leadline.monitor.records import Record, read_records
from leadline.store import schema
from leadline.store.asks import Suggestion, end_old_asks, suggest
from leadline.store.lanes import replace_entries
from leadline.store.people import people_by_id
from leadline.store.schema import night, person, person_now
from leadline.store.store import Store
from leadline.store.times import DAY, day
from leadline.store.work import try_again

AT_ONCE = 500
QUIET = ("steady", "silent", "unknown", "cannot be estimated")
EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Night:
    """One night of a store.

    Attributes:
        store: that it works on.
        number: days of the date since 1970-01-01.
        now: microseconds, at which views are made.
        seed: of the lot of the day.
    """

    store: Store
    number: int
    now: int
    seed: int = 0


def run_night(
    store: Store,
    when: date,
    now: int,
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Do what is left of a night's steps; what each did, in counts."""
    this = Night(store, when.toordinal() - EPOCH_DAY, now, seed)
    steps = _done(this)
    for name, step in STEPS.items():
        if name in steps:
            continue
        if progress is not None:
            progress(name)
        content = step(this)
        store.database.write(partial(_put_down, this=this, step=name, content=content))
        steps[name] = content
    return steps


def _done(this: Night) -> dict[str, dict[str, Any]]:
    return this.store.database.read(partial(_done_by, this=this))


def _done_by(connection: Connection, this: Night) -> dict[str, dict[str, Any]]:
    query = select(night.c.step, night.c.content).where(night.c.day == this.number)
    return {step: json.loads(content) for step, content in connection.execute(query).all()}


def _put_down(connection: Connection, this: Night, step: str, content: dict[str, Any]) -> None:
    earlier = select(night.c.step).where(night.c.day == this.number, night.c.step == step)
    if connection.execute(earlier).first() is None:
        values = {"day": this.number, "step": step, "ended_at": this.now}
        connection.execute(insert(night).values(**values, content=json.dumps(content)))


def _tidy(this: Night) -> dict[str, Any]:
    """End asks past their time, and have read again who could not be read."""

    def work(connection: Connection) -> dict[str, Any]:
        ended, again = end_old_asks(connection, this.now), try_again(connection, this.now)
        return {"asks ended": ended, "people to be read again": again}

    return this.store.database.write(work)


def everybody(store: Store) -> list[str]:
    """Ids of everybody who was not forgotten."""
    query = select(person.c.id).where(person.c.forgotten_at.is_(None)).order_by(person.c.id)
    return store.database.read(lambda connection: list(connection.execute(query).scalars()))


def _move_on(this: Night) -> dict[str, Any]:
    """Views of everybody on this day: aged beliefs, and whole histories where anything turns."""
    counts = {"people": 0, "from their history": 0}
    for part in _parts(everybody(this.store)):
        rest = this.store.database.write(partial(_age, this=this, person_ids=part))
        refresh_people(this.store, rest, this.now)
        counts["people"] += len(part)
        counts["from their history"] += len(rest)
    return counts


def _age(connection: Connection, this: Night, person_ids: Sequence[str]) -> list[str]:
    """Age the views of people of whom nothing new was heard; those who need more are returned."""
    people = people_by_id(connection, this.store.vault, person_ids, lock=True)
    ground = read_ground(connection)
    belief_rows = _beliefs(connection, list(people), ground)
    before = standings_before(connection, list(people))
    views, rest = [], []
    old = _views(connection, list(people))
    for person_id, stored in people.items():
        row, view = belief_rows.get(person_id), old.get(person_id)
        if row is None or view is None or stored.row["refresh_due"] is not None:
            rest.append(person_id)
            continue
        belief = Belief.unpack(bytes(row["state"]), row["day"], row["reference_day"])
        record = Record(
            History(), view["words"], view["last_message_at"],
            None if view["last_phq9_at"] is None
            else (view["last_phq9_at"], view["last_phq9_total"]),
        )  # fmt: skip
        aged = view_of(Seen(stored, record, belief, before[person_id]), ground, this.now)
        if aged["standing"] not in QUIET or before[person_id].name not in QUIET:
            rest.append(person_id)
        else:
            views.append(aged | {"last_ask_at": view["last_ask_at"], "spark": view["spark"]})
    write_views(connection, people, views)
    return rest


def _beliefs(connection: Connection, person_ids: list[str], ground: Ground) -> dict[str, Any]:
    table = schema.belief
    query = select(table).where(
        table.c.person_id.in_(person_ids), table.c.model_id == ground.model_id
    )
    return {row["person_id"]: row for row in connection.execute(query).mappings()}


def _views(connection: Connection, person_ids: list[str]) -> dict[str, Any]:
    query = select(person_now).where(person_now.c.person_id.in_(person_ids))
    return {row["person_id"]: row for row in connection.execute(query).mappings()}


def _courses(this: Night) -> dict[str, Any]:
    """Smoothed courses of whoever something was heard of since their days were written."""
    ids = this.store.database.read(_heard_of)
    rows = 0
    for part in _parts(ids):
        rows += this.store.database.write(partial(_write_days, person_ids=part))
    return {"people": len(ids), "days": rows}


def _heard_of(connection: Connection) -> list[str]:
    """People whose belief is of another event than their last written day."""
    belief, course = schema.belief, schema.course_day
    last = (
        select(func.max(course.c.day))
        .where(course.c.person_id == belief.c.person_id, course.c.model_id == belief.c.model_id)
        .scalar_subquery()
    )
    stamp = func.coalesce(belief.c.courses_at, -1.0)
    query = select(belief.c.person_id).where((stamp != belief.c.day) | last.is_(None))
    return list(connection.execute(query.order_by(belief.c.person_id)).scalars())


def _write_days(connection: Connection, person_ids: Sequence[str]) -> int:
    ground = read_ground(connection)
    records = read_records(connection, person_ids, ground.model_id)
    course, belief = schema.course_day, schema.belief
    of_model = course.c.person_id.in_(person_ids) & (course.c.model_id == ground.model_id)
    connection.execute(delete(course).where(of_model))
    rows = [
        row
        for person_id in person_ids
        for row in course_days(records[person_id].history, person_id, ground)
    ]
    if rows:
        connection.execute(insert(course), rows)
    written = update(belief).where(belief.c.person_id.in_(person_ids))
    connection.execute(written.values(courses_at=belief.c.day))
    return len(rows)


def course_days(history: History, person_id: str, ground: Ground) -> list[dict[str, Any]]:
    """Severity at the end of each day from the first thing heard to the last, as rows."""
    if not history.days:
        return []
    first, last = math.floor(min(history.days)), math.floor(max(history.days))
    days = np.arange(first, last + 1, dtype=np.float64)
    course = smoothed_course(history, days + 1, ground.parameters)
    lower, upper = course.interval()
    mean = np.clip(course.mean, 0.0, 27.0)
    return [
        {
            "person_id": person_id, "day": int(number), "model_id": ground.model_id,
            "mean": float(m), "lower": float(a), "upper": float(b),
        }
        for number, m, a, b in zip(days, mean, lower, upper, strict=True)
    ]  # fmt: skip


def _ask(this: Night) -> dict[str, Any]:
    """The asks of the day, and the lane of asks."""

    def work(connection: Connection) -> dict[str, Any]:
        drawn = _done_by(connection, this).get("asks")
        if drawn is not None:  # by a night that ran beside this one
            return drawn
        _put_down(connection, this, "asks", {})  # one that runs beside waits here, and comes back
        content = _choose(connection, this)
        of_asks = update(night).where(night.c.day == this.number, night.c.step == "asks")
        connection.execute(of_asks.values(content=json.dumps(content)))  # with the lot, or neither
        return content

    return this.store.database.write(work)


def _choose(connection: Connection, this: Night) -> dict[str, Any]:
    ground = read_ground(connection)
    rows = _askable(connection)
    rule = ground.config.ask_rule(ground.parameters.sem)
    ids = [row["person_id"] for row in rows]
    since = np.array([_days_since(row, this.now) for row in rows])
    value = np.array([float(row["value"]) for row in rows])
    eligible = int((since >= rule.cooldown).sum())
    count = round(ground.config.ask_share * eligible)
    answering = read_answering(connection)
    chosen = choose_asks(value, since, count, rule, this.seed + this.number,
                         answering.chances(ids))  # fmt: skip
    for at, drawn, chance in zip(chosen.people, chosen.at_random, chosen.propensity, strict=True):
        row = rows[int(at)]
        reason = row["reason"]
        if drawn:
            bounds = (row["lower"], row["upper"])
            reason = ask_reason(row["mean"], bounds, rule.cuts[0], answered=True, at_random=True)
        suggestion = Suggestion(
            row["person_id"], reason, value[int(at)], bool(drawn), float(chance)
        )
        suggest(connection, suggestion, this.now)
    listed = _list_asks(connection, this)
    return {
        "may be asked": eligible,
        "suggested": len(chosen.people),
        "drawn at random": int(chosen.at_random.sum()),
        "listed": listed,
        "answer rate": answering.rate,
    }


def _askable(connection: Connection) -> list[Any]:
    """Views of people who could be asked: agreed, estimated, active, without an open ask."""
    ask = schema.ask
    has_open = select(ask.c.id).where(
        ask.c.person_id == person_now.c.person_id, ask.c.ended_at.is_(None)
    )
    query = (
        select(person_now)
        .join(person, person.c.id == person_now.c.person_id)
        .where(person.c.estimate_allowed, person.c.forgotten_at.is_(None))
        .where(person_now.c.value.is_not(None), ~has_open.exists())
        .where(person_now.c.standing.not_in(("silent", "cannot be estimated")))
        .order_by(person_now.c.person_id)
    )
    return list(connection.execute(query).mappings())


def _days_since(row: Any, now: int) -> float:
    """Days since a person's last PHQ-9 or ask; infinite where there was none."""
    last = [at for at in (row["last_phq9_at"], row["last_ask_at"]) if at is not None]
    return (now - max(last)) / DAY if last else math.inf


def _list_asks(connection: Connection, this: Night) -> int:
    """Put everybody with an open suggestion that is not put off into the lane of asks."""
    ask = schema.ask
    query = (
        select(ask.c.person_id, ask.c.value, person.c.team_id)
        .join(person, person.c.id == ask.c.person_id)
        .where(ask.c.ended_at.is_(None), ask.c.asked_at.is_(None))
        .where(ask.c.snoozed_until.is_(None) | (ask.c.snoozed_until <= this.now))
    )
    entries = [
        {"lane": "ask", "person_id": person_id, "team_id": team, "rank": float(value or 0.0)}
        for person_id, value, team in connection.execute(query).all()
    ]
    listed = select(schema.lane_entry.c.person_id).where(schema.lane_entry.c.lane == "ask")
    gone = list(connection.execute(listed).scalars())
    replace_entries(connection, ["ask"], gone, entries)
    return len(entries)


def _drift(this: Night) -> dict[str, Any]:
    """Figures by which a change of the population or of the model's worth is seen."""
    return this.store.database.write(partial(drift_figures, number=this.number, now=this.now))


def _retain(this: Night) -> dict[str, Any]:
    """Delete what was superseded longer ago than the team keeps it."""
    return this.store.database.write(partial(_delete_old, now=this.now))


def _delete_old(connection: Connection, now: int) -> dict[str, Any]:
    days = read_ground(connection).config.keep_days
    if days <= 0:
        return {"kept": "for good"}
    limit = now - int(days * DAY)
    old = schema.estimate.c.superseded_at < limit
    estimates = connection.execute(delete(schema.estimate).where(old)).rowcount
    gone = (schema.message.c.superseded_at < limit) & schema.message.c.sealed_text.is_not(None)
    texts = update(schema.message).where(gone).values(sealed_text=None)
    return {"estimates deleted": estimates, "texts deleted": connection.execute(texts).rowcount}


def _parts(ids: Sequence[str]) -> list[list[str]]:
    return [list(ids[first : first + AT_ONCE]) for first in range(0, len(ids), AT_ONCE)]


STEPS: dict[str, Callable[[Night], dict[str, Any]]] = {
    "tidy": _tidy,
    "move on": _move_on,
    "courses": _courses,
    "asks": _ask,
    "drift": _drift,
    "retention": _retain,
}


def night_of(now: int) -> date:
    """The date, in UTC, of a moment in microseconds."""
    return date.fromordinal(EPOCH_DAY + math.floor(day(now)))
