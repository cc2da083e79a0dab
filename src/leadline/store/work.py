"""What there is to do, who does it, and why nothing can be stuck.

A person has work while messages are not read (`schema.HAS_WORK`); nothing is ever marked as being
done. A worker takes a lease of seconds, with an epoch that grows: when it has died, the lease ends
by itself, and a worker that was only slow finds another epoch and writes nothing (fencing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select, tuple_, update

from leadline.store.estimates import EstimateRow, supersede_estimates, write_estimates
from leadline.store.people import StoredPerson, people_by_id
from leadline.store.schema import HAS_WORK, message, person
from leadline.store.times import SECOND
from leadline.store.vault import Vault

LEASE = 30 * SECOND
CLAIM = 64  # people at once
PLACE = (message.c.time, message.c.turn, message.c.seq)
"""The order in which a person's messages are read."""
LAST = (2**62, 0, 0)  # a place after every other


@dataclass(frozen=True)
class Claim:
    """A person whom a worker may read for now.

    Attributes:
        stored: the person, with the row as it was claimed.
        before: how many messages stay as they were read.
        new: messages to be read after them, in the order of reading.
        goes_on: whether what was read is still so: nothing came late, changed or was taken back.
        epoch: of the lease.
    """

    stored: StoredPerson
    before: int
    new: Sequence[Any]
    goes_on: bool
    epoch: int


def claim_people(
    connection: Connection, vault: Vault, worker: str, now: int, count: int = CLAIM
) -> list[Claim]:
    """Take a lease of some people who have work.

    Args:
        connection: of a writing transaction.
        vault: of the store.
        worker: name of whoever takes it: of a folder of states, which one process holds.
        now: microseconds.
        count: people at most.
    """
    waiting = (
        select(person.c.id)
        .where(
            HAS_WORK,
            person.c.lease_until < now,
            person.c.forgotten_at.is_(None),
            person.c.failed.is_(None),
            person.c.estimate_allowed,
        )
        .order_by(person.c.lease_until, person.c.id)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(waiting).scalars())
    if not ids:
        return []
    connection.execute(
        update(person)
        .where(person.c.id.in_(ids))
        .values(lease_owner=worker, lease_until=now + LEASE, lease_epoch=person.c.lease_epoch + 1)
    )
    stored = people_by_id(connection, vault, ids)
    return [_claim(connection, row_before) for row_before in stored.values()]


def _claim(connection: Connection, stored: StoredPerson) -> Claim:
    row = stored.row
    new = list(connection.execute(_unread(row)).mappings())
    place = min((_place(row_before) for row_before in new), default=LAST)
    again = row["read_again_from"]
    read = _live(row).where(message.c.seq <= row["scored_upto"])
    last = (
        connection.execute(read.order_by(*(column.desc() for column in PLACE)).limit(1))
        .mappings()
        .first()
    )
    goes_on = again is None and (last is None or _place(last) < place)
    if not goes_on:
        place = min(place, (again, -1, 0) if again is not None else LAST)
        after = _live(row).where(tuple_(*PLACE) >= place).order_by(*PLACE)
        new = list(connection.execute(after).mappings())
    earlier = read if goes_on else _live(row).where(tuple_(*PLACE) < place)
    before = connection.execute(select(func.count()).select_from(earlier.subquery())).scalar_one()
    return Claim(stored, int(before), new, goes_on, int(row["lease_epoch"]))


def read_history(connection: Connection, claim: Claim) -> list[Any]:
    """The messages before the new ones of a claim, in the order of reading."""
    query = _live(claim.stored.row).order_by(*PLACE).limit(claim.before)
    return list(connection.execute(query).mappings())


def _live(row: Any) -> Select[Any]:
    """The messages of a person that count, up to those that the claim saw."""
    return select(message).where(
        message.c.person_id == row["id"],
        message.c.superseded_at.is_(None),
        message.c.seq <= row["received"],
    )


def _unread(row: Any) -> Select[Any]:
    return _live(row).where(message.c.seq > row["scored_upto"]).order_by(*PLACE)


def _place(row: Any) -> tuple[int, int, int]:
    return int(row["time"]), int(row["turn"]), int(row["seq"])


def extend_lease(connection: Connection, claims: Sequence[Claim], now: int) -> None:
    """Keep the people whom this worker still holds for another lease."""
    for claim in claims:
        connection.execute(
            update(person)
            .where(person.c.id == claim.stored.id, person.c.lease_epoch == claim.epoch)
            .values(lease_until=now + LEASE)
        )


def end_leases(connection: Connection, worker: str) -> int:
    """End the leases of a worker that is known to have died; of how many people."""
    leased = update(person).where(person.c.lease_owner == worker, person.c.lease_until > 0)
    return int(connection.execute(leased.values(lease_until=0)).rowcount)


def finish(
    connection: Connection,
    claim: Claim,
    model: tuple[str, str],
    rows: Sequence[EstimateRow],
    now: int,
) -> bool:
    """Write what a worker made of a person; False if the person is no longer the worker's.

    Args:
        connection: of a writing transaction.
        claim: as it was given.
        model: id of the model, and of the folder of states that read them.
        rows: the estimates after the new messages.
        now: microseconds.
    """
    model_id, owner = model
    row = claim.stored.row
    revision = row["revision"] + int(not claim.goes_on)
    written = connection.execute(
        update(person)
        .where(
            person.c.id == claim.stored.id,
            person.c.lease_epoch == claim.epoch,
            person.c.scored_upto == row["scored_upto"],
            person.c.revision == row["revision"],
        )
        .values(
            scored_upto=row["received"],
            read_again_from=None,
            revision=revision,
            state_owner=owner,
            lease_until=0,
            refresh_due=now,
        )
    ).rowcount
    if not written:
        return False
    if not claim.goes_on:
        numbers = [row_before["seq"] for row_before in claim.new] + _gone(connection, claim)
        supersede_estimates(connection, claim.stored.id, numbers, now)
    write_estimates(connection, claim.stored.id, model_id, revision, rows, now)
    return True


def _gone(connection: Connection, claim: Claim) -> list[int]:
    """Numbers of messages that no longer count."""
    query = select(message.c.seq).where(
        message.c.person_id == claim.stored.id, message.c.superseded_at.is_not(None)
    )
    return list(connection.execute(query).scalars())


def give_up(connection: Connection, claim: Claim, why: str, now: int) -> None:
    """Say that a person cannot be estimated, and why, until more of them comes in."""
    connection.execute(
        update(person)
        .where(person.c.id == claim.stored.id, person.c.lease_epoch == claim.epoch)
        .values(failed=why[:200], lease_until=0, refresh_due=now)
    )


def try_again(connection: Connection, now: int) -> int:
    """Have those who could not be estimated read once more; how many."""
    failed = update(person).where(person.c.failed.is_not(None), person.c.forgotten_at.is_(None))
    return int(connection.execute(failed.values(failed=None, refresh_due=now)).rowcount)


def backlog(connection: Connection) -> tuple[int, int]:
    """How many people have work, and how many messages of theirs are not read."""
    query = select(
        func.count(), func.coalesce(func.sum(person.c.received - person.c.scored_upto), 0)
    ).where(
        HAS_WORK, person.c.forgotten_at.is_(None), person.c.failed.is_(None),
        person.c.estimate_allowed,
    )  # fmt: skip
    people, messages = connection.execute(query).one()
    return int(people), int(messages)
