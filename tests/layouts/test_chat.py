"""Chat logs of several shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import import_beside, turns_of, words_of, write_source

from leadline.errors import LeadlineError


@pytest.mark.parametrize("layout", ["chat", "sharegpt"])
def test_two_lists_of_messages_are_refused(tmp_path: Path, layout: str) -> None:
    message = [{"role": "user", "content": "a"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"user_id": "1", "messages": message, "turns": message}))
    with pytest.raises(LeadlineError, match=r"one list of messages\. It has messages, turns"):
        import_beside(path, format=layout)


def test_flat_messages_keep_their_conversations(tmp_path: Path) -> None:
    records = [
        {"user_id": "1", "session_id": "s", "id": 1, "role": "user", "text": "a", "site": "n"},
        {"user_id": "1", "session_id": "t", "id": 2, "role": "user", "text": "b", "site": "n"},
        {"user_id": "1", "session_id": "s", "id": 3, "role": "bot", "text": "c", "site": "n"},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(records))
    cohort = import_beside(path, people_column=("site",))
    assert cohort.turns.select("conversation_id", "turn", "text").rows() == [
        ("s", 0, "a"), ("s", 1, "c"), ("t", 0, "b")
    ]  # fmt: skip
    assert cohort.people.rows() == [("1", False, "n")]


def test_a_bare_list_of_messages_is_one_person_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "diary.json"
    path.write_text(json.dumps([{"role": "user", "content": "a"}, {"role": "ai", "content": "b"}]))
    cohort = import_beside(path, one_person_per_conversation=True)
    assert words_of(cohort) == [("diary", "user", "a"), ("diary", "assistant", "b")]


def test_author_objects_and_parts_of_threads(tmp_path: Path) -> None:
    part = {"type": "text", "text": {"value": "hello", "annotations": []}}
    messages = [{"author": {"role": "user"}, "content": [part]},
                {"author": {"role": "assistant"}, "content": [{"type": "image_file"}]}]  # fmt: skip
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"user_id": 3, "messages": messages}))
    cohort = import_beside(path)
    assert words_of(cohort) == [("3", "user", "hello")]
    assert sum(cohort.manifest["import"]["transformations"].values()) == 2


def test_openai_messages_with_parts_and_tools(tmp_path: Path) -> None:
    source = write_source(tmp_path, "chat.jsonl", [
        {"metadata": {"user": "u1"}, "site": "north", "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hello"},
                                         {"type": "image_url", "image_url": {"url": "x"}},
                                         {"type": "input_text", "text": "again"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]},
            {"role": "assistant", "content": "hi", "created_at": 1714557600},
        ]}
    ])  # fmt: skip
    cohort = import_beside(source, person_key="metadata.user", people_column=("site",))
    assert [line[3:] for line in turns_of(cohort)] == [
        ("system", "be kind"), ("user", "hello\nagain"), ("assistant", "hi")
    ]  # fmt: skip
    assert cohort.people.rows() == [("u1", False, "north")]
    assert cohort.turns["time"].n_unique() == 1  # what was said before the dated message
    changes = cohort.manifest["import"]["transformations"]
    assert sum(changes.values()) == 5
    assert changes["calls of tools and their answers, left out"] == 1


@pytest.mark.parametrize(
    "content",
    [
        [{"user_id": 5, "dialog": [{"speaker": "user", "text": "a"}]}],
        {"user_id": 5, "turns": [{"role": "user", "content": "a"}]},
        {"conversations": [{"user_id": 5, "conversation": [{"role": "user", "content": "a"}]}]},
        [{"user_id": 5, "role": "user", "content": "a"}],
    ],
)
def test_shapes_of_chat_files(tmp_path: Path, content: Any) -> None:
    cohort = import_beside(write_source(tmp_path, "chat.json", content))
    assert turns_of(cohort) == [("5", "1", 0, "user", "a")]


def test_one_person_per_conversation_and_roles_by_word(tmp_path: Path) -> None:
    dialog = [{"speaker": "sys", "text": "hello"}, {"speaker": "usr", "text": "low"}]
    source = write_source(tmp_path, "d.jsonl", [{"dialog": dialog}, {"dialog": dialog}])
    with pytest.raises(LeadlineError, match="one-person-per-conversation"):
        import_beside(source)
    with pytest.raises(LeadlineError, match="--role sys=assistant"):
        import_beside(source, one_person_per_conversation=True, person_role="usr")
    cohort = import_beside(source, one_person_per_conversation=True, person_role="usr",
                  role=("sys=clinician",))  # fmt: skip
    assert [line[0] for line in turns_of(cohort)] == ["1", "1", "2", "2"]
    assert [line[3] for line in turns_of(cohort)] == ["clinician", "user"] * 2


def test_the_user_may_be_the_interviewer(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "how?"}, {"role": "patient", "content": "low"}]
    source = write_source(tmp_path, "d.json", {"id": "1", "messages": messages})
    cohort = import_beside(source, one_person_per_conversation=True, person_role="patient",
                  role=("user=clinician",))  # fmt: skip
    assert [line[3] for line in turns_of(cohort)] == ["clinician", "user"]


def test_sharegpt(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "h"},
             {"from": "gpt", "value": "g"}]  # fmt: skip
    source = write_source(tmp_path, "s.json", [{"id": "k1", "conversations": turns}])
    cohort = import_beside(source, one_person_per_conversation=True)
    assert turns_of(cohort) == [
        ("k1", "k1", 0, "system", "s"), ("k1", "k1", 1, "user", "h"),
        ("k1", "k1", 2, "assistant", "g"),
    ]  # fmt: skip
    assert cohort.manifest["import"]["format"] == "sharegpt"


@pytest.mark.parametrize(
    "content",
    [
        {"c1": [{"role": "user", "content": "a"}], "c2": [{"role": "user", "content": "a"}]},
        [{"_id": {"$oid": "c1"}, "contents": [{"role": "user", "parts": [{"text": "a"}]}]},
         {"_id": {"$oid": "c2"}, "contents": [{"role": "user", "parts": [{"text": "a"}]}]}],
        [{"conv_id": "c1", "transcript": "User: a\nBot: b"},
         {"conv_id": "c2", "transcript": "User: a\nBot: b"}],
        [{"id": "c1", "conversations": [{"incoming": True, "body_text": "a"}]},
         {"id": "c2", "conversations": [{"incoming": True, "body_text": "a"}]}],
    ],
)  # fmt: skip
def test_further_shapes(tmp_path: Path, content: Any) -> None:
    source = write_source(tmp_path, "c.json", content)
    cohort = import_beside(source, one_person_per_conversation=True)
    users = [line for line in words_of(cohort) if line[1] == "user"]
    assert users == [("c1", "user", "a"), ("c2", "user", "a")]


@pytest.mark.parametrize("time", [{"$date": "2024-05-01T10:00:00Z"}, {"$date": 1714557600000},
                                  {"_seconds": 1714557600, "_nanoseconds": 0}])  # fmt: skip
def test_times_as_databases_write_them(tmp_path: Path, time: Any) -> None:
    record = {"user_id": "p", "messages": [{"role": "user", "content": "a", "createdAt": time}]}
    cohort = import_beside(write_source(tmp_path, "c.json", record))
    assert f"{cohort.turns['time'][0]:%Y-%m-%d %H}" == "2024-05-01 10"


def test_messages_whose_bot_names_nobody(tmp_path: Path) -> None:
    records = [{"user_id": "p", "chat_id": "c", "role": "user", "text": "a"},
               {"user_id": None, "chat_id": "c", "role": "assistant", "text": "b"},
               {"user_id": "t", "chat_id": "c", "role": "therapist", "text": "d"}]  # fmt: skip
    cohort = import_beside(write_source(tmp_path, "c.jsonl", records))
    assert words_of(cohort) == [
        ("p", "user", "a"),
        ("p", "assistant", "b"),
        ("p", "clinician", "d"),
    ]


def test_a_history_by_identifiers_below_chat(tmp_path: Path) -> None:
    nodes = {
        "a": {"id": "a", "parentId": None, "role": "user", "content": "low"},
        "b": {"id": "b", "parentId": "a", "role": "assistant", "content": "given up"},
        "c": {"id": "c", "parentId": "a", "role": "assistant", "content": "why?"},
    }
    chat = {"history": {"messages": nodes, "currentId": "c"}, "messages": []}
    cohort = import_beside(write_source(tmp_path, "c.json", [{"user_id": "p", "chat": chat}]))
    assert words_of(cohort) == [("p", "user", "low"), ("p", "assistant", "why?")]


def test_directions_are_speakers(tmp_path: Path) -> None:
    records = [{"userId": "p", "type": "incoming", "body": "low"},
               {"userId": "p", "type": "outgoing", "body": "why?"}]  # fmt: skip
    source = write_source(tmp_path, "c.json", records)
    with pytest.raises(LeadlineError, match="'outgoing'"):
        import_beside(source)
    cohort = import_beside(source, role=("outgoing=clinician",))
    assert words_of(cohort) == [("p", "user", "low"), ("p", "clinician", "why?")]


TWO = [{"type": "human", "content": "low"}, {"type": "ai", "content": "why?"}]


@pytest.mark.parametrize(
    "record",
    [
        {"user_id": "p", "chat_memory": {"messages": TWO}},
        {"user_id": "p", "conversation_hash": "c", "messages": TWO},
        {"user_id": "p", "messages": {"m1": TWO[0], "m2": TWO[1]}},
        {"user_id": "p", "linear_conversation": [
            {"message": {"author": {"role": "user"}, "content": {"parts": ["low"]}}},
            {"message": {"author": {"role": "assistant"}, "content": {"parts": ["why?"]}}}]},
    ],
)  # fmt: skip
def test_further_places_of_messages(tmp_path: Path, record: dict[str, Any]) -> None:
    cohort = import_beside(write_source(tmp_path, "a.json", [record]))
    assert words_of(cohort) == [("p", "user", "low"), ("p", "assistant", "why?")]


def test_messages_in_cells_of_a_history_in_sql(tmp_path: Path) -> None:
    cells = [f'{{""type"": ""{kind}"", ""data"": {{""content"": ""{text}""}}}}'
             for kind, text in (("human", "low"), ("ai", "why?"))]  # fmt: skip
    rows = "".join(f'{n},s,"{cell}"\n' for n, cell in enumerate(cells))
    source = write_source(tmp_path, "h.csv", f"id,session_id,message\n{rows}")
    cohort = import_beside(source, one_person_per_conversation=True)
    assert words_of(cohort) == [("s", "user", "low"), ("s", "assistant", "why?")]


PAIR = [{"role": "user", "content": "low"}, {"role": "assistant", "content": "why?"}]


@pytest.mark.parametrize(
    "content",
    [
        {"took": 1, "hits": {"hits": [
            {"_id": str(place), "_source": {"session_id": "c", **message}}
            for place, message in enumerate(PAIR)]}},
        {"data": {"chats": [{"id": "c", "messages": PAIR}]}, "version": 1},
        {"id": "c", "history": [["low", "why?"]]},
        {"id": "c", "state": {"messages": [["USER", "low"], ["ASSISTANT", "why?"]]}},
        {"id": "c", "dialogLines": PAIR},
        [PAIR],
    ],
)  # fmt: skip
def test_what_databases_and_programs_wrap_around_messages(tmp_path: Path, content: Any) -> None:
    cohort = import_beside(write_source(tmp_path, "c.json", content), person="p")
    assert words_of(cohort) == [("p", "user", "low"), ("p", "assistant", "why?")]


def test_records_of_dynamodb(tmp_path: Path) -> None:
    lines = [{"Item": {"userId": {"S": "p"}, "sessionId": {"S": "c"}, "at": {"N": "1714557600"},
                       **{key: {"S": text} for key, text in message.items()}}}
             for message in PAIR]  # fmt: skip
    cohort = import_beside(write_source(tmp_path, "c.jsonl", lines))
    assert words_of(cohort) == [("p", "user", "low"), ("p", "assistant", "why?")]
    assert cohort.turns["time"].null_count() == 0


def test_the_exchange_beside_a_history_ends_it(tmp_path: Path) -> None:
    record = {"user_id": "p", "instruction": "work", "input": "", "output": "I see.",
              "history": [["low", "why?"]]}  # fmt: skip
    cohort = import_beside(write_source(tmp_path, "c.json", [record]))
    assert [text for _, _, text in words_of(cohort)] == ["low", "why?", "work", "I see."]


@pytest.mark.parametrize("names", [("chosen", "rejected"), ("conversation_a", "conversation_b")])
def test_one_of_two_conversations_has_to_be_chosen(tmp_path: Path, names: tuple[str, str]) -> None:
    other = [PAIR[0], {"role": "assistant", "content": "no"}]
    source = write_source(tmp_path, "c.jsonl", [{names[0]: PAIR, names[1]: other}])
    with pytest.raises(LeadlineError, match="several lists") as caught:
        import_beside(source, person="p")
    assert "--messages-key" in caught.value.remedy
    cohort = import_beside(source, person="p", messages_key=names[1])
    assert [text for _, _, text in words_of(cohort)] == ["low", "no"]
