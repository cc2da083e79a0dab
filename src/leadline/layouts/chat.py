"""Chat logs in JSON: OpenAI-style messages, nested lists of turns, ShareGPT.

One conversation is an object with a list of messages (`messages`, `turns`, `conversation`,
`dialog` ...); a file holds one, a list of them, or one a line. A message has a role (`role`,
`speaker`, `from`) and a text (`content`, `text`, `value`), which may be a list of parts.
Records that are messages themselves, each with its person, are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.sources.batch import ONLY, RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.files import json_values
from leadline.sources.people import PeopleColumns, picked
from leadline.sources.records import RawTurns, at, first_of, identifier
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

TURN_KEYS = ("messages", "turns", "conversation", "conversations", "dialog", "dialogue", "chat")

WRAPPERS = ("conversations", "data", "dialogues", "dialogs", "chats", "items")

ROLE_KEYS = ("role", "speaker", "from", "author", "sender")

TEXT_KEYS = ("content", "text", "value", "message", "body")

TIME_KEYS = ("created_at", "timestamp", "time", "create_time", "date")

PERSON_KEYS = ("person_id", "user_id", "participant_id", "patient_id", "client_id", "person",
               "user")  # fmt: skip

CONVERSATION_KEYS = ("conversation_id", "dialogue_id", "dialog_id", "chat_id", "thread_id",
                     "session_id", "id")  # fmt: skip

SHAREGPT_WORDS = {
    "human": "user",
    "bing": "assistant",
    "bard": "assistant",
    "function_call": "system",
    "observation": "system",
}

NO_TEXT = "messages without text (tool calls), left out"

OTHER_PARTS = "parts of a message that are not text (images, files), left out"

JOINED = "messages whose text parts were joined by line breaks"


def read_chat(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a chat log; see the module."""
    return _read(source, settings, ledger, {})


