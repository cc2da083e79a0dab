"""Asks in the store: suggested, asked, answered, declined, put off, or past their time.

An ask that was drawn at random keeps its chance (`propensity`), so that answers can be weighted
later. An ask ends once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from leadline.errors import LeadlineError
from leadline.store.lanes import leave_lane
from leadline.store.schema import ask, person
from leadline.store.times import DAY

CHANNELS = ("app", "call", "visit", "letter", "other")
ACTIONS = ("asked", "declined", "snoozed")
OPEN_DAYS = 30  # an ask without an answer is over after this


@dataclass(frozen=True)
class Suggestion:
    """An ask as a night suggests it.

    Attributes:
        person_id: of the store.
        reason: a sentence made from numbers.
        value: what an answer would save, points.
        drawn_at_random: whether the lot fell on them.
        propensity: chance of being asked, from the draw.
    """

    person_id: str
    reason: str
    value: float
    drawn_at_random: bool
    propensity: float


def suggest(connection: Connection, suggestion: Suggestion, now: int) -> int:
    """Put a suggestion down; the number of the ask that is open."""
    open_row = open_ask(connection, suggestion.person_id)
    if open_row is not None:
        return int(open_row["id"])
    values = {
        "person_id": suggestion.person_id,
        "suggested_at": now,
        "reason": suggestion.reason[:300],
        "value": suggestion.value,
        "drawn_at_random": suggestion.drawn_at_random,
        "propensity": suggestion.propensity,
    }
    return _number(connection, values)


def ask_person(
    connection: Connection, person_id: str, by: tuple[str, int], channel: str | None
) -> int:
    """Say that somebody was asked; the number of the ask.

    Args:
        connection: of a writing transaction.
        person_id: of the store.
        by: who asked, and when (microseconds).
        channel: one of `CHANNELS`.
    """
    actor, now = by
    asking = {"asked_at": now, "asked_by": actor, "channel": channel}
    open_row = open_ask(connection, person_id)
    leave_lane(connection, "ask", person_id)
    _due(connection, person_id, now)
    if open_row is None:
        bare = {"person_id": person_id, "drawn_at_random": False}
        return _number(connection, bare | asking)
    if open_row["asked_at"] is None:
        connection.execute(update(ask).where(ask.c.id == open_row["id"]).values(asking))
    return int(open_row["id"])


def change_ask(
    connection: Connection, number: int, action: str, by: tuple[str, int], until: int | None = None
) -> bool:
    """Say what became of an ask; whether it was open.

    Args:
        connection: of a writing transaction.
        number: of the ask.
        action: one of `ACTIONS`.
        by: who says so, and when (microseconds).
        until: with snoozed: when it comes back, microseconds.
    """
    actor, now = by
    row = connection.execute(select(ask).where(ask.c.id == number)).mappings().first()
    if row is None or row["ended_at"] is not None:
        return False
    if action == "snoozed" and (until is None or until <= now):
        raise LeadlineError(
            "An ask that is put off needs a time to come back.",
            remedy="Give `until`, in the future.",
        )
    by_action: dict[str, dict[str, Any]] = {
        "asked": {"asked_at": now, "asked_by": actor},
        "declined": {"declined_at": now, "ended_at": now},
        "snoozed": {"snoozed_until": until},
    }
    connection.execute(update(ask).where(ask.c.id == number).values(by_action[action]))
    leave_lane(connection, "ask", row["person_id"])
    _due(connection, row["person_id"], now)
    return True


def open_ask(connection: Connection, person_id: str) -> Any:
    """The ask of a person that has not ended; None if there is none."""
    query = select(ask).where(ask.c.person_id == person_id, ask.c.ended_at.is_(None))
    return connection.execute(query.order_by(ask.c.id.desc())).mappings().first()


def open_asks(connection: Connection, person_ids: Sequence[str]) -> dict[str, Any]:
    """The asks of some people that have not ended, by person."""
    query = select(ask).where(ask.c.person_id.in_(person_ids), ask.c.ended_at.is_(None))
    rows = connection.execute(query.order_by(ask.c.id)).mappings()
    return {row["person_id"]: row for row in rows}


def end_old_asks(connection: Connection, now: int) -> int:
    """End asks that nobody answered in `OPEN_DAYS`, and suggestions that nobody took up."""
    late = now - OPEN_DAYS * DAY
    unanswered = (ask.c.asked_at < late) | (ask.c.asked_at.is_(None) & (ask.c.suggested_at < late))
    query = update(ask).where(ask.c.ended_at.is_(None), unanswered).values(ended_at=now)
    return int(connection.execute(query).rowcount)


def _number(connection: Connection, values: dict[str, Any]) -> int:
    return int(connection.execute(insert(ask).values(values).returning(ask.c.id)).scalar_one())


def _due(connection: Connection, person_id: str, now: int) -> None:
    connection.execute(update(person).where(person.c.id == person_id).values(refresh_due=now))
