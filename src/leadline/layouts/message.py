"""One JSON message, in any of the shapes that programs write: who speaks, what they say, when.

OpenAI chat and Responses, Anthropic blocks, LangChain, ChatGPT and Claude exports, and keys named
freely (createdAt, senderType). What was never said to the other (reasoning, calls of tools and
their answers, internal notes, deleted and hidden messages) is recognised and named, so that it can
be left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from leadline.layouts.unsaid import HIDDEN, NO_TEXT, REASONING, TOOLS, placeholder, unsaid
from leadline.sources.names import looks_like, normal, usual_place

ROLE_KEYS = ("role", "speaker", "from", "author", "sender", "author_role", "sender_type",
             "sender_role", "participant_role", "user_type", "speaker_role", "from_role",
             "interlocutor", "who", "party", "direction")  # fmt: skip

TEXT_KEYS = ("content", "text", "value", "message", "body", "utterance", "utterance_text", "msg",
             "message_text", "text_content",
             "body_text", "message_body", "text_body", "plain_text", "payload")  # fmt: skip

TIME_KEYS = ("created_at", "timestamp", "time", "create_time", "date", "sent_at", "created",
             "ts", "datetime", "created_date", "date_created", "timestamp_ms", "sent", "created_on",
             "message_time", "creation_date", "inserted_at", "posted_at", "at")  # fmt: skip

ID_KEYS = ("id", "message_id", "uuid", "msg_id")

INCOMING_KEYS = ("incoming", "is_incoming", "inbound", "is_inbound", "is_user", "from_user",
                 "is_from_user", "is_customer", "is_patient", "is_client")  # fmt: skip

BOT_KEYS = ("is_bot", "isbot", "bot", "from_bot", "is_ai")

AUTHOR_KEYS = ("author_id", "sender_id", "user_id", "participant_id", "author_name", "sender_name",
               "user_name")  # fmt: skip

ABOUT_KEYS = ("metadata", "meta", "additional_kwargs", "info")
"""Keys of objects that say something of a message."""

SIDES = ("request", "response")

PART_KINDS = {"user-prompt": "text", "request": "text", "response": "text", "think": "thinking",
              "system-prompt": "instructions", "instructions": "instructions",
              "tool-call": "tool_call", "tool-return": "tool_result", "retry-prompt": "tool_result",
              "builtin-tool-call": "tool_call", "builtin-tool-return": "tool_result",
              "search": "tool_call", "tool_search": "tool_call"}  # fmt: skip
"""Kinds of parts that say who speaks, as kinds of content."""

LATE_TEXT_KEYS = ("parts", "items", "blocks")

LATE_ROLE_KEYS = ("source", "creator", "type_of_sender")

LANGCHAIN = {"human": "human", "ai": "ai", "system": "system", "tool": "tool",
             "function": "function", "aimessage": "ai", "humanmessage": "human",
             "systemmessage": "system", "toolmessage": "tool", "aimessagechunk": "ai",
             "humanmessagechunk": "human", "functionmessage": "function"}  # fmt: skip

DIRECTIONS = ("incoming", "outgoing", "inbound", "outbound")

TEXT_PARTS = ("text", "input_text", "output_text", "refusal", "summary_text", "")

UNSAID_PARTS = {
    **dict.fromkeys(("thinking", "redacted_thinking", "reasoning", "reasoning_text",
                     "reasoning_content"), REASONING),
    **dict.fromkeys(("tool_use", "tool_result", "tool_call", "tool_call_response", "tool_calls",
                     "server_tool_use", "web_search_tool_result", "function_call",
                     "function_call_output", "mcp_tool_use", "mcp_tool_result",
                     "code_execution_tool_result", "function_call_content",
                     "function_result_content"), TOOLS),
    "instructions": HIDDEN,
}  # fmt: skip

PART_KIND_KEYS = ("type", "content_type", "block_type", "part_kind", "$type")

OTHER_PARTS = "parts of a message that are not text (images, files), left out"

UNSAID_PART = "parts of a message that were not said (reasoning, tools), left out"

JOINED = "messages whose text parts were joined by line breaks"


class LogMessage(NamedTuple):
    """What a message says.

    Attributes:
        speaker: as the source names them; None if it does not.
        text: its words; None if it has none.
        time: as given.
        omitted: why it was not said to the other; "" for a turn.
        notes: what was done to it.
        used: key -> what it was taken for.
    """

    speaker: Any
    text: Any
    time: Any
    omitted: str
    notes: tuple[str, ...]
    used: dict[str, str]


class Keys(NamedTuple):
    """Keys that the caller names, "" where it names none."""

    role: str = ""
    text: str = ""
    time: str = ""


def opened(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message without its wrapping: LangChain's ``data`` and ``kwargs``, or ``message``."""
    inner = message.get("kwargs")
    if isinstance(inner, Mapping) and isinstance(message.get("id"), list) and message["id"]:
        outer = {key: value for key, value in message.items() if key not in ("kwargs", "id")}
        return {**outer, **inner, "type": str(message["id"][-1])}
    parts = message.get("parts") or message.get("fragments")
    if isinstance(parts, list) and ("fragments" in message or message.get("kind") in SIDES):
        return _opened_parts(message, [part for part in parts if isinstance(part, Mapping)])
    inner = message.get("data")
    if isinstance(inner, Mapping) and "content" in inner and "type" in message:
        outer = {key: value for key, value in message.items() if key != "data"}
        return {**outer, **inner, "type": message["type"]}
    inner = message.get("message")
    if isinstance(inner, Mapping) and _is_inner(inner):
        outer = {key: value for key, value in message.items() if key != "message"}
        return {**outer, **opened(inner)}
    return message


