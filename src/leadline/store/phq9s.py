"""Real PHQ-9s come in: each once, never changed, retracted with its time.

A total and its items must agree (`phq9.scoring`); what cannot be scored is refused with its reason.
A PHQ-9 answers the person's open ask, and one whose item 9 is above 0 goes into a lane of its own
and has one call of the hook put down in the same transaction. No estimate feeds or silences either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from leadline.errors import LeadlineError
from leadline.phq9.items import SELF_HARM
from leadline.phq9.scoring import Score, score
from leadline.store.lanes import enter_lane, leave_lane
from leadline.store.messages import AHEAD, FUTURE, NOBODY, NOT_ALLOWED, ItemOutcome
from leadline.store.people import StoredPerson, find_people
from leadline.store.schema import ask, hook_call, person, phq9
from leadline.store.vault import Vault

UNANSWERED = "-"


@dataclass(frozen=True)
class NewPhq9:
    """A PHQ-9 or PHQ-8 as a sender gives it.

    Attributes:
        source: the system that it comes from.
        id: its identifier there.
        person: the sender's identifier of the person.
        time: when it was answered, microseconds.
        total: as reported; None where the items say it.
        items: answers 0-3, None where one was not given; empty where only the total is known.
        instrument: phq9 or phq8.
    """

    source: str
    id: str
    person: str
    time: int
    total: float | None = None
    items: tuple[int | None, ...] = ()
    instrument: str = "phq9"


def store_phq9s(
    connection: Connection,
    vault: Vault,
    batch: Sequence[NewPhq9],
    now: int,
    *,
    of_the_past: bool = False,
) -> list[ItemOutcome]:
    """Store a batch in one transaction; what became of each, in order.

    Args:
        connection: of a writing transaction.
        vault: of the store.
        batch: PHQ-9s.
        now: microseconds.
        of_the_past: they come from an archive: item 9 of them calls nobody.
    """
    people = find_people(connection, vault, (item.person for item in batch), lock=True)
    keys = [vault.find("phq9", item.source, item.id) for item in batch]
    query = select(phq9.c.id, phq9.c.person_id, phq9.c.key_hash, phq9.c.body_hmac)
    rows = connection.execute(query.where(phq9.c.key_hash.in_(keys))).mappings()
    stored_rows: dict[bytes, Any] = {bytes(row["key_hash"]): row for row in rows}
    outcomes = []
    for item, key in zip(batch, keys, strict=True):
        outcome = _one(connection, people.get(item.person), (item, key), stored_rows, now)
        outcomes.append(outcome)
        if outcome.status == "stored" and not of_the_past:
            _call_for_item9(connection, people[item.person], outcome.number, now)
    return outcomes


def retract_phq9(
    connection: Connection, vault: Vault, external: str, number: int, now: int
) -> ItemOutcome:
    """Take a PHQ-9 back: it counts as never answered from now on."""
    stored = find_people(connection, vault, [external], lock=True).get(external)
    row = connection.execute(select(phq9).where(phq9.c.id == number)).mappings().first()
    if stored is None or row is None or row["person_id"] != stored.id:
        return ItemOutcome("refused", "PHQ-9 not known")
    if row["retracted_at"] is not None:
        return ItemOutcome("known", number=number)
    connection.execute(update(phq9).where(phq9.c.id == number).values(retracted_at=now))
    _due(connection, stored, now)
    _leave_item9(connection, stored.id)
    return ItemOutcome("stored", number=number)


def see_item9(
    connection: Connection, vault: Vault, external: str, number: int, by: tuple[str, int]
) -> ItemOutcome:
    """Say that somebody looked at the answer to item 9 of a PHQ-9; `by` is who, and when."""
    actor, now = by
    stored = find_people(connection, vault, [external], lock=True).get(external)
    row = connection.execute(select(phq9).where(phq9.c.id == number)).mappings().first()
    if stored is None or row is None or row["person_id"] != stored.id:
        return ItemOutcome("refused", "PHQ-9 not known")
    if row["seen_at"] is not None:
        return ItemOutcome("known", number=number)
    looked_at = update(phq9).where(phq9.c.id == number).values(seen_at=now, seen_by=actor)
    connection.execute(looked_at)
    _leave_item9(connection, stored.id)
    return ItemOutcome("stored", number=number)


def item9(answers: str | None) -> int | None:
    """The answer to item 9, None where it was not given."""
    answer = (answers or UNANSWERED * 9)[SELF_HARM]
    return None if answer == UNANSWERED else int(answer)


def _one(
    connection: Connection,
    stored: StoredPerson | None,
    named: tuple[NewPhq9, bytes],
    stored_rows: dict[bytes, Any],
    now: int,
) -> ItemOutcome:
    item, key = named
    if stored is None:
        return NOBODY
    if not stored.row["estimate_allowed"]:
        return NOT_ALLOWED
    if item.time > now + AHEAD:
        return FUTURE
    try:
        scored = score(item.items, item.total, item.instrument)
    except LeadlineError as error:
        return ItemOutcome("refused", error.problem)
    if scored.total is None:
        return ItemOutcome("refused", "too many answers are missing for a total")
    digest = _digest(stored, item)
    row = stored_rows.get(key)
    if row is not None:
        same = row["person_id"] == stored.id and bytes(row["body_hmac"]) == digest
        return (
            ItemOutcome("known", number=row["id"])
            if same
            else ItemOutcome("conflict", "other content under this source and id")
        )
    number = _insert(connection, stored, item, scored, (key, digest, now))
    stored_rows[key] = {"id": number, "person_id": stored.id, "body_hmac": digest}
    return ItemOutcome("stored", number=number)


def _digest(stored: StoredPerson, item: NewPhq9) -> bytes:
    return stored.key.digest(
        "phq9", str(item.time), repr(item.total), repr(item.items), item.instrument
    )


def _insert(
    connection: Connection,
    stored: StoredPerson,
    item: NewPhq9,
    scored: Score,
    marks: tuple[bytes, bytes, int],
) -> int:
    key, digest, now = marks
    has_answers = any(answer is not None for answer in scored.items)
    digits = "".join(UNANSWERED if answer is None else str(answer) for answer in scored.items)
    row = {
        "person_id": stored.id,
        "key_hash": key,
        "body_hmac": digest,
        "time": item.time,
        "received_at": now,
        "total": scored.total,
        "answers": digits if has_answers else None,
        "instrument": scored.instrument,
        "prorated": scored.prorated,
        "ask_id": _answered(connection, stored.id, item.time, now),
    }
    number = int(connection.execute(insert(phq9).values(row).returning(phq9.c.id)).scalar_one())
    _due(connection, stored, now)
    return number


def _call_for_item9(
    connection: Connection, stored: StoredPerson, number: int | None, now: int
) -> None:
    """Put a person whose item 9 is above 0 where it is seen, and have the hook called."""
    row = connection.execute(select(phq9.c.answers, phq9.c.time).where(phq9.c.id == number)).one()
    if item9(row.answers):
        enter_lane(connection, "item9", stored, float(row.time))
        connection.execute(insert(hook_call).values(phq9_id=number, due_at=now))


def _answered(connection: Connection, person_id: str, time: int, now: int) -> int | None:
    """End the ask that a PHQ-9 answers: the last open one that was asked before it was answered."""
    query = (
        select(ask.c.id)
        .where(ask.c.person_id == person_id, ask.c.ended_at.is_(None), ask.c.asked_at <= time)
        .order_by(ask.c.asked_at.desc(), ask.c.id.desc())
    )
    number = connection.execute(query).scalars().first()
    if number is not None:
        ended = update(ask).where(ask.c.id == number).values(answered_at=time, ended_at=now)
        connection.execute(ended)
    return number


def _leave_item9(connection: Connection, person_id: str) -> None:
    """Take a person off the lane of item 9 unless another answer of theirs waits to be seen."""
    waiting = select(phq9.c.answers).where(
        phq9.c.person_id == person_id, phq9.c.retracted_at.is_(None), phq9.c.seen_at.is_(None)
    )
    if not any(item9(answers) for answers in connection.execute(waiting).scalars()):
        leave_lane(connection, "item9", person_id)


def _due(connection: Connection, stored: StoredPerson, now: int) -> None:
    """Have what the list shows of a person made again."""
    connection.execute(update(person).where(person.c.id == stored.id).values(refresh_due=now))
