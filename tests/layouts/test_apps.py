"""Exports of messengers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import import_beside, turns_of, write_source

from leadline.errors import LeadlineError
from leadline.layouts.apps import unmangled


def discord(number: str, text: str, author: str, bot: bool, **more: Any) -> dict[str, Any]:
    return {"id": number, "type": "Default", "timestamp": f"2024-05-01T10:0{number}:00+00:00",
            "content": text, "author": {"id": author, "name": author, "isBot": bot},
            **more}  # fmt: skip


def test_discord(tmp_path: Path) -> None:
    messages = [
        discord("1", "low", "77", False), discord("2", "why?", "88", True),
        discord("3", "joined", "77", False, type="GuildMemberJoin"),
        discord("4", "", "77", False, attachments=[{}]), discord("1", "low", "77", False),
    ]  # fmt: skip
    record = {"guild": {"id": "0"}, "channel": {"id": "5"}, "messages": messages}
    cohort = import_beside(write_source(tmp_path, "dm.json", record))
    assert turns_of(cohort) == [("77", "5", 0, "user", "low"), ("77", "5", 1, "assistant", "why?")]
    assert cohort.manifest["import"]["messages"]["read"] == 5


def test_several_people_need_a_name_and_others_a_role(tmp_path: Path) -> None:
    messages = [discord("1", "low", "anna", False), discord("2", "why?", "ben", False)]
    record = {"guild": {}, "channel": {"id": "5"}, "messages": messages}
    source = write_source(tmp_path, "dm.json", record)
    with pytest.raises(LeadlineError, match="2 authors") as caught:
        import_beside(source)
    assert "--person-role" in caught.value.remedy
    cohort = import_beside(source, person_role="anna", role=("ben=clinician",))
    assert [(line[0], line[3]) for line in turns_of(cohort)] == [
        ("anna", "user"), ("anna", "clinician")
    ]  # fmt: skip


def telegram(number: int, text: Any, who: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "type": "message", "date": "2024-05-01T10:00:00",
            "date_unixtime": str(1714557600 + number), "from": who, "from_id": f"user{who}",
            "text": text, **more}  # fmt: skip


@pytest.mark.parametrize("account", [False, True])
def test_telegram(tmp_path: Path, account: bool) -> None:
    messages = [telegram(1, ["low ", {"type": "bold", "text": "today"}], "Anna"),
                telegram(2, "why?", "CalmBot"),
                telegram(3, "", "Anna", type="service", action="pin_message")]  # fmt: skip
    chat = {"name": "CalmBot", "type": "bot_chat", "id": 9, "messages": messages}
    record = {"chats": {"list": [chat]}} if account else chat
    cohort = import_beside(write_source(tmp_path, "result.json", record))
    assert turns_of(cohort) == [
        ("userAnna", "9", 0, "user", "low today"), ("userAnna", "9", 1, "assistant", "why?")
    ]  # fmt: skip
    assert f"{cohort.turns['time'][0]:%H:%M:%S}" == "10:00:01"


def test_messenger_is_newest_first_and_mangled(tmp_path: Path) -> None:
    messages = [
        {"sender_name": "Bot", "timestamp_ms": 1714557661000, "content": "why?"},
        {
            "sender_name": "Zo\u00c3\u00ab",
            "timestamp_ms": 1714557660000,
            "content": "m\u00c3\u00bcde",
        },
    ]
    source = write_source(tmp_path, "message_1.json", {"thread_path": "t/1", "messages": messages})
    cohort = import_beside(source, person_role="Zo\u00eb")
    assert turns_of(cohort) == [
        ("Zo\u00eb", "t/1", 0, "user", "m\u00fcde"), ("Zo\u00eb", "t/1", 1, "assistant", "why?")
    ]  # fmt: skip
    assert unmangled("\u00fc") == "\u00fc"


def test_slack(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    users = [{"id": "U1", "name": "anna"}, {"id": "B1", "name": "calm", "is_bot": True}]
    write_source(folder, "users.json", users)
    days = {
        "2024-05-01": [{"type": "message", "user": "U1", "text": "low", "ts": "1714557600.000100"},
                       {"type": "message", "subtype": "channel_join", "user": "U1", "text": "x",
                        "ts": "1714557600.000000"}],
        "2024-05-02": [{"type": "message", "bot_id": "B1", "text": "why?",
                        "ts": "1714644000.000100"}],
    }  # fmt: skip
    for day, messages in days.items():
        write_source(folder, f"dm/{day}.json", messages)
    cohort = import_beside(folder)
    assert turns_of(cohort) == [
        ("U1", "dm", 0, "user", "low"),
        ("U1", "dm", 1, "assistant", "why?"),
    ]
    assert cohort.manifest["import"]["format"] == "slack"
    assert json.dumps(cohort.manifest["import"]["messages"]["read"]) == "3"


def test_what_somebody_else_wrote_and_the_person_passed_on_is_left_out(tmp_path: Path) -> None:
    messages = [
        {"id": n, "type": "message", "date_unixtime": f"171455760{n}", "from": name,
         "from_id": name, "text": text, **more}
        for n, (name, text, more) in enumerate([
            ("anna", "low", {}), ("CalmBot", "why?", {}),
            ("anna", "news", {"forwarded_from": "News"})])
    ]  # fmt: skip
    source = write_source(tmp_path, "result.json", {"id": 9, "messages": messages})
    cohort = import_beside(source)
    assert [line[4] for line in turns_of(cohort)] == ["low", "why?"]
    assert cohort.manifest["import"]["messages"]["read"] == 3


def test_what_slack_writes_as_entities_is_what_was_typed(tmp_path: Path) -> None:
    line = {"type": "message", "user": "U1", "text": "&lt;3 &amp;amp; me", "ts": "1714557600.0001"}
    write_source(tmp_path, "e/users.json", [{"id": "U1", "name": "anna"}])
    write_source(tmp_path, "e/dm/2024-05-01.json", [line])
    cohort = import_beside(tmp_path / "e")
    assert [turn[4] for turn in turns_of(cohort)] == ["<3 &amp; me"]
    assert sum(cohort.manifest["import"]["transformations"].values()) == 1
