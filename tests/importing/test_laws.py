"""Laws that every reader of a layout keeps: writing, order, nulls and further keys change nothing.

A conversation of one person is written in each layout; then keys are put in another order and case,
nulls and keys of other things are added, and branches that were given up grow on trees. The cohort
is the same, and every message is accounted for.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadline.cohort.store import read_cohort
from leadline.importing.importing import import_files
from leadline.sources.config import ImportConfig

LAW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = st.lists(st.sampled_from(["low", "I slept badly.", "why?", "I see.", "fine\nreally", "ok"]),
                 min_size=2, max_size=6)  # fmt: skip

START = 1714557600


def stamp(place: int) -> str:
    return f"2024-05-01T10:{place:02}:00Z"


def chat(words: list[str]) -> Any:
    messages = [{"role": ("user", "assistant")[place % 2], "content": text,
                 "created_at": stamp(place)} for place, text in enumerate(words)]  # fmt: skip
    return [{"user_id": "p", "conversation_id": "c", "messages": messages}]


def langchain(words: list[str]) -> Any:
    messages = [{"type": ("human", "ai")[place % 2], "content": text, "createdAt": stamp(place)}
                for place, text in enumerate(words)]  # fmt: skip
    return [{"user_id": "p", "conversation_id": "c", "messages": messages}]


def blocks(words: list[str]) -> Any:
    messages = [{"role": ("user", "assistant")[place % 2], "created_at": stamp(place),
                 "content": [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": text}]}
                for place, text in enumerate(words)]  # fmt: skip
    return [{"user_id": "p", "conversation_id": "c", "messages": messages}]


def flat(words: list[str]) -> Any:
    return [{"user_id": "p", "conversation_id": "c", "message_id": f"m{place}", "text": text,
             "speaker": ("user", "bot")[place % 2], "timestamp": stamp(place)}
            for place, text in enumerate(words)]  # fmt: skip


def tree(words: list[str]) -> Any:
    messages = [{"id": f"m{place}", "from": ("user", "assistant")[place % 2], "content": text,
                 "children": [f"m{place + 1}"] if place + 1 < len(words) else [],
                 "created_at": stamp(place)} for place, text in enumerate(words)]  # fmt: skip
    return [{"user_id": "p", "conversation_id": "c", "messages": messages}]


def chatgpt(words: list[str]) -> Any:
    mapping: dict[str, Any] = {"root": {"message": None, "parent": None, "children": ["n0"]}}
    for place, text in enumerate(words):
        mapping[f"n{place}"] = {
            "parent": f"n{place - 1}" if place else "root",
            "children": [f"n{place + 1}"] if place + 1 < len(words) else [],
            "message": {"author": {"role": ("user", "assistant")[place % 2]},
                        "create_time": START + 60 * place,
                        "content": {"content_type": "text", "parts": [text]}},
        }  # fmt: skip
    return [{"user_id": "p", "conversation_id": "c", "current_node": f"n{len(words) - 1}",
             "mapping": mapping}]  # fmt: skip


def claude(words: list[str]) -> Any:
    messages = [{"uuid": f"m{place}", "sender": ("human", "assistant")[place % 2], "text": text,
                 "content": [], "created_at": stamp(place)}
                for place, text in enumerate(words)]  # fmt: skip
    return [{"uuid": "c", "account": {"uuid": "p"}, "chat_messages": messages}]


def discord(words: list[str]) -> Any:
    messages = [{"id": f"m{place}", "type": "Default", "timestamp": stamp(place), "content": text,
                 "author": {"id": ("p", "b")[place % 2], "name": "x", "isBot": place % 2 == 1}}
                for place, text in enumerate(words)]  # fmt: skip
    return {"guild": {"id": "0"}, "channel": {"id": "c"}, "messages": messages}


def telegram(words: list[str]) -> Any:
    messages = [{"id": place, "type": "message", "date_unixtime": str(START + 60 * place),
                 "from": ("Anna", "CalmBot")[place % 2], "from_id": ("p", "b")[place % 2],
                 "text": text} for place, text in enumerate(words)]  # fmt: skip
    return {"name": "x", "id": "c", "messages": messages}


def rasa(words: list[str]) -> Any:
    events = [{"event": ("user", "bot")[place % 2], "text": text, "timestamp": START + 60 * place}
              for place, text in enumerate(words)]  # fmt: skip
    return {"sender_id": "p", "events": events}


def intercom(words: list[str]) -> Any:
    parts = [{"part_type": "comment", "body": text, "created_at": START + 60 * place,
              "author": {"type": ("user", "bot")[place % 2], "id": "p"}}
             for place, text in enumerate(words)]  # fmt: skip
    return [{"id": "c", "contacts": [{"external_id": "p"}], "source": None,
             "conversation_parts": parts}]  # fmt: skip


def traces(words: list[str]) -> Any:
    said = [{"role": ("user", "assistant")[place % 2], "content": text}
            for place, text in enumerate(words)]  # fmt: skip
    return [{"timestamp": stamp(place), "sessionId": "c", "userId": "p", "input": said[: place + 1],
             "output": said[place + 1] if place + 1 < len(said) else None}
            for place in range(0, len(said), 2)]  # fmt: skip


LAYOUTS: list[Callable[[list[str]], Any]] = [
    chat, langchain, blocks, flat, tree, chatgpt, claude, discord, telegram, rasa, intercom, traces,
]  # fmt: skip

CASED = (chat, langchain, blocks, flat, tree)
"""Layouts that people write themselves, so that their keys are in any case."""

WITH_BRANCHES = (tree, chatgpt)


class Disguise:
    """The same content in other clothes."""

    def __init__(self, seed: int, cased: bool) -> None:
        self.dice = random.Random(seed)
        self.cased = cased

    def of(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.of(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        pairs = [(self.key(key), self.of(inner)) for key, inner in value.items()]
        if self.dice.random() < 0.7:
            pairs += [("favourite_colour", None), ("zz_extra", {"nested": [1, None]})]
        self.dice.shuffle(pairs)
        return dict(pairs)

    def key(self, key: str) -> str:
        if not self.cased or self.dice.random() < 0.5:
            return key
        words = key.split("_")
        camel = words[0] + "".join(word.title() for word in words[1:])
        return self.dice.choice([key.upper(), key.title(), camel])


def cohort_rows(folder: Path, content: Any) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    source = folder / f"{random.random()}.json"
    source.write_text(json.dumps(content))
    out = folder / f"{source.stem}-cohort"
    manifest = import_files(source, ImportConfig(), out)
    columns = ("person_id", "turn", "role", "text", "time")
    return list(read_cohort(out).turns.select(columns).iter_rows()), manifest["import"]["messages"]


def accounted(messages: dict[str, Any]) -> bool:
    left_out = sum(messages["left_out_by_rule"].values()) + messages["bad"]
    return bool(messages["read"] + messages["added"] == messages["turns"] + left_out)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(words=WORDS, seed=st.integers(0, 10**6))
@LAW
def test_clothes_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Callable[[list[str]], Any],
    words: list[str],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("law")
    rows, messages = cohort_rows(folder, layout(words))
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("p", place, text) for place, text in enumerate(words)
    ]
    assert [row[2] == "user" for row in rows] == [place % 2 == 0 for place in range(len(words))]
    assert accounted(messages)
    again, messages = cohort_rows(folder, Disguise(seed, layout in CASED).of(layout(words)))
    assert [row[:4] for row in again] == [row[:4] for row in rows]
    assert [row[4] for row in again] == [row[4] for row in rows]
    assert accounted(messages)


@pytest.mark.parametrize("layout", WITH_BRANCHES)
@given(words=WORDS, data=st.data())
@LAW
def test_branches_that_were_given_up_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Callable[[list[str]], Any],
    words: list[str],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("law")
    rows, _ = cohort_rows(folder, layout(words))
    content = layout(words)
    parent = data.draw(st.integers(0, len(words) - 1))
    count = data.draw(st.integers(1, 3))
    for number in range(count):
        name = f"given-up-{number}"
        if layout is tree:
            message = {"id": name, "from": "assistant", "content": "GIVEN UP", "children": [],
                       "created_at": "2024-05-01T09:59:00Z"}  # fmt: skip
            if parent + 1 == len(words):
                return  # below the last message it would be the conversation's end
            content[0]["messages"][parent]["children"].append(name)
            content[0]["messages"].append(message)
        else:
            content[0]["mapping"][f"n{parent}"]["children"].append(name)
            content[0]["mapping"][name] = {
                "parent": f"n{parent}", "children": [],
                "message": {"author": {"role": "assistant"}, "create_time": START + 10**4,
                            "content": {"content_type": "text", "parts": ["GIVEN UP"]}},
            }  # fmt: skip
    again, messages = cohort_rows(folder, content)
    assert again == rows
    assert sum(messages["left_out_by_rule"].values()) == count
    assert accounted(messages)


COLUMNS = {
    "person_id": ["userId", "PERSON_ID", "Patient Id"],
    "conversation_id": ["sessionId", "Chat_ID"],
    "role": ["Speaker", "senderType"],
    "text": ["messageText", "Body"],
    "time": ["createdAt", "Sent At", "TIMESTAMP"],
}


@given(words=WORDS, seed=st.integers(0, 10**6), ending=st.sampled_from(["csv", "parquet", "tsv"]))
@LAW
def test_names_and_order_of_columns_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], seed: int, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("law")
    dice = random.Random(seed)
    table = pl.DataFrame(
        {"person_id": ["p"] * len(words), "conversation_id": ["c"] * len(words),
         "role": [("user", "assistant")[place % 2] for place in range(len(words))], "text": words,
         "time": [stamp(place) for place in range(len(words))]}
    )  # fmt: skip
    names = {name: dice.choice([name, *choices]) for name, choices in COLUMNS.items()}
    dressed = table.rename(names).with_columns(site=pl.lit("x"), empty=pl.lit(None, pl.String))
    columns = dressed.columns
    dice.shuffle(columns)
    source = folder / f"t.{ending}"
    dressed = dressed.select(columns).sample(fraction=1, shuffle=True, seed=seed)
    if ending == "parquet":
        dressed.write_parquet(source)
    else:
        dressed.write_csv(source, separator="," if ending == "csv" else "\t")
    manifest = import_files(source, ImportConfig(), folder / "cohort")
    turns = read_cohort(folder / "cohort").turns
    assert turns["text"].to_list() == words
    assert set(turns["person_id"]) == {"p"}
    uses = {row["name"]: row["taken_for"] for row in manifest["import"]["columns"]}
    assert uses == {**{names[name]: kind for name, kind in (
        ("person_id", "person"), ("conversation_id", "conversation"), ("role", "role"),
        ("text", "text"), ("time", "time"))}, "site": "", "empty": ""}  # fmt: skip
    assert accounted(manifest["import"]["messages"])
