"""Chat logs in JSON: OpenAI-style messages, nested lists of turns, ShareGPT, ChatGPT, Claude.

One conversation is an object with a list of messages (`messages`, `turns`, `conversation`,
`dialog` ...) or a tree of them (`mapping`); a file holds one, a list of them, one a line, or one a
row of a Parquet table with nested lists. A message has a role and a text (`message.py` says under
which names). Records that are messages themselves, each with its person, are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.layouts.branches import PARENT_KEYS, opened_mapping, unnested
from leadline.layouts.dialogue import Dialogue, DialogueWriter
from leadline.layouts.exchanges import exchange_columns, paired_messages
from leadline.layouts.message import (
    BOT_KEYS,
    DIRECTIONS,
    INCOMING_KEYS,
    LANGCHAIN,
    ROLE_KEYS,
    TEXT_KEYS,
    opened,
)
from leadline.sources.batch import NOBODY, ONLY, RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.files import json_values
from leadline.sources.json_tables import opened_record
from leadline.sources.names import looks_like, normal, usual_place, words
from leadline.sources.people import PeopleColumns, picked
from leadline.sources.quoting import listed
from leadline.sources.records import RawTurns, at, first_of, identifier
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

TURN_KEYS = ("messages", "turns", "conversation", "conversations", "dialog", "dialogue", "chat",
             "chat_messages", "utterances", "history", "chat_history", "transcript",
             "contents", "linear_conversation")  # fmt: skip

LATE_TURN_KEYS = ("data", "items", "input", "output", "events", "log", "results", "content")
"""Keys that hold messages only where no other does and their entries are messages."""

WRAPPERS = ("conversations", "data", "dialogues", "dialogs", "chats", "items", "results",
            "sessions", "threads", "records", "rows")  # fmt: skip

PERSON_KEYS = ("person_id", "user_id", "participant_id", "patient_id", "client_id", "person",
               "user")  # fmt: skip

CONVERSATION_KEYS = ("conversation_id", "dialogue_id", "dialog_id", "chat_id", "thread_id",
                     "session_id", "message_tree_id", "conversation_uuid", "chat_session_id",
                     "conversation_hash", "uuid", "conv_id", "_id", "id")  # fmt: skip

CHAT_KEYS = frozenset((
    *TURN_KEYS, *WRAPPERS, *ROLE_KEYS, *TEXT_KEYS, *CONVERSATION_KEYS, *PERSON_KEYS, "mapping",
    "message", "current_node", "parent", "children", "ancestors", "type", "data", "kwargs", "parts",
    "metadata", "content_type", "weight", "recipient", "status", "tool_calls", "account",
    "conversation_parts", "source", "contacts", "part_type", "author", "body", "created_at",
    "external_id", "current_leaf_message_uuid", "create_time", "parent_id", "parent_message_uuid",
))  # fmt: skip
"""Keys that are read by name, found in another case too."""

CALL_WORDS = frozenset(("input", "inputs", "output", "outputs", "request", "response", "body",
                        "attributes", "message", "events", "completion"))  # fmt: skip
"""Words of the keys of a call of a model, whose object is no holder of a conversation."""

ABOUT = ("metadata", "meta", "user", "account", "person", "participant", "patient", "config")
"""Keys of objects beside a holder of a conversation that hold no messages."""

CHOICES = ("chosen", "rejected", "conversation_a", "conversation_b", "response_a", "response_b",
           "prompt", "completion")  # fmt: skip
"""Keys of conversations of which one is to be chosen."""

REQUEST_KEYS = ("response", "choices", "completion", "usage", "request")

SHAREGPT_WORDS = {
    "human": "user",
    "bing": "assistant",
    "bard": "assistant",
    "function_call": "system",
    "observation": "system",
}

CLAUDE_PERSON = "account.uuid"


def read_chat(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a chat log; see the module."""
    return _read(source, settings, ledger, {})