def _opened_parts(message: Mapping[str, Any], parts: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A message of PydanticAI (parts of a request or response) or DeepSeek (fragments)."""
    kinds = [str(part.get("part_kind") or part.get("type") or "").lower() for part in parts]
    is_answer = message.get("kind") == "response" or "response" in kinds or "think" in kinds
    content = [{"type": PART_KINDS.get(kind, kind), "text": part.get("content")}
               for kind, part in zip(kinds, parts, strict=True)]  # fmt: skip
    outer = {key: value for key, value in message.items()
             if key not in ("parts", "fragments", "kind")}  # fmt: skip
    times = [part["timestamp"] for part in parts if isinstance(part.get("timestamp"), str)]
    if times and "timestamp" not in outer:
        outer["timestamp"] = times[-1]
    return {**outer, "role": "assistant" if is_answer else "user", "content": content}


def _is_inner(message: Mapping[str, Any]) -> bool:
    """Whether what lies under ``message`` is the message itself."""
    if "role" in message or "author" in message:
        return True
    return "type" in message and ("data" in message or "content" in message)


def read_message(raw: Mapping[str, Any], keys: Keys) -> LogMessage:
    """Read one message; see the module."""
    message = opened(raw)
    used: dict[str, str] = {}
    speaker = _speaker(message, keys, used)
    time = _first(message, (normal(keys.time),) if keys.time else TIME_KEYS, used, "time")
    if time is None and not keys.time:
        time = _looking_like(message, "time", used) or _time_about(message, used)
    why = unsaid(message, speaker)
    content = _content(message, keys, used)
    notes: list[str] = []
    text = _text(content, notes)
    if not why:
        why = placeholder(text)
    if not why and (text is None or (isinstance(text, str) and not text.strip())):
        why = _without_text(message, content, speaker)
    return LogMessage(speaker, text, time, why, tuple(notes), used)


def _fields(message: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of a message that have one of some names, in the order of the names."""
    return fields_of(tuple(message), names)


@lru_cache(maxsize=8192)
def fields_of(keys: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Of some keys those that have one of some names, in the order of the names."""
    places = [(usual_place(key, names), key != normal(key), key) for key in keys]
    return tuple(key for place, _, key in sorted((p, o, k) for p, o, k in places if p is not None))


@lru_cache(maxsize=8192)
def _likely(keys: tuple[str, ...], kind: str) -> tuple[str, ...]:
    return tuple(key for key in keys if looks_like(key) == kind)


def _first(
    message: Mapping[str, Any], names: tuple[str, ...], used: dict[str, str], kind: str
) -> Any:
    """The first value of some names that is there; a null counts as absent."""
    for key in _fields(message, names):
        used[key] = kind
        if message[key] is not None and message[key] != "":
            return message[key]
    return None


def _looking_like(message: Mapping[str, Any], kind: str, used: dict[str, str]) -> Any:
    """The value of the one key that looks like a kind; None where there is none, or several."""
    keys = [key for key in _likely(tuple(message), kind) if message[key] not in (None, "")]
    keys = [key for key in keys if isinstance(message[key], str | int | float)]
    if len(keys) != 1:
        return None
    used[keys[0]] = kind
    return message[keys[0]]


def _time_about(message: Mapping[str, Any], used: dict[str, str]) -> Any:
    """The time that an object about the message holds (Vercel's ``metadata.createdAt``)."""
    for key in ABOUT_KEYS:
        details = message.get(key)
        time = _first(details, TIME_KEYS, {}, "time") if isinstance(details, Mapping) else None
        if isinstance(time, str | int | float):
            used[key] = "time"
            return time
    return None


def _speaker(message: Mapping[str, Any], keys: Keys, used: dict[str, str]) -> Any:
    speaker = _first(message, (normal(keys.role),) if keys.role else ROLE_KEYS, used, "role")
    if isinstance(speaker, Mapping):
        speaker = author_word(speaker)
    if speaker is None and not keys.role:
        kind = message.get("type")
        if isinstance(kind, str) and kind.lower() in LANGCHAIN:
            used["type"] = "role"
            return LANGCHAIN[kind.lower()]
        if isinstance(kind, str) and kind.lower() in DIRECTIONS:
            used["type"] = "role"
            return kind.lower()
        for key in _fields(message, BOT_KEYS):
            if isinstance(message[key], bool):
                used[key] = "role"
                return "bot" if message[key] else "user"
        for key in _fields(message, INCOMING_KEYS):
            if isinstance(message[key], bool):
                used[key] = "role"
                return "user" if message[key] else "other side"
        speaker = _looking_like(message, "role", used)
    if speaker is None and not keys.role:
        late = _first(message, LATE_ROLE_KEYS, used, "role")
        speaker = author_word(late) if isinstance(late, Mapping) else late
        speaker = speaker if isinstance(speaker, str) else None
    return speaker


def author_word(author: Mapping[str, Any]) -> Any:
    """What an author object says of its speaker: the role, whether it is a bot, else the name."""
    for key in _fields(author, ("role", "type", "kind", "user_type", "sender_type", "label")):
        if isinstance(author[key], str) and author[key]:
            return author[key]
    for key in _fields(author, BOT_KEYS):
        if author[key] is True:
            return "bot"
    for key in ("name", "id"):
        if isinstance(author.get(key), str):
            return author[key]
    return None


def author_identity(raw: Mapping[str, Any]) -> str | None:
    """Who wrote a message, by an identifier or a name of its author; None where it says neither."""
    message = opened(raw)
    for key in _fields(message, ("author", "sender", "user", "creator", "from")):
        author = message[key]
        if isinstance(author, Mapping):
            for inner in ("id", "uuid", "email", "name"):
                if isinstance(author.get(inner), str | int) and author[inner] != "":
                    return str(author[inner])
    for key in _fields(message, AUTHOR_KEYS):
        if isinstance(message[key], str | int) and message[key] != "":
            return str(message[key])
    return None


def _content(message: Mapping[str, Any], keys: Keys, used: dict[str, str]) -> Any:
    """What a message holds: the first of its keys of text that is neither null nor empty."""
    names = (normal(keys.text),) if keys.text else TEXT_KEYS
    best = None
    for key in _fields(message, names):
        used[key] = "text"
        value = message[key]
        if isinstance(value, Mapping):
            value = _inner(value)
        if value is None or (best is not None and value in ("", [])):
            continue
        best = value
        if value not in ("", []) and not (isinstance(value, str) and not value.strip()):
            return value
    if best is None and not keys.text:
        for key in _fields(message, LATE_TEXT_KEYS):
            if isinstance(message[key], list):
                used[key] = "text"
                return message[key]
    return best


def _inner(value: Mapping[str, Any]) -> Any:
    """The words of a content object: ChatGPT's parts, or a text inside."""
    for key in ("parts", "text", "content", "body", "value", "result"):
        if isinstance(value.get(key), str | list):
            return value[key]
    return None


def _text(content: Any, notes: list[str]) -> Any:
    """The text of a content: text as it is, the text parts of a list joined."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        text, note = _part(part)
        if text is not None:
            texts.append(text)
        elif note:
            notes.append(note)
    if len(texts) > 1:
        notes.append(JOINED)
    return "\n".join(texts) if texts else None


def _part(part: Any) -> tuple[str | None, str]:
    if isinstance(part, str):
        return (part, "") if part.strip() else (None, "")
    if not isinstance(part, Mapping):
        return None, OTHER_PARTS
    kind = normal(str(next((part[key] for key in PART_KIND_KEYS if part.get(key)), "")))
    if kind in UNSAID_PARTS or part.get("thought") is True:
        return None, UNSAID_PART
    text = part.get("text", part.get("Text"))
    if text is None and (kind in TEXT_PARTS or kind == "message"):
        text = part.get("content")
    if isinstance(text, Mapping):
        text = text.get("value")
    if not isinstance(text, str):
        return None, OTHER_PARTS
    return (text, "") if text.strip() else (None, "")


def _without_text(message: Mapping[str, Any], content: Any, speaker: Any) -> str:
    """Why a message without words is none; "" if it is simply empty, which is a bad row."""
    if isinstance(content, list) and content:
        kinds = {normal(str(next((part[key] for key in PART_KIND_KEYS if part.get(key)), "")))
                 for part in content if isinstance(part, Mapping)}  # fmt: skip
        reasons = {UNSAID_PARTS.get(kind, "") for kind in kinds}
        if len(reasons) == 1 and "" not in reasons:
            return reasons.pop()
        return NO_TEXT
    if content == []:  # a Claude export has such messages beside files alone
        return NO_TEXT
    names = {normal(key) for key, value in message.items() if value not in (None, "", [], {})}
    if names & {"tool_calls", "function_call", "tool_call_id", "tool_uses"}:
        return TOOLS
    if names & {"attachments", "files", "embeds", "media", "images", "sticker_items", "reactions",
                "photos", "videos", "gifs", "audio_files", "sticker", "media_type",
                "media_ids"}:  # fmt: skip
        return NO_TEXT
    if isinstance(speaker, str) and speaker.lower() in ("system", "developer"):
        return HIDDEN
    return ""
