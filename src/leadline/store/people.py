"""People of the store: who they are to the sender, what they allowed, and how they are forgotten.

Nothing of a person is stored before the sender said that an estimate is allowed (the purpose
`estimate`). A consent is a row with its time; the last one of a purpose counts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from leadline.errors import LeadlineError
from leadline.store import schema
from leadline.store.schema import PURPOSES, person, person_key
from leadline.store.vault import PersonKey, Vault

OF_A_PERSON = (
    schema.lane_entry, schema.person_now, schema.course_day, schema.belief, schema.estimate,
    schema.hook_call, schema.phq9, schema.ask, schema.note, schema.consent, schema.message,
)  # fmt: skip
"""Tables with rows of a person, each before those that it points to."""

WITH_HASHES = (
    select(person, person_key.c.wrapped_key)
    .join(person_key, person_key.c.person_id == person.c.id)
    .where(person.c.external_hash.in_(bindparam("hashes", expanding=True)))
    .where(person.c.forgotten_at.is_(None))
    .order_by(person.c.id)
)  # made once: most requests ask it
WITH_HASHES_LOCKED = WITH_HASHES.with_for_update(of=person)


@dataclass(frozen=True)
class PersonChange:
    """What a sender says of a person.

    Attributes:
        external_id: the sender's own identifier.
        team: who looks after them; None leaves it.
        consent: by purpose, given or withdrawn; purposes that are not named stay.
        version: of the text that was agreed to.
        evidence: where the agreement is kept.
        treatment_start: from which change is counted, microseconds; None leaves it.
    """

    external_id: str
    team: str | None = None
    consent: Mapping[str, bool] = field(default_factory=dict)
    version: str | None = None
    evidence: str | None = None
    treatment_start: int | None = None

    def __post_init__(self) -> None:
        if not set(self.consent) <= set(PURPOSES):
            raise LeadlineError(
                "A purpose of consent is not known.", remedy=f"Use one of: {', '.join(PURPOSES)}."
            )


@dataclass(frozen=True)
class StoredPerson:
    """A person as the store has them.

    Attributes:
        id: of the store.
        key: that opens what is theirs.
        row: of the table `person`.
    """

    id: str
    key: PersonKey
    row: Any


def put_person(connection: Connection, vault: Vault, change: PersonChange, now: int) -> str:
    """Make or change a person: `stored`, `known` (as it was before) or `refused` (forgotten)."""
    hashed = vault.find("person", change.external_id)
    gone = select(schema.forgotten.c.at).where(schema.forgotten.c.external_hash == hashed)
    if connection.execute(gone).first() is not None:
        return "refused"
    before = find_people(connection, vault, [change.external_id], lock=True)
    is_new = change.external_id not in before
    stored = _made(connection, vault, change, now) if is_new else before[change.external_id]
    fields: dict[str, Any] = {}
    if change.team is not None:
        fields["team_id"] = team_id(connection, vault, change.team, make=True)
    if change.treatment_start is not None:
        fields["treatment_start"] = change.treatment_start
    fields = {name: value for name, value in fields.items() if stored.row[name] != value}
    agreed = [_agree(connection, stored, change, purpose, now) for purpose in change.consent]
    if "estimate" in change.consent:
        fields["estimate_allowed"] = change.consent["estimate"]
    if "team_id" in fields:
        for table in (schema.lane_entry, schema.person_now):
            of_person = table.c.person_id == stored.id
            connection.execute(update(table).where(of_person).values(team_id=fields["team_id"]))
    if fields:
        refresh = {"refresh_due": now}
        connection.execute(update(person).where(person.c.id == stored.id).values(fields | refresh))
    return "stored" if is_new or any(agreed) or set(fields) - {"estimate_allowed"} else "known"


def _made(connection: Connection, vault: Vault, change: PersonChange, now: int) -> StoredPerson:
    person_id = uuid.uuid4().hex
    key, wrapped = vault.new_key(person_id)
    row = {
        "id": person_id,
        "external_hash": vault.find("person", change.external_id),
        "external_sealed": key.seal(change.external_id, "external"),
        "made_at": now,
        "estimate_allowed": False,
    }
    connection.execute(insert(person).values(row))
    connection.execute(
        insert(person_key).values(
            person_id=person_id, wrapped_key=wrapped, kek_id=vault.key_id, destroyed_at=None
        )
    )
    return StoredPerson(person_id, key, {**row, "team_id": None, "treatment_start": None})


def _agree(
    connection: Connection, stored: StoredPerson, change: PersonChange, purpose: str, now: int
) -> bool:
    """Put a consent down; whether it says something new."""
    consent = schema.consent
    standing = select(consent.c.id).where(
        consent.c.person_id == stored.id,
        consent.c.purpose == purpose,
        consent.c.withdrawn_at.is_(None),
    )
    standing_ids = connection.execute(standing).scalars().all()
    if bool(standing_ids) == change.consent[purpose]:
        return False
    if standing_ids:
        withdrawn = update(consent).where(consent.c.id.in_(standing_ids)).values(withdrawn_at=now)
        connection.execute(withdrawn)
        return True
    sealed = {
        f"sealed_{name}": stored.key.seal(text, f"consent {name}", purpose)
        for name, text in (("version", change.version), ("evidence", change.evidence))
        if text is not None
    }
    connection.execute(
        insert(consent).values(person_id=stored.id, purpose=purpose, granted_at=now, **sealed)
    )
    return True


def find_people(
    connection: Connection, vault: Vault, external_ids: Iterable[str], *, lock: bool = False
) -> dict[str, StoredPerson]:
    """People by the sender's identifiers; those that are not there are left out.

    Args:
        connection: of a transaction.
        vault: of the store.
        external_ids: the sender's identifiers.
        lock: nobody else may write of them until the transaction ends; in one order, so that
            two writers never wait for each other.
    """
    hashes = {vault.find("person", external): external for external in dict.fromkeys(external_ids)}
    query = WITH_HASHES_LOCKED if lock else WITH_HASHES
    rows = connection.execute(query, {"hashes": list(hashes)}).mappings()
    return {
        hashes[bytes(row["external_hash"])]: StoredPerson(
            row["id"], vault.person_key(bytes(row["wrapped_key"]), row["id"]), row
        )
        for row in rows
    }


def people_by_id(
    connection: Connection, vault: Vault, person_ids: Iterable[str], *, lock: bool = False
) -> dict[str, StoredPerson]:
    """People by their ids in the store."""
    query = (
        select(person, person_key.c.wrapped_key)
        .join(person_key, person_key.c.person_id == person.c.id)
        .where(person.c.id.in_(list(person_ids)), person.c.forgotten_at.is_(None))
        .order_by(person.c.id)
    )
    if lock:
        query = query.with_for_update(of=person)
    return {
        row["id"]: StoredPerson(
            row["id"], vault.person_key(bytes(row["wrapped_key"]), row["id"]), row
        )
        for row in connection.execute(query).mappings()
    }


def external_id(stored: StoredPerson) -> str:
    """What the sender calls a person."""
    return stored.key.open(bytes(stored.row["external_sealed"]), "external")


def team_id(connection: Connection, vault: Vault, name: str, *, make: bool = False) -> int | None:
    """The team of a name; None where there is none and none is to be made."""
    hashed = vault.find("team", name)
    team = schema.team
    number = connection.execute(select(team.c.id).where(team.c.name_hash == hashed)).scalar()
    if number is not None or not make:
        return number
    sealed = vault.seal(name, "team")
    is_new = insert(team).values(name_hash=hashed, name_sealed=sealed).returning(team.c.id)
    return int(connection.execute(is_new).scalar_one())


def allowed(connection: Connection, person_id: str, purpose: str) -> bool:
    """Whether a person's consent to a purpose stands."""
    consent = schema.consent
    query = select(consent.c.id).where(
        consent.c.person_id == person_id,
        consent.c.purpose == purpose,
        consent.c.withdrawn_at.is_(None),
    )
    return connection.execute(query).first() is not None


