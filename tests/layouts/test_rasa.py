"""Rasa trackers and what an event broker writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import import_beside, turns_of, write_source

from leadline.layouts.unsaid import EVENTS


def event(kind: str, time: int, text: str | None = None, **more: Any) -> dict[str, Any]:
    return {"event": kind, "timestamp": 1714557600 + time, "text": text, **more}


EVENTS_OF_P = [
    event("action", 0, name="action_session_start"), event("session_started", 0),
    event("user", 1, "/greet"), event("user", 2, "low"), event("slot", 2, name="mood"),
    event("bot", 3, "why?"), event("bot", 4, None), event("session_started", 9000),
    event("user", 9001, "better"),
]  # fmt: skip


@pytest.mark.parametrize("broker", [False, True])
def test_trackers_and_brokers(tmp_path: Path, broker: bool) -> None:
    lines = [{"sender_id": "p", **one} for one in EVENTS_OF_P]
    content = lines if broker else [{"sender_id": "p", "events": EVENTS_OF_P}]
    source = write_source(tmp_path, "t.jsonl", content)
    cohort = import_beside(source)
    assert turns_of(cohort) == [
        ("p", "p-1", 0, "user", "low"), ("p", "p-1", 1, "assistant", "why?"),
        ("p", "p-2", 0, "user", "better"),
    ]  # fmt: skip
    messages = cohort.manifest["import"]["messages"]
    assert messages["read"] == len(EVENTS_OF_P)
    assert messages["left_out_by_rule"][EVENTS] == 4
    assert cohort.manifest["import"]["format"] == "rasa"


def test_rows_of_the_sql_tracker_store(tmp_path: Path) -> None:
    rows = [
        f'{n},p,{kind},"{{""event"": ""{kind}"", ""text"": ""{text}"", ""id"": {n}}}"'
        for n, (kind, text) in enumerate([("user", "low"), ("bot", "why?")])
    ]
    source = write_source(
        tmp_path, "t.csv", "id,sender_id,type_name,data\n" + "\n".join(rows) + "\n"
    )
    cohort = import_beside(source)
    assert turns_of(cohort) == [("p", "1", 0, "user", "low"), ("p", "1", 1, "assistant", "why?")]
