"""Messages in the shapes that programs write."""

from __future__ import annotations

from typing import Any

import pytest

from leadline.layouts.message import Keys, read_message
from leadline.layouts.unsaid import NO_TEXT, REASONING, TOOLS

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