def read_sharegpt(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a ShareGPT file: `conversations` of `from` (human, gpt) and `value`."""
    return _read(source, settings, ledger, SHAREGPT_WORDS)


def read_claude(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a Claude export: `chat_messages` of one account, which is the person."""
    return _read(source, settings, ledger, {}, CLAUDE_PERSON)


def _read(
    source: Path,
    settings: ImportConfig,
    ledger: RejectedRows,
    words: Mapping[str, str],
    person_key: str = "",
) -> Source:
    people = PeopleColumns(settings.people_column)
    reader = ChatReader(source, settings, ledger, people, settings.person_key or person_key)
    parts = Source(reader.batches(), roles_of(settings, words), people, inputs=[source])
    reader.parts = parts
    return parts


def conversations(
    source: Path, ledger: RejectedRows, keys: frozenset[str] = CHAT_KEYS
) -> Iterator[tuple[str, Any]]:
    """Records of a chat file with their locators; a wrapper object is opened.

    Args:
        source: the file.
        ledger: takes bad lines.
        keys: names that are found in another case too.
    """
    for where, raw in json_values(source, ledger, keys):
        value = _open_wrapper(_open_list(opened_record(raw)))
        key = _wrapper(value)
        if key is None and _is_by_name(value):
            for number, (name, messages) in enumerate(value.items(), 1):
                place = f"{where}, conversation {number}"
                yield place, {"conversation_id": name, "messages": messages}
            continue
        if key is None:
            yield where, _open_chat(value)
            continue
        for number, entry in enumerate(value[key]):
            yield f"{where}, {key}[{number}]", _open_chat(opened_record(entry))


def _open_list(value: Any) -> Any:
    """A conversation that is nothing but a list: of messages, or of pairs."""
    if not isinstance(value, list) or not value:
        return value
    messages = value if all(map(has_role_and_text, value)) else paired_messages(value)
    return value if messages is None else {"messages": messages}


def _open_wrapper(value: Any) -> Any:
    """The inner object where a wrapper lies in another: ``data.chats``, Elasticsearch's hits."""
    if not isinstance(value, Mapping) or _wrapper(value) is not None:
        return value
    for key, inner in value.items():
        if not isinstance(inner, Mapping) or usual_place(key, (*WRAPPERS, "hits")) is None:
            continue
        hits = inner.get("hits")
        if isinstance(hits, list) and hits and isinstance(hits[0], Mapping):
            return {"records": hits}
        if _wrapper(inner) is not None:
            return inner
    return value


def _wrapper(value: Any) -> str | None:
    """The key under which an object holds a list of conversations, if it does."""
    if not isinstance(value, Mapping):
        return None
    names: list[str] = sorted(value, key=lambda name: usual_place(name, WRAPPERS) or 0)
    for key in names:
        inner = value[key]
        if usual_place(key, WRAPPERS) is None or not (isinstance(inner, list) and inner):
            continue
        if not isinstance(inner[0], Mapping):
            continue
        first = opened_record(inner[0])
        if turn_keys(first) or "conversation_parts" in first or has_tree(first):
            return key
        if "_source" in inner[0] and is_message(first):
            return key
    return None


def _open_chat(value: Any) -> Any:
    """A record whose conversation lies deeper, under ``chat``, also as a history by id."""
    if not isinstance(value, Mapping):
        return value
    value = _open_pairs(value)
    by_name = [key for key, inner in value.items()
               if usual_place(key, TURN_KEYS) is not None and _holds_messages(inner)]  # fmt: skip
    if by_name:
        return {**value, **{key: list(value[key].values()) for key in by_name}}
    inner = value.get("chat")
    if not isinstance(inner, Mapping):
        return _open_holder(value)
    history = inner.get("history")
    nodes = history.get("messages") if isinstance(history, Mapping) else None
    outer = {key: entry for key, entry in value.items() if key != "chat"}
    if isinstance(history, Mapping) and isinstance(nodes, Mapping) and nodes:
        current = history.get("currentId")
        return {**outer, "messages": list(nodes.values()), "current_node": current}
    return {**inner, **outer}


def _open_pairs(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record whose messages are pairs, with the last exchange where it stands beside them."""
    holders = [value, *(inner for inner in value.values() if isinstance(inner, Mapping))]
    for holder in holders:
        for key in holder:
            messages = None
            if usual_place(key, TURN_KEYS) is not None:
                messages = paired_messages(holder[key])
            if messages is None:
                continue
            halves = _last_exchange(value) if holder is value else {}
            messages += paired_messages([list(halves.values())[-2:]]) or []
            outer = {name: entry for name, entry in value.items()
                     if name != key and name not in halves and entry is not holder}  # fmt: skip
            inner = {} if holder is value else {k: v for k, v in holder.items() if k != key}
            return {**inner, **outer, "messages": messages}
    return value


def _last_exchange(value: Mapping[str, Any]) -> dict[str, str]:
    """Key -> text of what was asked last and of its answer, which stand beside a history."""
    halves = exchange_columns(list(value))
    keys = ("instruction", "input", "output") if "instruction" in value else halves or ()
    texts = {key: value[key] for key in keys
             if isinstance(value.get(key), str) and value[key]}  # fmt: skip
    if (keys and keys[-1] not in texts) or len(texts) < 2:
        return {}
    if len(texts) == 3:  # an instruction and its input are one request
        texts["input"] = "\n".join((texts.pop("instruction"), texts["input"]))
        texts["output"] = texts.pop("output")
    return texts


def _holds_messages(value: Any) -> bool:
    """Whether an object holds messages by their names, as Firebase keeps them."""
    return (
        isinstance(value, Mapping) and bool(value) and all(map(has_role_and_text, value.values()))
    )


def _open_holder(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record whose messages lie in its only object that has any (``chat_memory.messages``)."""
    if turn_keys(value) or has_tree(value) or any(set(words(key)) & CALL_WORDS for key in value):
        return value
    holders = [key for key, inner in value.items()
               if isinstance(inner, Mapping) and (turn_keys(inner) or has_tree(inner))]  # fmt: skip
    others = [key for key, inner in value.items() if isinstance(inner, Mapping | list)
              and key not in holders and normal(key) not in ABOUT]  # fmt: skip
    if len(holders) != 1 or others:
        return value
    outer = {key: entry for key, entry in value.items() if key != holders[0]}
    return {**value[holders[0]], **outer}


def _is_by_name(value: Any) -> bool:
    """Whether an object holds conversations by their names: ``{"c1": [message, ...], ...}``."""
    if not isinstance(value, Mapping) or not value or _named_turn_keys(value):
        return False
    if any(normal(key) in CHOICES for key in value):
        return False
    return all(
        isinstance(inner, list) and inner and all(has_role_and_text(entry) for entry in inner)
        for inner in value.values()
    )


def has_tree(record: Mapping[str, Any]) -> bool:
    """Whether a conversation is a tree of messages, as ChatGPT exports it."""
    mapping = record.get("mapping")
    return isinstance(mapping, Mapping) and (
        not mapping
        or any(isinstance(node, Mapping) and "message" in node for node in mapping.values())
    )


def turn_keys(record: Mapping[str, Any]) -> list[str]:
    """Keys of a record under which a list of messages lies, whatever they are called."""
    keys = _named_turn_keys(record)
    if not keys and not has_role_and_text(record):
        keys = [key for key in record
                if _is_dialogue(record[key]) and key != "conversation_parts"]  # fmt: skip
    return keys


def _named_turn_keys(record: Mapping[str, Any]) -> list[str]:
    """Keys of a record that are known for a list of messages, and hold one."""
    keys = [
        key
        for key in record
        if usual_place(key, TURN_KEYS) is not None
        and isinstance(record[key], list)
        and (not record[key] or any(isinstance(entry, Mapping) for entry in record[key]))
    ]
    if len(keys) > 1:
        keys = [key for key in keys if record[key]] or keys[:1]
    if not keys:
        keys = [
            key
            for key in record
            if normal(key) in LATE_TURN_KEYS
            and isinstance(record[key], list)
            and not has_role_and_text(record)
            and any(has_role_and_text(entry) for entry in record[key])
        ]
    return sorted(keys, key=lambda key: usual_place(key, TURN_KEYS) or 0)


def _is_dialogue(value: Any) -> bool:
    """Whether something is a list of messages, whatever its key."""
    return isinstance(value, list) and bool(value) and all(map(has_role_and_text, value))


def has_role_and_text(record: Any) -> bool:
    """Whether a record names who speaks and what they say."""
    if not isinstance(record, Mapping):
        return False
    record = opened(record)
    role = any(
        usual_place(key, (*ROLE_KEYS, *BOT_KEYS, *INCOMING_KEYS)) is not None for key in record
    )
    kind = record.get("type")
    role = role or (isinstance(kind, str) and kind.lower() in (*LANGCHAIN, *DIRECTIONS))
    text = any(usual_place(key, (*TEXT_KEYS, "parts")) is not None for key in record)
    return role and text


def is_message(record: Any) -> bool:
    """Whether a record is itself a message."""
    if not isinstance(record, Mapping) or turn_keys(record) or has_tree(record):
        return False
    return has_role_and_text(record)


@dataclass
class ChatReader:
    """Draws raw turns from a chat file and notes what it says about people.

    Attributes:
        source: the file.
        settings: keys and roles that are given.
        ledger: counts.
        people: what is said about people.
        person_key: the key of the person's identifier, "" until it is known.
        name: of a conversation that names none; "" for its number in the file.
        parts: what is handed over, told if records are messages that name their authors.
        writer: of conversations.
    """

    source: Path
    settings: ImportConfig
    ledger: RejectedRows
    people: PeopleColumns
    person_key: str = ""
    name: str = ""
    parts: Source | None = None
    writer: DialogueWriter = field(init=False)

    def __post_init__(self) -> None:
        rows = RawTurns(self.source, self.ledger)
        self.writer = DialogueWriter(rows, self.settings, self.ledger)

    def batches(self) -> Iterator[RawTurnBatch]:
        """Raw turns of all records."""
        rows = self.writer.rows
        trees: dict[str, Dialogue] = {}
        for number, (where, record) in enumerate(conversations(self.source, self.ledger), 1):
            if is_message(record):
                self._flat(trees, record, where)
            else:
                self._nested(record, where, number)
            if rows.full:
                yield rows.batch()
        for dialogue in trees.values():
            self.writer.write(dialogue)
            if rows.full:
                yield rows.batch()
        yield rows.batch()

    def _nested(self, record: Any, where: str, number: int) -> None:
        rows = self.writer.rows
        if not isinstance(record, Mapping):
            rows.lose(where, "The conversation is not a JSON object.", "Check the layout.")
            return
        messages, key, current = self._messages(record, where)
        if messages is None:
            return
        name = self._conversation(record)
        conversation = identifier(record[name]) if name is not None else self._unnamed(number)
        person = self._person(record, where, conversation)
        if person is None or conversation is None:
            what = "person" if person is None else "conversation"
            rows.lose(where, f"The {what} identifier is missing or not text.", "Fill it in.",
                      len(messages))  # fmt: skip
            return
        self._describe(record, person, where, (name, key))
        places = [f"{where}, {key}[{place}]" for place in range(len(messages))]
        growing = "no" if name is not None else "maybe"
        if any(normal(name_beside) in REQUEST_KEYS for name_beside in record):
            growing = "log" if name is None or normal(name) == "id" else growing
        self.writer.write(
            Dialogue(where, person, conversation, messages, places, record, growing, current)
        )

    def _unnamed(self, number: int) -> str:
        """The name of a conversation that has none."""
        if not self.name:
            return str(number)
        return self.name if number == 1 else f"{self.name}-{number}"

    def _messages(
        self, record: Mapping[str, Any], where: str
    ) -> tuple[list[Any] | None, str, str | None]:
        """The messages of a conversation, their key, and the current one; None where it is bad."""
        if has_tree(record):
            messages, current = opened_mapping(record)
            return messages, "mapping", current
        keys = turn_keys(record)
        if self.settings.messages_key:
            keys = [key for key in record if key == self.settings.messages_key
                    and isinstance(record[key], list)]  # fmt: skip
        if len(keys) != 1:
            detail = (
                f"It has {listed(keys, list(record), what='key')}."
                if keys
                else "It has none of the usual keys."
            )
            self.writer.rows.lose(
                where,
                f"The conversation needs one list of messages. {detail}",
                "Say which key holds it with --messages-key KEY.",
            )
            return None, "", None
        current = identifier(first_of(record, ("current_leaf_message_uuid", "current_node")))
        return unnested(record[keys[0]]), keys[0], current

    def _flat(self, trees: dict[str, Dialogue], record: Mapping[str, Any], where: str) -> None:
        """A record that is a message; without a conversation, all of a person's are one."""
        name = self._conversation(record, CONVERSATION_KEYS[:-4])
        conversation = identifier(record[name]) if name is not None else self.name or ONLY
        alone = conversation if name is not None else self.source.stem
        person = self._person(record, where, alone)
        if name is not None and self.parts is not None:
            self.parts.shared_conversations = True
            person = person or NOBODY
        if person is None or conversation is None:
            problem = "The person or conversation identifier is missing."
            self.writer.rows.lose(where, problem, "Fill it in.")
            return
        if person != NOBODY:
            self._describe(record, person, where, (name,), message=True)
        # Authors of a tree differ; its branches are those of the whole conversation.
        is_tree = name is not None and any(normal(key) in PARENT_KEYS for key in record)
        if not is_tree:
            self.writer.write_alone(where, record, person, conversation)
            return
        dialogue = trees.setdefault(conversation, Dialogue(where, person, conversation, [], []))
        dialogue.messages.append(record)
        dialogue.places.append(where)

    def _conversation(
        self, record: Mapping[str, Any], names: tuple[str, ...] = CONVERSATION_KEYS
    ) -> str | None:
        """The key of the conversation's identifier, if there is one that is not null."""
        keys = sorted(
            (place, key)
            for key in record
            if (place := usual_place(key, names)) is not None and record[key] is not None
        )
        return keys[0][1] if keys else None

    def _describe(
        self,
        record: Mapping[str, Any],
        person: str,
        where: str,
        used: tuple[str | None, ...],
        message: bool = False,
    ) -> None:
        uses = self.ledger.uses
        if not message:
            uses.meet(self.source, record)
            for key, kind in zip(used, ("conversation", "messages"), strict=False):
                if key is not None:
                    uses.take(self.source, key, kind)
            if self.person_key:
                uses.take(self.source, self.person_key.split(".")[0], "person")
        else:
            uses.take(self.source, self.person_key, "person", "messages[].")
            if used[0] is not None:
                uses.take(self.source, used[0], "conversation", "messages[].")
        if self.people.columns:
            for column in self.people.columns:
                uses.take(self.source, column, "about the person", "messages[]." if message else "")
            values = picked(record, self.people.columns)
            self.people.add(person, values, self.source, where, self.ledger)

    def _person(
        self, record: Mapping[str, Any], where: str, conversation: str | None
    ) -> str | None:
        if self.settings.person:
            return self.settings.person
        if self.settings.one_person_per_conversation:
            return conversation
        if not self.person_key:
            self.person_key = person_key(record, self.source, where)
        return identifier(at(record, self.person_key))


def person_key(record: Mapping[str, Any], file: Path, where: str) -> str:
    """The key of the person's identifier: the only one of the usual, else the only likely one.

    Raises:
        LeadlineError: there is none, or more than one.
    """
    paths = dict(record)
    for key, value in record.items():
        if isinstance(value, Mapping) and (
            looks_like(key) == "person" or normal(key) == "metadata"
        ):
            paths |= {f"{key}.{inner}": inner_value for inner, inner_value in value.items()}
    usual = [path for path in paths if usual_place(path.rsplit(".")[-1], PERSON_KEYS) is not None]
    usual = [path for path in usual if not isinstance(paths[path], Mapping | list)]
    within = [path for path in paths if "." in path and path not in usual
              and looks_like(path.split(".")[0]) == "person"
              and normal(path.split(".")[1]) in ("id", "uuid", "external_id")]  # fmt: skip
    likely = [path for path in paths if "." not in path and looks_like(path) == "person"]
    for group in (usual, within, likely):
        choices = [path for path in group if identifier(paths[path]) is not None]
        if len(choices) == 1:
            return choices[0]
        if len(choices) > 1:
            paths_shown = listed(sorted(choices), list(paths), what="key")
            raise _unclear_person(f"could be under {paths_shown}", file, where)
        if len(group) == 1 and paths[group[0]] is None:
            return group[0]
    raise _unclear_person("is not named", file, where)


def _unclear_person(what: str, file: Path, where: str) -> LeadlineError:
    return LeadlineError(
        f"The person of this conversation {what}.",
        remedy="Give --person-key KEY (dots reach inside: metadata.user_id), "
        "--one-person-per-conversation if each conversation is another person, or --person ID if "
        "the whole source is of one.",
        file=file,
        row=where,
    )
