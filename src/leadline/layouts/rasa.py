"""Rasa trackers: `events` of one sender, of which `user` and `bot` events are what was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leadline.layouts.unsaid import EVENTS, NO_TEXT
from leadline.sources.batch import ONLY, RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.files import json_values
from leadline.sources.people import PeopleColumns, picked
from leadline.sources.records import RawTurns, first_of, identifier
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

PERSON_KEYS = ("sender_id", "sender", "conversation_id")

SAID = ("user", "bot")

RESTARTS = ("session_started", "restart")


RASA_KEYS = frozenset((
    "event", "events", "sender_id", "text", "timestamp", "data", "type_name", "parse_data",
    "conversation_id", "name", "metadata",
))  # fmt: skip
"""Keys that are read by name, found in another case too."""


def read_rasa(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open trackers: each sender is a person, each session of theirs a conversation."""
    people = PeopleColumns(settings.people_column)
    batches = _batches(source, settings, people, ledger)
    return Source(batches, roles_of(settings), people, inputs=[source])


def _batches(
    source: Path, settings: ImportConfig, people: PeopleColumns, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    rows = RawTurns(source, ledger)
    single: list[Any] = []  # events that are records of their own, as an event broker writes them
    for where, record in json_values(source, ledger, RASA_KEYS):
        events = record.get("events") if isinstance(record, Mapping) else None
        if isinstance(events, list):
            person = settings.person or identifier(first_of(record, PERSON_KEYS))
            _tracker(rows, events, person, where)
            if person is not None:
                people.add(person, picked(record, people.columns), source, where, ledger)
        else:
            single.append((where, opened_event(record)))
        if rows.full:
            yield rows.batch()
    by_sender: dict[str | None, list[Any]] = {}
    for where, event in single:
        sender = identifier(first_of(event, PERSON_KEYS)) if isinstance(event, Mapping) else None
        by_sender.setdefault(settings.person or sender, []).append((where, event))
    for person, pairs in by_sender.items():
        _tracker(rows, [event for _, event in pairs], person, pairs[0][0])
        if rows.full:
            yield rows.batch()
    yield rows.batch()


def opened_event(record: Any) -> Any:
    """An event of Rasa's SQL tracker store, whose row keeps it under ``data``; else the record."""
    inner = record.get("data") if isinstance(record, Mapping) else None
    if isinstance(inner, Mapping) and "event" in inner and "type_name" in record:
        return {**record, **inner}
    return record


def _tracker(rows: RawTurns, events: list[Any], person: str | None, where: str) -> None:
    """Turns of a sender's events; a new session begins a new conversation."""
    if person is None:
        rows.lose(where, "The tracker names no sender.", "Fill in sender_id, or give --person ID.",
                  len(events))  # fmt: skip
        return
    session = 0
    for number, event in enumerate(events):
        kind = event.get("event") if isinstance(event, Mapping) else None
        if isinstance(event, Mapping):
            rows.ledger.uses.meet(rows.file, event, "events[].")
            for key, use in (("event", "role"), ("text", "text"), ("timestamp", "time")):
                rows.ledger.uses.take(rows.file, key, use, "events[].")
        if kind in RESTARTS:
            session += 1
        if kind not in SAID:
            rows.omit(EVENTS)
        elif not isinstance(event.get("text"), str) or not event["text"].strip():
            rows.omit(NO_TEXT)
        elif event["text"].startswith("/") and kind == "user":
            rows.omit("commands to the program (/intent), left out")
        else:
            place = f"{where}, events[{number}]"
            conversation = f"{person}-{session}" if session else ONLY
            rows.add(place, person, conversation, kind, event["text"], event.get("timestamp"))
