"""Messages come in: each once, in an order without gaps, whatever is sent twice or at a time.

A message is known by its source and the sender's id of it. The person's row is locked first, then
what is new is numbered from `received + 1`, so the numbers of a person have no gaps and two senders
of the same batch store it once. What was known with other content is a conflict, never an
overwriting: a correction is a message of its own that says which one it replaces. Reading goes by
the time of speaking (then turn, then number), so a message that comes late, is corrected or taken
back makes the reading go back to where it stands (`read_again_from`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, insert, select, tuple_, update

from leadline.store.people import StoredPerson, find_people
from leadline.store.schema import message, person
from leadline.store.times import DAY
from leadline.store.vault import PersonKey, Vault

Status = Literal["stored", "known", "conflict", "refused"]
AHEAD = DAY  # a sender's clock may be this far ahead


@dataclass(frozen=True)
class NewMessage:
    """A message as a sender gives it.

    Attributes:
        source: the system that it comes from.
        id: its identifier there.
        person: the sender's identifier of the person.
        conversation: the sender's identifier of the conversation.
        role: user, assistant, clinician or system.
        time: of speaking, microseconds.
        text: what was said.
        turn: its place among messages of one time.
        replaces: the id of the message of the same source whose place it takes.
    """

    source: str
    id: str
    person: str
    conversation: str
    role: str
    time: int
    text: str
    turn: int = 0
    replaces: str | None = None


@dataclass(frozen=True)
class ItemOutcome:
    """What became of an item.

    Attributes:
        status: stored, known (it was there), conflict (other content under its id) or refused.
        reason: why it was refused or conflicts; never a value of the item.
        number: of the row, where there is one.
    """

    status: Status
    reason: str | None = None
    number: int | None = None


NOBODY = ItemOutcome("refused", "person not known, or forgotten")
NOT_ALLOWED = ItemOutcome("refused", "no consent to an estimate")
FUTURE = ItemOutcome("refused", "time more than a day ahead")
OTHER_CONTENT = ItemOutcome("conflict", "other content under this source and id")
NOTHING_TO_REPLACE = ItemOutcome("refused", "the message that it replaces is not there")

# Made once: to make a statement, and the key under which its text is kept, costs as much as to
# execute it.
WITH_KEYS = select(
    message.c.person_id, message.c.seq, message.c.key_hash, message.c.body_hmac, message.c.time,
    message.c.superseded_at,
).where(message.c.key_hash.in_(bindparam("keys", expanding=True)))  # fmt: skip
INSERTED = insert(message)
OF_PERSON = update(person).where(person.c.id == bindparam("person"))
COUNTED = OF_PERSON.values(received=bindparam("messages"), failed=None)
CHANGED = OF_PERSON.values(
    read_again_from=bindparam("earliest"), revision=person.c.revision + 1, failed=None
)


def store_messages(
    connection: Connection,
    vault: Vault,
    batch: Sequence[NewMessage],
    now: int,
    *,
    keep_texts: bool = True,
) -> list[ItemOutcome]:
    """Store a batch in one transaction; what became of each, in order.

    Args:
        connection: of a writing transaction.
        vault: of the store.
        batch: messages in the order in which they are to be numbered.
        now: microseconds.
        keep_texts: False where the app keeps texts and is asked for them.
    """
    people = find_people(connection, vault, (item.person for item in batch), lock=True)
    keys = [vault.find("message", item.source, item.id) for item in batch]
    stored_rows = _known(connection, keys)
    received = {stored.id: int(stored.row["received"]) for stored in people.values()}
    outcomes: list[ItemOutcome] = []
    rows: list[dict[str, Any]] = []
    again: dict[str, int] = {}
    for item, key in zip(batch, keys, strict=True):
        outcome = _refusal(people.get(item.person), item, now)
        if outcome is None:
            stored = people[item.person]
            digest = body_digest(stored.key, item)
            outcome = _compared(stored_rows.get(key), stored, digest)
        if outcome is None and item.replaces is not None:
            outcome = _replace(
                connection, vault, (stored, item), stored_rows, (now, received), again
            )
        if outcome is None:
            number = received[stored.id] = received[stored.id] + 1
            row = _row(stored, item, (key, digest), (number, now), keep_texts)
            rows.append(row)
            stored_rows[key] = row
            outcome = ItemOutcome("stored", number=number)
        outcomes.append(outcome)
    if rows:
        connection.execute(INSERTED, rows)
    _count(connection, people.values(), received, again)
    return outcomes


def retract_messages(
    connection: Connection, vault: Vault, batch: Sequence[tuple[str, str, str]], now: int
) -> list[ItemOutcome]:
    """Take messages back, given by person, source and id: they count as never said from now on."""
    people = find_people(connection, vault, (item[0] for item in batch), lock=True)
    keys = [vault.find("message", source, name) for _, source, name in batch]
    stored_rows = _known(connection, keys)
    outcomes, again = [], dict[str, int]()
    for (external, _, _), key in zip(batch, keys, strict=True):
        stored, row = people.get(external), stored_rows.get(key)
        if stored is None or row is None or row["person_id"] != stored.id:
            outcomes.append(ItemOutcome("refused", "message not known"))
        elif row["superseded_at"] is not None:
            outcomes.append(ItemOutcome("known", number=row["seq"]))
        else:
            _supersede(connection, row, None, now)
            stored_rows[key] = {**row, "superseded_at": now}
            again[stored.id] = min(again.get(stored.id, row["time"]), row["time"])
            outcomes.append(ItemOutcome("stored", number=row["seq"]))
    _count(connection, people.values(), {}, again)
    return outcomes


def body_digest(key: PersonKey, item: NewMessage) -> bytes:
    """What tells two contents under one id apart."""
    return key.digest(
        item.role, str(item.time), item.conversation, str(item.turn), item.text, item.replaces or ""
    )


def text_digest(key: PersonKey, text: str) -> bytes:
    """What tells whether an app that keeps texts gives the one that was sent."""
    return key.digest("text", text)


def _known(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, Any]:
    rows = connection.execute(WITH_KEYS, {"keys": list(keys)}).mappings()
    return {bytes(row["key_hash"]): dict(row) for row in rows}


def _refusal(stored: StoredPerson | None, item: NewMessage, now: int) -> ItemOutcome | None:
    if stored is None:
        return NOBODY
    if not stored.row["estimate_allowed"]:
        return NOT_ALLOWED
    return FUTURE if item.time > now + AHEAD else None


def _compared(row: Any, stored: StoredPerson, digest: bytes) -> ItemOutcome | None:
    """What is known of an item, None if it is new."""
    if row is None:
        return None
    same = row["person_id"] == stored.id and bytes(row["body_hmac"]) == digest
    return ItemOutcome("known", number=row["seq"]) if same else OTHER_CONTENT


def _row(
    stored: StoredPerson,
    item: NewMessage,
    marks: tuple[bytes, bytes],
    place: tuple[int, int],
    keep_texts: bool,
) -> dict[str, Any]:
    number, now = place
    has_text = keep_texts
    return {
        "person_id": stored.id,
        "seq": number,
        "key_hash": marks[0],
        "body_hmac": marks[1],
        "conversation_hash": conversation_hash(stored.key, item.conversation),
        "turn": item.turn,
        "role": item.role,
        "time": item.time,
        "received_at": now,
        "sealed_text": stored.key.seal(item.text, "text", number) if has_text else None,
        "sealed_key": None if has_text else _sealed_key(stored.key, item, number),
        "superseded_at": None,
        "superseded_by": None,
    }


def conversation_hash(key: PersonKey, conversation: str) -> bytes:
    """What tells the conversations of a person apart, 16 bytes."""
    return hashlib.blake2b(key.digest("conversation", conversation), digest_size=16).digest()


def _sealed_key(key: PersonKey, item: NewMessage, number: int) -> bytes:
    """Source and id of a message whose text stays with the app, and what the text has to be."""
    digest = text_digest(key, item.text).hex()
    return key.seal("\x1f".join((digest, item.source, item.id)), "key", number)


def _replace(
    connection: Connection,
    vault: Vault,
    new: tuple[StoredPerson, NewMessage],
    stored_rows: dict[bytes, Any],
    place: tuple[int, dict[str, int]],
    again: dict[str, int],
) -> ItemOutcome | None:
    """Put a message in the place of an older one; an outcome where there is none to replace."""
    stored, item = new
    now, received = place
    key = vault.find("message", item.source, item.replaces or "")
    row = stored_rows.get(key) or _known(connection, [key]).get(key)
    if row is None or row["person_id"] != stored.id or row["superseded_at"] is not None:
        return NOTHING_TO_REPLACE
    number = received[stored.id] + 1
    _supersede(connection, row, number, now)
    row.update(superseded_at=now, superseded_by=number)
    stored_rows[key] = row
    earliest = min(row["time"], item.time)
    again[stored.id] = min(again.get(stored.id, earliest), earliest)
    return None


def _supersede(connection: Connection, row: Any, number: int | None, now: int) -> None:
    connection.execute(
        update(message)
        .where(tuple_(message.c.person_id, message.c.seq) == (row["person_id"], row["seq"]))
        .values(superseded_at=now, superseded_by=number)
    )


def _count(
    connection: Connection,
    people: Iterable[StoredPerson],
    received: dict[str, int],
    again: dict[str, int],
) -> None:
    """Say in each person's row what there is to read."""
    counts, changes = [], []
    for stored in people:
        row = stored.row
        if received.get(stored.id, row["received"]) != row["received"]:
            counts.append({"person": stored.id, "messages": received[stored.id]})
        if stored.id in again:
            before = row["read_again_from"]
            earliest = again[stored.id] if before is None else min(before, again[stored.id])
            changes.append({"person": stored.id, "earliest": earliest})
    if counts:
        connection.execute(COUNTED, counts)
    if changes:
        connection.execute(CHANGED, changes)
