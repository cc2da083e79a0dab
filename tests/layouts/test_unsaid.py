"""What was never said to the other, in JSON and in tables by the same names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import import_beside, write_source

from leadline.layouts.unsaid import (
    DELETED,
    HIDDEN,
    NOTES,
    REASONING,
    TOOLS,
    UNSENT,
    placeholder,
    unsaid,
)

FLAGS = [
    ({"type": "reasoning"}, REASONING),
    ({"type": "function_call"}, TOOLS),
    ({"message_type": "internal_note"}, NOTES),
    ({"isInternal": True}, NOTES),
    ({"private": "true"}, NOTES),
    ({"public": False}, NOTES),
    ({"deletedAt": "2024-05-01T10:00:00Z"}, DELETED),
    ({"is_deleted": 1}, DELETED),
    ({"redacted": True}, DELETED),
    ({"status": "failed"}, UNSENT),
    ({"channel": "analysis"}, REASONING),
    ({"visible": "false"}, HIDDEN),
]


@pytest.mark.parametrize(("flags", "why"), FLAGS)
def test_flags_of_messages(flags: dict[str, Any], why: str) -> None:
    assert unsaid({"role": "assistant", "content": "x", **flags}, "assistant") == why


@pytest.mark.parametrize(
    "flags",
    [{"type": "message"}, {"deletedAt": None}, {"deleted": False}, {"deleted": "0"},
     {"status": "completed"}, {"channel": "private"}, {"public": True}, {"is_internal": ""}],
)  # fmt: skip
def test_flags_of_what_was_said(flags: dict[str, Any]) -> None:
    assert unsaid({"role": "assistant", "content": "x", **flags}, "assistant") == ""


@pytest.mark.parametrize(("flags", "why"), FLAGS)
def test_columns_of_tables(tmp_path: Path, flags: dict[str, Any], why: str) -> None:
    ((name, value),) = flags.items()
    plain = {"true": "false", "false": "true"}.get(str(value).lower(), "")
    table = f"person_id,role,text,{name}\np,user,low,{plain}\np,bot,secret,{value}\n"
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert cohort.turns["text"].to_list() == ["low"]
    assert cohort.manifest["import"]["messages"]["left_out_by_rule"] == {why: 1}


@pytest.mark.parametrize("speaker", ["tool", "function", "thought"])
def test_speakers_who_say_nothing_unless_they_are_given_a_role(
    tmp_path: Path, speaker: str
) -> None:
    messages = [{"role": "user", "content": "low"}, {"role": speaker, "content": "{}"}]
    source = write_source(tmp_path, "c.json", {"user_id": "p", "messages": messages})
    assert import_beside(source).turns.height == 1
    again = write_source(tmp_path / "b", "c.json", {"user_id": "p", "messages": messages})
    assert import_beside(again, role=(f"{speaker}=system",)).turns.height == 2


def test_texts_that_stand_for_a_message() -> None:
    assert placeholder("[deleted]") == DELETED
    assert placeholder(" This message was deleted ")
    assert placeholder("<Media omitted>")
    assert placeholder("I deleted the app.") == ""
    assert placeholder(None) == ""


def test_a_source_of_nothing_but_notes_says_so(tmp_path: Path) -> None:
    record = {"user_id": "p", "messages": [{"role": "user", "content": "x", "is_note": True}]}
    with pytest.raises(Exception, match="internal notes, left out"):
        import_beside(write_source(tmp_path, "c.json", json.loads(json.dumps(record))))
