"""Conversations that repeat each other, doubled messages, times that only the conversation has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import import_beside, turns_of, write_source

from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError
from leadline.layouts.dialogue import FROM_CONVERSATION
from leadline.layouts.unsaid import REPEATS

U1, A1 = {"role": "user", "content": "low"}, {"role": "assistant", "content": "why?"}
U2, A2 = {"role": "user", "content": "work"}, {"role": "assistant", "content": "I see."}


def cohort_of(tmp_path: Path, *records: Any, **settings: Any) -> Cohort:
    return import_beside(write_source(tmp_path, "c.jsonl", list(records)), **settings)


def texts(cohort: Cohort) -> list[tuple[str, str]]:
    return [(line[1], line[4]) for line in turns_of(cohort)]


def omitted(cohort: Cohort) -> dict[str, int]:
    return dict(cohort.manifest["import"]["messages"]["left_out_by_rule"])


def test_a_log_of_requests_says_each_message_once(tmp_path: Path) -> None:
    system = {"role": "system", "content": "be kind"}
    cohort = cohort_of(
        tmp_path,
        {"user_id": "p", "messages": [system, U1], "usage": {}},
        {"user_id": "p", "messages": [system, U1], "usage": {}},  # a retry
        {"user_id": "p", "messages": [system, U1, A1, U2], "usage": {}},
        {"user_id": "p", "messages": [system, U1, A1, U2, A2], "usage": {}},
    )
    assert texts(cohort) == [("1", text) for text in ("be kind", "low", "why?", "work", "I see.")]
    assert omitted(cohort) == {REPEATS: 8}


def test_a_conversation_that_comes_again_longer_goes_on(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, {"user_id": "p", "id": "c", "messages": [U1, A1]},
                       {"user_id": "p", "id": "c", "messages": [U1, A1, U2]},
                       {"user_id": "p", "id": "c", "messages": [U1]})  # fmt: skip
    assert texts(cohort) == [("c", "low"), ("c", "why?"), ("c", "work")]
    assert omitted(cohort) == {REPEATS: 3}


def test_a_name_that_comes_again_with_other_words_is_bad(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match="occurs twice"):
        cohort_of(tmp_path, {"user_id": "p", "id": "c", "messages": [U1, A1]},
                  {"user_id": "p", "id": "c", "messages": [U2, A2]})  # fmt: skip


def test_conversations_of_names_of_their_own_may_be_alike(tmp_path: Path) -> None:
    """A scripted check-in says the same every day."""
    cohort = cohort_of(tmp_path, {"user_id": "p", "id": "c", "messages": [A1, U1, A2]},
                       {"user_id": "p", "id": "d", "messages": [A1, U1, A2]},
                       {"user_id": "q", "id": "e", "messages": [A1, U1, A2, U2]})  # fmt: skip
    assert cohort.turns.height == 10
    assert omitted(cohort) == {}


def test_nameless_conversations_with_times_of_their_own_may_be_alike(tmp_path: Path) -> None:
    def on(day: int) -> dict[str, Any]:
        time = f"2024-05-0{day}T10:00:00Z"
        return {"user_id": "p", "messages": [{**A1, "time": time}, {**U1, "time": time}]}

    assert cohort_of(tmp_path, on(1), on(2)).turns.height == 4


def test_doubled_messages(tmp_path: Path) -> None:
    messages = [{**U1, "id": 1}, {**U1, "id": 1}, {**A1, "id": 2}, {**U1, "id": 3}]
    cohort = cohort_of(tmp_path, {"user_id": "p", "messages": messages})
    assert [text for _, text in texts(cohort)] == ["low", "why?", "low"]
    assert omitted(cohort) == {REPEATS: 1}
    flat = [{**message, "user_id": "p", "message_id": message["id"]} for message in messages]
    again = cohort_of(tmp_path / "b", *[{k: v for k, v in m.items() if k != "id"} for m in flat])
    assert again.turns.height == 3


def test_one_identifier_with_two_texts_is_bad(tmp_path: Path) -> None:
    messages = [{**U1, "id": 1}, {**U2, "id": 1}, {**A1, "id": 2}, {**A2, "id": 3}]
    with pytest.raises(LeadlineError, match="one identifier and different words"):
        cohort_of(tmp_path, {"user_id": "p", "messages": messages})
    kept = cohort_of(tmp_path / "b", {"user_id": "p", "messages": messages}, skip_bad=True)
    assert kept.turns.height == 3
    assert kept.manifest["import"]["messages"]["bad"] == 1


def test_an_identifier_that_all_messages_share_is_none(tmp_path: Path) -> None:
    messages = [{**U1, "id": "run"}, {**A1, "id": "run"}, {**U2, "id": "run"}]
    assert cohort_of(tmp_path, {"user_id": "p", "messages": messages}).turns.height == 3


@pytest.mark.parametrize("key", ["created_at", "startedAt", "sessionDate", "timestamp"])
def test_the_time_of_a_conversation_dates_its_turns(tmp_path: Path, key: str) -> None:
    record = {"user_id": "p", key: "2024-05-01T10:00:00Z", "updated_at": "2024-06-01T10:00:00Z"}
    cohort = cohort_of(tmp_path, {**record, "messages": [U1, A1]})
    assert [f"{time:%m-%d}" for time in cohort.turns["time"]] == ["05-01", "05-01"]
    assert cohort.manifest["import"]["transformations"] == {FROM_CONVERSATION: 2}
    uses = {row["name"]: row["taken_for"] for row in cohort.manifest["import"]["columns"]}
    assert uses[key] == "time of the conversation"


def test_several_keys_that_could_be_the_time_are_asked_about(tmp_path: Path) -> None:
    message = {**U1, "queuedDate": "2024-05-01T10:00:00Z", "typedDate": "2024-05-02T10:00:00Z"}
    with pytest.raises(LeadlineError, match="queuedDate, typedDate") as caught:
        cohort_of(tmp_path, {"user_id": "p", "messages": [message]})
    assert "--time-key" in caught.value.remedy
    cohort = cohort_of(tmp_path / "b", {"user_id": "p", "messages": [message]},
                       time_key="typedDate")  # fmt: skip
    assert [f"{time:%d}" for time in cohort.turns["time"]] == ["02"]


@pytest.mark.parametrize(("raw", "kind"), [({"talker": "user", "content": "low"}, "role"),
                                           ({"role": "user", "says": "low"}, "text")])  # fmt: skip
def test_keys_that_are_not_known_are_asked_about(
    tmp_path: Path, raw: dict[str, str], kind: str
) -> None:
    with pytest.raises(LeadlineError, match=f"The {kind} is missing") as caught:
        cohort_of(tmp_path, {"user_id": "p", "messages": [raw]})
    assert f"--{kind}-key" in caught.value.remedy
    assert ("talker" if kind == "role" else "says") in caught.value.remedy
    settings = {f"{kind}_key": "talker" if kind == "role" else "says"}
    assert cohort_of(tmp_path / "b", {"user_id": "p", "messages": [raw]}, **settings).turns.height


def test_naming_a_speaker_does_not_bring_back_what_they_took_back(tmp_path: Path) -> None:
    deleted = {"role": "Anna", "content": "SECRET", "isDeleted": True}
    record = {"user_id": "p", "messages": [{"role": "Anna", "content": "low"}, deleted, A1]}
    cohort = cohort_of(tmp_path, record, person_role="Anna")
    assert [text for _, text in texts(cohort)] == ["low", "why?"]


@pytest.mark.parametrize("author", ["author", "sender_id"])
def test_two_authors_who_speak_as_the_person_are_asked_about(tmp_path: Path, author: str) -> None:
    names = [{"id": 1, "role": "user"}, {"id": 2, "role": "user"}] if author == "author" else "ab"
    messages = [{"role": "user", "content": name, author: who}
                for name, who in zip(("low", "me too"), names, strict=True)]  # fmt: skip
    record = {"user_id": "p", "id": "c", "messages": messages}
    with pytest.raises(LeadlineError, match="Several authors"):
        cohort_of(tmp_path, record)
    good = {"user_id": "p", "id": "d", "messages": [messages[0], A1, messages[0]]}
    cohort = cohort_of(tmp_path, record, good, skip_bad=True)
    assert [text for _, text in texts(cohort)] == ["low", "why?", "low"]
    assert cohort.manifest["import"]["messages"]["bad"] == 2
