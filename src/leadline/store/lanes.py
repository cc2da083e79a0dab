"""The lanes of the worklist: who stands in which, in what order, and pages of them by key.

A page is read from an index, from the entry after the last one that was shown: no page costs more
than the first, and none is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, tuple_

from leadline.store.people import StoredPerson
from leadline.store.schema import lane_entry, person, person_key, person_now

LANES = ("item9", "ask", "changed", "silent", "everyone")
PAGE = 50


@dataclass(frozen=True)
class Page:
    """Entries of a lane, in order, and the place after which the next page begins."""

    rows: list[Any]
    after: tuple[float, str] | None


def enter_lane(connection: Connection, lane: str, stored: StoredPerson, rank: float) -> None:
    """Put a person into a lane, or to another place in it. The highest rank comes first."""
    leave_lane(connection, lane, stored.id)
    team = stored.row["team_id"]
    entry = {"lane": lane, "person_id": stored.id, "team_id": team, "rank": rank}
    connection.execute(insert(lane_entry).values(entry))


def leave_lane(connection: Connection, lane: str, person_id: str) -> None:
    """Take a person out of a lane."""
    connection.execute(
        delete(lane_entry).where(
            tuple_(lane_entry.c.lane, lane_entry.c.person_id) == (lane, person_id)
        )
    )


def replace_entries(
    connection: Connection,
    lanes: Sequence[str],
    person_ids: Sequence[str],
    entries: Sequence[dict[str, Any]],
) -> None:
    """Put entries in the place of those that some people have in some lanes."""
    of_people = lane_entry.c.person_id.in_(person_ids)
    connection.execute(delete(lane_entry).where(lane_entry.c.lane.in_(lanes), of_people))
    if entries:
        connection.execute(insert(lane_entry), list(entries))


def lane_page(
    connection: Connection,
    lane: str,
    team: int | None = None,
    after: tuple[float, str] | None = None,
    size: int = PAGE,
) -> Page:
    """One page of a lane.

    Args:
        connection: of a transaction.
        lane: one of `LANES`.
        team: whose people; None: everybody's.
        after: rank and person of the last entry that was shown.
        size: entries at most.
    """
    place = (lane_entry.c.rank, lane_entry.c.person_id)
    query = (
        select(
            lane_entry.c.rank,
            lane_entry.c.lane,
            person.c.external_sealed,
            person_key.c.wrapped_key,
            person_now,
            person.c.id.label("id"),
        )
        .select_from(lane_entry)
        .join(person, person.c.id == lane_entry.c.person_id)
        .join(person_key, person_key.c.person_id == person.c.id)
        .outerjoin(person_now, person_now.c.person_id == person.c.id)
        .where(lane_entry.c.lane == lane)
        .order_by(lane_entry.c.rank.desc(), lane_entry.c.person_id.desc())
        .limit(size + 1)
    )
    if team is not None:
        query = query.where(lane_entry.c.team_id == team)
    if after is not None:
        query = query.where(tuple_(*place) < after)
    rows = list(connection.execute(query).mappings())
    rest = len(rows) > size
    rows = rows[:size]
    last = (float(rows[-1]["rank"]), str(rows[-1]["id"])) if rest else None
    return Page(rows, last)
