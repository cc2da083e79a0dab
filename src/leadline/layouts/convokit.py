"""ConvoKit corpora: a folder with utterances.jsonl, speakers.json, conversations.json.

A corpus has speakers, not roles. A role comes from --role SPEAKER=ROLE, or from a metadata
key of the utterance or its speaker (--role-key; `role` if it is there). The person of a
conversation is its one speaker with the role user, and that speaker's name identifies them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.layouts.unsaid import placeholder
from leadline.sources.batch import RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.files import check_file, json_values, parse_json, read_text
from leadline.sources.people import PeopleColumns, picked
from leadline.sources.records import RawTurns, encodable, first_of, identifier, require_mapping
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import Roles, roles_of
from leadline.sources.source import Source
from leadline.sources.times import FIRST_EPOCH

UTTERANCES = "utterances.jsonl"

SPEAKERS = ("speakers.json", "users.json")

ROLE_KEYS = ("role", "speaker_role", "speaker_type")

USES = {"id": "identifier of the message", "speaker": "person, role", "user": "person, role",
        "conversation_id": "conversation", "root": "conversation", "text": "text",
        "timestamp": "time", "meta": "role"}  # fmt: skip

SMALL_TIMES = "timestamps that are no dates (too small), not kept; the order of the file counts"


@dataclass
class Utterance:
    """One utterance, checked for what places it."""

    row: str
    conversation: str
    speaker: str
    word: str  # what the role map is asked for
    text: Any
    time: Any


CONVOKIT_KEYS = frozenset((
    "id", "conversation_id", "root", "speaker", "user", "text", "timestamp", "meta", "role",
    "reply_to", "reply-to",
))  # fmt: skip
"""Keys that are read by name, found in another case too."""


def read_convokit(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a ConvoKit corpus folder."""
    if not source.is_dir():
        raise LeadlineError(
            "A ConvoKit corpus is a folder.",
            remedy="Give the folder that holds utterances.jsonl.",
            file=source,
        )
    path = check_file(source / UTTERANCES)
    speakers, inputs = _speakers(source)
    people = PeopleColumns(settings.people_column)
    roles = roles_of(settings)
    batches = _batches(path, speakers, settings, roles, people, ledger)
    return Source(batches, roles, people, inputs=[path, *inputs])


def _speakers(source: Path) -> tuple[dict[str, Mapping[str, Any]], list[Path]]:
    """Speaker -> metadata; older corpora keep it beside `meta`."""
    path = next((source / name for name in SPEAKERS if (source / name).is_file()), None)
    if path is None:
        return {}, []
    raw = require_mapping(parse_json(read_text(check_file(path)), path), path)
    metadata = {}
    for name, entry in raw.items():
        entry = entry if isinstance(entry, Mapping) else {}
        meta = entry.get("meta")
        metadata[name] = meta if isinstance(meta, Mapping) else entry
    return metadata, [path]


def _batches(
    path: Path,
    speakers: Mapping[str, Mapping[str, Any]],
    settings: ImportConfig,
    roles: Roles,
    people: PeopleColumns,
    ledger: RejectedRows,
) -> Iterator[RawTurnBatch]:
    """Utterances by conversation: the person is known only when a conversation is whole."""
    by_conversation: dict[str, list[Utterance]] = {}
    utterance_ids: set[str] = set()
    for where, record in json_values(path, ledger, CONVOKIT_KEYS):
        ledger.account.arrived += 1
        if isinstance(record, Mapping):
            ledger.uses.meet(path, record)
        utterance = _utterance(record, where, path, speakers, settings, ledger, utterance_ids)
        if utterance is not None:
            by_conversation.setdefault(utterance.conversation, []).append(utterance)
    for key, kind in USES.items():
        ledger.uses.take(path, key, kind)
    rows = RawTurns(path, ledger)
    for utterances in by_conversation.values():
        person = _person(utterances, roles, settings, path, ledger)
        if person is None:
            continue
        values = picked(speakers.get(person, {}), people.columns)
        people.add(person, values, path, utterances[0].row, ledger)
        dated = all(_is_date(utterance.time) for utterance in utterances)
        if not dated and any(utterance.time is not None for utterance in utterances):
            ledger.note(SMALL_TIMES, len(utterances))
        for turn in utterances:
            ledger.account.arrived -= 1  # it arrived when it was drawn; `add` counts it again
            why = placeholder(turn.text)
            if why:
                rows.omit(why)
                continue
            time = turn.time if dated else None
            rows.add(turn.row, person, turn.conversation, turn.word, turn.text, time)
        if rows.full:
            yield rows.batch()
    yield rows.batch()


def _is_date(time: Any) -> bool:
    try:
        return time is not None and float(time) >= FIRST_EPOCH
    except (TypeError, ValueError):
        return time is not None  # text, or a wrong type: judged with the other times


def _utterance(
    record: Any,
    where: str,
    path: Path,
    speakers: Mapping[str, Mapping[str, Any]],
    settings: ImportConfig,
    ledger: RejectedRows,
    utterance_ids: set[str],
) -> Utterance | None:
    if not isinstance(record, Mapping):
        ledger.reject(path, where, "The utterance is not a JSON object.", "Check the corpus.", 1)
        return None
    name = identifier(record.get("id"))
    conversation = identifier(first_of(record, ("conversation_id", "root")))
    speaker = first_of(record, ("speaker", "user"))
    if isinstance(speaker, Mapping):
        speaker = speaker.get("id")
    speaker = identifier(speaker)
    for what, value in (("id", name), ("conversation_id", conversation), ("speaker", speaker)):
        if value is None:
            ledger.reject(
                path, where, f"The utterance's {what} is missing or not text.", "Fill it in.", 1
            )
            return None
    if name in utterance_ids:
        ledger.reject(path, where, "The utterance's id occurs twice.", "Remove the copy.", 1)
        return None
    utterance_ids.add(str(name))
    meta = record.get("meta")
    word = _role_word(str(speaker), meta if isinstance(meta, Mapping) else {}, speakers, settings)
    time = record.get("timestamp")
    return Utterance(where, str(conversation), str(speaker), word, record.get("text"), time)


def _role_word(
    speaker: str,
    meta: Mapping[str, Any],
    speakers: Mapping[str, Mapping[str, Any]],
    settings: ImportConfig,
) -> str:
    """What the role map is asked for: the speaker if it is mapped, else their role."""
    if speaker in settings.roles():
        return speaker
    for key in (settings.role_key,) if settings.role_key else ROLE_KEYS:
        for source in (meta, speakers.get(speaker, {})):
            if isinstance(source.get(key), str) and encodable(source[key]):
                return str(source[key])
    return speaker


def _person(
    utterances: list[Utterance],
    roles: Roles,
    settings: ImportConfig,
    path: Path,
    ledger: RejectedRows,
) -> str | None:
    """The one speaker of a conversation whose role is user, or whom the settings say."""
    if settings.person or settings.one_person_per_conversation:
        return settings.person or utterances[0].conversation
    candidates = {
        turn.speaker for turn in utterances if roles.of(turn.word, path, turn.row) == "user"
    }
    if len(candidates) == 1:
        return candidates.pop()
    what = "no speaker" if not candidates else "more than one speaker"
    ledger.reject(
        path,
        utterances[0].row,
        f"The conversation of this utterance has {what} who is the person.",
        "Say who is what with --role SPEAKER=ROLE or --role-key KEY.",
        len(utterances),
    )
    return None
