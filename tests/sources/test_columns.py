"""Columns found by name, and the question where two could be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.errors import LeadlineError
from leadline.layouts.long_table import COLUMN_NAMES
from leadline.sources.columns import find_columns

FILE = Path("t.csv")


def columns(header: list[str], **explicit: str) -> dict[str, str]:
    return find_columns(header, explicit, COLUMN_NAMES, "--column", FILE)


def test_columns_are_found_by_usual_names_in_any_writing() -> None:
    header = ["userID", "Session Id", "messageText", "createdAt", "senderRole", "notes"]
    assert columns(header) == {
        "person": "userID", "conversation": "Session Id", "role": "senderRole",
        "text": "messageText", "time": "createdAt",
    }  # fmt: skip


def test_what_is_given_is_used_once() -> None:
    assert columns(["person_id", "text", "body"], text="body") == {
        "person": "person_id", "text": "body"
    }  # fmt: skip
    with pytest.raises(LeadlineError, match="no column words"):
        columns(["person_id", "text"], text="words")


def test_two_usual_names_need_a_word_unless_one_is_exact() -> None:
    with pytest.raises(LeadlineError, match="timestamp, sent_at") as caught:
        columns(["timestamp", "sent_at"])
    assert "--column time=NAME" in caught.value.remedy
    assert columns(["timestamp", "time"]) == {"time": "time"}
