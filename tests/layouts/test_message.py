"""Messages in the shapes that programs write."""

from __future__ import annotations

from typing import Any

import pytest

from leadline.layouts.message import Keys, read_message
from leadline.layouts.unsaid import DELETED, NO_TEXT, REASONING, REPEATS, TOOLS

LANGCHAIN = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "HumanMessage"],
             "kwargs": {"content": "low"}}  # fmt: skip
CHATGPT = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["low"]},
           "create_time": 1714557600.5}  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "speaker"),
    [
        ({"role": "user", "content": "low"}, "user"),
        ({"Role": "user", "Content": "low"}, "user"),
        ({"senderType": "user", "messageText": "low"}, "user"),
        ({"type": "human", "content": "low"}, "human"),
        ({"type": "human", "data": {"content": "low", "type": "human"}}, "human"),
        (LANGCHAIN, "human"),
        ({"type": "message", "role": "user",
          "content": [{"type": "input_text", "text": "low"}]}, "user"),
        ({"role": "user", "content": [{"type": "text", "text": "low"},
                                      {"type": "tool_result", "content": "x"}]}, "user"),
        ({"role": "user", "parts": [{"text": "low"}]}, "user"),
        ({"role": "user", "parts": [{"type": "text", "content": "low"}]}, "user"),
        ({"sender": "human", "text": "low", "content": []}, "human"),
        ({"role": "user", "content": None, "text": "low"}, "user"),
        ({"role": "user", "content": "", "text": "low"}, "user"),
        (CHATGPT, "user"),
        ({"author": {"name": "anna", "isBot": False}, "content": "low"}, "anna"),
        ({"is_bot": False, "text": "low"}, "user"),
        ({"message": {"role": "user", "content": "low"}, "timestamp": 1}, "user"),
        ({"speaker_label": "user", "text": "low"}, "user"),
    ],
)  # fmt: skip
def test_shapes(raw: dict[str, Any], speaker: str) -> None:
    message = read_message(raw, Keys())
    assert (message.speaker, message.text, message.omitted) == (speaker, "low", "")


@pytest.mark.parametrize(
    "key",
    ["created_at", "createdAt", "timestamp", "sentAt", "date_created", "ts", "create_time",
     "messageTime", "erstellt", "CreatedDate", "timestamp_ms"],
)  # fmt: skip
def test_names_of_times(key: str) -> None:
    raw = {"role": "user", "content": "low", key: "2024-05-01T10:00:00Z", "updatedAt": "x"}
    assert read_message(raw, Keys()).time == "2024-05-01T10:00:00Z"


def test_an_updated_time_is_no_time_of_speaking() -> None:
    raw = {"role": "user", "content": "low", "updatedAt": "2024-05-01T10:00:00Z"}
    assert read_message(raw, Keys()).time is None
    assert read_message(raw, Keys(time="updatedAt")).time == "2024-05-01T10:00:00Z"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, TOOLS),
        ({"role": "assistant", "content": "", "toolCalls": [{"id": 1}]}, TOOLS),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}, REASONING),
        ({"role": "assistant", "content": [{"type": "tool_use", "id": 1}]}, TOOLS),
        ({"role": "user", "content": [{"type": "image_url"}]}, NO_TEXT),
        ({"role": "user", "content": "", "attachments": [{}]}, NO_TEXT),
        ({**CHATGPT, "recipient": "python"}, TOOLS),
        ({**CHATGPT, "content": {"content_type": "thoughts", "parts": ["x"]}}, REASONING),
    ],
)
def test_what_was_not_said(raw: dict[str, Any], why: str) -> None:
    assert read_message(raw, Keys()).omitted == why


def test_an_empty_message_is_bad_and_not_left_out_by_rule() -> None:
    assert read_message({"role": "user", "content": ""}, Keys()).omitted == ""


def test_keys_that_are_given_win() -> None:
    raw = {"role": "x", "kind": "user", "content": "a", "raw": "low", "t": 5, "time": 6}
    message = read_message(raw, Keys("kind", "raw", "t"))
    assert (message.speaker, message.text, message.time) == ("user", "low", 5)


def test_a_message_of_files_alone_has_no_text() -> None:
    empty = {"sender": "human", "text": "", "content": [], "files": []}
    assert read_message(empty, Keys()).omitted == NO_TEXT
    assert not read_message({"role": "user", "content": ""}, Keys()).omitted


PYDANTIC = {"kind": "response", "timestamp": "2024-05-01T10:01:00Z",
            "parts": [{"part_kind": "thinking", "content": "SECRET"},
                      {"part_kind": "text", "content": "low"}]}  # fmt: skip
DEEPSEEK = {"inserted_at": "2024-05-01T10:00:00Z",
            "fragments": [{"type": "REQUEST", "content": "low"}]}  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "speaker"),
    [
        ({"kind": "request", "parts": [
            {"part_kind": "system-prompt", "content": "SECRET"},
            {"part_kind": "user-prompt", "content": "low"}]}, "user"),
        (PYDANTIC, "assistant"),
        (DEEPSEEK, "user"),
        ({"fragments": [{"type": "THINK", "content": "SECRET"},
                        {"type": "RESPONSE", "content": "low"}]}, "assistant"),
        ({"source": "user", "type": "TextMessage", "content": "low"}, "user"),
        ({"Role": {"Label": "user"}, "Items": [{"$type": "ReasoningContent", "Text": "SECRET"},
                                               {"$type": "TextContent", "Text": "low"}]}, "user"),
        ({"role": "user", "blocks": [{"block_type": "thinking", "content": "SECRET"},
                                     {"block_type": "text", "text": "low"}]}, "user"),
        ({"creator": {"user_type": "Bot", "name": "x"}, "text": "low"}, "Bot"),
    ],
)  # fmt: skip
def test_messages_of_frameworks(raw: dict[str, Any], speaker: str) -> None:
    message = read_message(raw, Keys())
    assert (message.speaker, message.text, message.omitted) == (speaker, "low", "")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"source": "a", "type": "ThoughtEvent", "content": "x"}, REASONING),
        ({"source": "a", "type": "ToolCallRequestEvent", "content": [{"id": "c"}]}, TOOLS),
        ({"kind": "request", "parts": [{"part_kind": "tool-return", "content": "x"}]}, TOOLS),
        ({"kind": "response", "parts": [{"part_kind": "tool-call", "args": "x"}]}, TOOLS),
        ({"sender": "@a:x", "content": {}, "redacted_because": {}}, DELETED),
        ({"sender": "@a:x", "content": {
            "body": "* new", "m.relates_to": {"rel_type": "m.replace", "event_id": "1"}}}, REPEATS),
    ],
)  # fmt: skip
def test_what_frameworks_keep_and_nobody_said(raw: dict[str, Any], why: str) -> None:
    assert read_message(raw, Keys()).omitted == why


def test_a_time_in_what_is_said_about_a_message() -> None:
    raw = {"role": "user", "content": "low", "metadata": {"createdAt": 1714557600000}}
    message = read_message(raw, Keys())
    assert (message.time, message.used["metadata"]) == (1714557600000, "time")
