"""What comes in: people, messages, PHQ-9s. Each answer is given after the commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from leadline.errors import LeadlineError
from leadline.monitor.now import refresh_people
from leadline.service import bodies
from leadline.service.access import Desk, desk, may, not_found, person_of
from leadline.service.errors import Refused
from leadline.store import times
from leadline.store.messages import ItemOutcome, NewMessage, retract_messages, store_messages
from leadline.store.people import PersonChange, find_people, put_person
from leadline.store.phq9s import NewPhq9, retract_phq9, see_item9, store_phq9s
from leadline.store.tokens import Bearer

LOG = logging.getLogger("leadline.service")
router = APIRouter(prefix="/v1")
Ingest = Annotated[Bearer, Depends(may("ingest"))]
IngestOrCare = Annotated[Bearer, Depends(may("ingest", "care"))]
Care = Annotated[Bearer, Depends(may("care"))]
At = Annotated[Desk, Depends(desk)]


@router.post("/messages")
def post_messages(body: bodies.MessagesBody, at: At, _who: Ingest) -> bodies.Results:
    """Store messages; each is stored once, however often it is sent."""
    _not_too_much(at)
    batch = [
        NewMessage(
            item.source, item.id, item.person, item.conversation, item.role,
            _time(item.time), item.text, item.turn, item.replaces,
        )
        for item in body.messages
    ]  # fmt: skip
    store = at.store
    work = partial(store_messages, vault=store.vault, batch=batch, now=times.now(),
                   keep_texts=store.keeps_texts)  # fmt: skip
    outcomes = store.database.write(work)
    at.backlog.add(sum(outcome.status == "stored" for outcome in outcomes))
    return _results(at, "message", outcomes)


@router.post("/messages/retract")
def post_retractions(body: bodies.RetractionBody, at: At, _who: Ingest) -> bodies.Results:
    """Take messages back; estimates after them are made again."""
    batch = [(item.person, item.source, item.id) for item in body.messages]
    work = partial(retract_messages, vault=at.store.vault, batch=batch, now=times.now())
    return _results(at, "retraction", at.store.database.write(work))


@router.post("/phq9")
def post_phq9s(body: bodies.Phq9sBody, at: At, _who: Ingest) -> bodies.Results:
    """Store PHQ-9s that people answered."""
    batch = [
        NewPhq9(item.source, item.id, item.person, _time(item.time), item.total,
                tuple(item.items), item.instrument)
        for item in body.phq9s
    ]  # fmt: skip
    work = partial(store_phq9s, vault=at.store.vault, batch=batch, now=times.now())
    outcomes = at.store.database.write(work)
    _refresh(at, [item.person for item in batch])
    return _results(at, "phq9", outcomes)


@router.post("/people/{person}/phq9/{number}/retract")
def post_phq9_retraction(
    person: bodies.Name, number: int, at: At, who: IngestOrCare
) -> bodies.Result:
    """Take a PHQ-9 back: it counts as never answered from now on."""
    _seen_by(at, who, person)
    work = partial(retract_phq9, vault=at.store.vault, external=person, number=number,
                   now=times.now())  # fmt: skip
    return _one(at, person, at.store.database.write(work))


@router.post("/people/{person}/phq9/{number}/seen")
def post_item9_seen(person: bodies.Name, number: int, at: At, who: Care) -> bodies.Result:
    """Say that somebody looked at the answer to item 9."""
    _seen_by(at, who, person)
    work = partial(see_item9, vault=at.store.vault, external=person, number=number,
                   by=(who.actor_id, times.now()))  # fmt: skip
    return _one(at, person, at.store.database.write(work))


@router.put("/people/{person}")
def put_one_person(
    person: bodies.Name, body: bodies.PersonBody, at: At, _who: Ingest
) -> bodies.PersonResult:
    """Make or change a person: team, consent by purpose, start of treatment."""
    start = body.treatment_start
    change = PersonChange(
        external_id=person,
        team=body.team,
        consent={str(name): agreed for name, agreed in body.consent.items()},
        version=body.version,
        evidence=body.evidence,
        treatment_start=None if start is None else _time(start),
    )
    now = times.now()
    status = at.store.database.write(lambda c: put_person(c, at.store.vault, change, now))
    _refresh(at, [person])
    return bodies.PersonResult.model_validate({"status": status})


def _time(moment: datetime) -> int:
    if not bodies.FIRST_YEAR <= moment.year < bodies.LAST_YEAR:
        raise LeadlineError(
            "A time is out of range.",
            remedy=f"Give times from {bodies.FIRST_YEAR} on, with their zone.",
        )
    return times.microseconds(moment)


def _not_too_much(at: Desk) -> None:
    """Take nothing while more waits than can be read in time."""
    if at.backlog.messages() > at.config.backlog:
        raise Refused(429, "backlog", "More messages wait than are read in time.",
                      "Send again later; nothing of it was stored.")  # fmt: skip


def _seen_by(at: Desk, who: Bearer, person: str) -> None:
    at.store.database.read(lambda connection: person_of(connection, at, who, person))


def _refresh(at: Desk, externals: Sequence[str]) -> None:
    """Make the views of people again; they are due until that is done, by whoever does it."""
    find = partial(find_people, vault=at.store.vault, external_ids=externals)
    ids = [stored.id for stored in at.store.database.read(find).values()]
    try:
        refresh_people(at.store, ids, times.now())
    except LeadlineError as error:
        LOG.warning("Views are made later: %s", error.problem)


def _one(at: Desk, person: str, outcome: ItemOutcome) -> bodies.Result:
    if outcome.status == "refused":
        raise not_found()
    _refresh(at, [person])
    return bodies.Result.model_validate(_fields(0, outcome))


def _results(at: Desk, kind: str, outcomes: Sequence[ItemOutcome]) -> bodies.Results:
    at.metrics.items(kind, (outcome.status for outcome in outcomes))
    fields = [_fields(number, outcome) for number, outcome in enumerate(outcomes)]
    return bodies.Results.model_validate({"results": fields})


def _fields(number: int, outcome: ItemOutcome) -> dict[str, Any]:
    return {
        "item": number,
        "status": outcome.status,
        "reason": outcome.reason,
        "number": outcome.number,
    }