def read_sharegpt(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a ShareGPT file: `conversations` of `from` (human, gpt) and `value`."""
    return _read(source, settings, ledger, SHAREGPT_WORDS)


def _read(
    source: Path, settings: ImportConfig, ledger: RejectedRows, words: Mapping[str, str]
) -> Source:
    people = PeopleColumns(settings.people_column)
    reader = ChatReader(source, settings, ledger, people)
    return Source(reader.batches(), roles_of(settings, words), people, inputs=[source])


def conversations(source: Path, ledger: RejectedRows) -> Iterator[tuple[str, Any]]:
    """Records of a chat file with their locators; a wrapper object is opened."""
    for where, value in json_values(source, ledger):
        key = _wrapper(value)
        if key is None:
            yield where, value
            continue
        for number, entry in enumerate(value[key]):
            yield f"{where}, {key}[{number}]", entry


def _wrapper(value: Any) -> str | None:
    """The key under which an object holds a list of conversations, if it does."""
    if not isinstance(value, Mapping):
        return None
    for key in WRAPPERS:
        inner = value.get(key)
        if not (isinstance(inner, list) and inner and isinstance(inner[0], Mapping)):
            continue
        if turn_keys(inner[0]) or "conversation_parts" in inner[0]:
            return key
    return None


def turn_keys(record: Mapping[str, Any]) -> list[str]:
    """Keys of a record under which a list of messages lies."""
    return [
        key
        for key in TURN_KEYS
        if isinstance(record.get(key), list)
        and (not record[key] or any(isinstance(entry, Mapping) for entry in record[key]))
    ]


def is_message(record: Any) -> bool:
    """Whether a record is itself a message."""
    if not isinstance(record, Mapping) or turn_keys(record):
        return False
    return any(key in record for key in ROLE_KEYS) and any(key in record for key in TEXT_KEYS)


@dataclass
class ChatReader:
    """Draws raw turns from a chat file and notes what it says about people."""

    source: Path
    settings: ImportConfig
    ledger: RejectedRows
    people: PeopleColumns
    person_key: str = ""
    identifier_pairs: set[tuple[str, str]] = field(default_factory=set)

    def batches(self) -> Iterator[RawTurnBatch]:
        """Raw turns of all records."""
        rows = RawTurns(self.source, self.ledger)
        for number, (where, record) in enumerate(conversations(self.source, self.ledger), 1):
            if is_message(record):
                self._flat(rows, record, where)
            else:
                self._nested(rows, record, where, number)
            if rows.full:
                yield rows.batch()
        yield rows.batch()

    def _nested(self, rows: RawTurns, record: Any, where: str, number: int) -> None:
        if not isinstance(record, Mapping):
            rows.reject(where, "The conversation is not a JSON object.", "Check the layout.")
            return
        keys = turn_keys(record)
        if len(keys) != 1:
            detail = f"It has {', '.join(keys)}." if keys else "It has none of the usual keys."
            rows.reject(
                where,
                f"The conversation needs one list of messages. {detail}",
                f"Keep one of: {', '.join(TURN_KEYS)}.",
            )
            return
        raw_id = first_of(record, CONVERSATION_KEYS)
        conversation = identifier(raw_id) if raw_id is not None else str(number)
        person = conversation
        if not self.settings.one_person_per_conversation:
            person = identifier(at(record, self._person_key(record, where)))
        if not self._known(rows, person, conversation, where):
            return
        self._describe(record, str(person), where)
        for place, message in enumerate(record[keys[0]]):
            self._message(
                rows, message, f"{where}, {keys[0]}[{place}]", str(person), str(conversation)
            )

    def _known(
        self, rows: RawTurns, person: str | None, conversation: str | None, where: str
    ) -> bool:
        if person is None or conversation is None:
            what = "person" if person is None else "conversation"
            rows.reject(where, f"The {what} identifier is missing or not text.", "Fill it in.")
            return False
        if (person, conversation) in self.identifier_pairs:
            rows.reject(
                where,
                "This conversation identifier occurs twice.",
                "Give each conversation its own identifier, or remove the copy.",
            )
            return False
        self.identifier_pairs.add((person, conversation))
        return True

    def _flat(self, rows: RawTurns, record: Mapping[str, Any], where: str) -> None:
        """A record that is a message; without a conversation, all of a person's are one."""
        raw_id = first_of(record, CONVERSATION_KEYS[:-1])
        conversation = identifier(raw_id) if raw_id is not None else ONLY
        if self.settings.one_person_per_conversation:
            person = conversation if raw_id is not None else self.source.stem
        else:
            person = identifier(at(record, self._person_key(record, where)))
        if person is None or conversation is None:
            rows.reject(where, "The person or conversation identifier is missing.", "Fill it in.")
            return
        self._describe(record, person, where)
        self._message(rows, record, where, person, conversation)

    def _describe(self, record: Mapping[str, Any], person: str, where: str) -> None:
        if self.people.columns:
            values = picked(record, self.people.columns)
            self.people.add(person, values, self.source, where, self.ledger)

    def _person_key(self, record: Mapping[str, Any], where: str) -> str:
        """The key of the person's identifier: as set, else the only usual one of the first."""
        if self.settings.person_key:
            return self.settings.person_key
        if not self.person_key:
            candidates = [key for key in PERSON_KEYS if identifier(record.get(key)) is not None]
            if len(candidates) != 1:
                what = f"could be under {', '.join(candidates)}" if candidates else "is not named"
                raise LeadlineError(
                    f"The person of this conversation {what}.",
                    remedy="Give --person-key KEY (dots reach inside: metadata.user_id), or "
                    "--one-person-per-conversation if each conversation is another person.",
                    file=self.source,
                    row=where,
                )
            self.person_key = candidates[0]
        return self.person_key

    def _message(
        self, rows: RawTurns, message: Any, where: str, person: str, conversation: str
    ) -> None:
        if not isinstance(message, Mapping):
            rows.reject(where, "The message is not a JSON object.", "Give it a role and a text.")
            return
        speaker = first_of(message, ROLE_KEYS)
        if isinstance(speaker, Mapping):
            speaker = speaker.get("role")
        text = first_of(message, TEXT_KEYS)
        if text is None and any(message.get(key) for key in ("tool_calls", "function_call")):
            self.ledger.note(NO_TEXT)
            return
        if isinstance(text, list):
            text = self._parts(text)
            if text is None:
                return
        rows.add(where, person, conversation, speaker, text, first_of(message, TIME_KEYS))

    def _parts(self, parts: list[Any]) -> Any:
        """The text of a list of parts; None if none of them is text."""
        texts = []
        for part in parts:
            text = part if isinstance(part, str) else None
            if isinstance(part, Mapping) and "text" in part:
                text = part["text"]
                if isinstance(text, Mapping):
                    text = text.get("value")
            if isinstance(text, str):
                texts.append(text)
            else:
                self.ledger.note(OTHER_PARTS)
        if not texts:
            self.ledger.note(NO_TEXT)
            return None
        if len(texts) > 1:
            self.ledger.note(JOINED)
        return "\n".join(texts)