def forget_person(connection: Connection, vault: Vault, external: str, now: int) -> bool:
    """Destroy a person's key and delete what is theirs; whether they were there.

    What stays is the row of their random id and a keyed hash of the sender's identifier, so that
    a batch that is sent again does not bring them back. Copies of the database that hold the
    wrapped key have to be deleted by whoever made them; without that row no copy can be read.
    """
    stored = find_people(connection, vault, [external], lock=True).get(external)
    if stored is None:
        return False
    phq9s = select(schema.phq9.c.id).where(schema.phq9.c.person_id == stored.id)
    connection.execute(delete(schema.hook_call).where(schema.hook_call.c.phq9_id.in_(phq9s)))
    for table in OF_A_PERSON:
        if "person_id" in table.c:
            connection.execute(delete(table).where(table.c.person_id == stored.id))
    connection.execute(
        update(person_key)
        .where(person_key.c.person_id == stored.id)
        .values(wrapped_key=None, destroyed_at=now)
    )
    connection.execute(
        insert(schema.forgotten).values(external_hash=stored.row["external_hash"], at=now)
    )
    connection.execute(
        update(person)
        .where(person.c.id == stored.id)
        .values(
            forgotten_at=now, external_sealed=b"", received=0, scored_upto=0,
            read_again_from=None, refresh_due=None, lease_epoch=person.c.lease_epoch + 1,
        )
    )  # fmt: skip
    return True
