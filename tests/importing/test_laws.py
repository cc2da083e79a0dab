"""Laws that every reader of a layout keeps: writing, order, nulls and further keys change nothing.

A conversation of one person is written in each layout; then keys are put in another order and case,
nulls and keys of other things are added, and branches that were given up grow on trees. The cohort
is the same, and every message is accounted for.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadline.cohort.store import read_cohort
from leadline.importing.importing import READERS, import_files
from leadline.sources.config import FORMATS, ImportConfig

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


def sharegpt(words: list[str]) -> Any:
    messages = [{"from": ("human", "gpt")[place % 2], "value": text}
                for place, text in enumerate(words)]  # fmt: skip
    return [{"user_id": "p", "id": "c", "conversations": messages}]


def gemini(words: list[str]) -> Any:
    contents = [{"role": ("user", "model")[place % 2], "parts": [{"text": text}]}
                for place, text in enumerate(words)]  # fmt: skip
    return [{"user_id": "p", "conversation_id": "c", "contents": contents}]


def responses(words: list[str]) -> Any:
    kinds = ("input_text", "output_text")
    messages = [{"type": "message", "role": ("user", "assistant")[place % 2],
                 "content": [{"type": kinds[place % 2], "text": text}], "created_at": stamp(place)}
                for place, text in enumerate(words)]  # fmt: skip
    return [{"user_id": "p", "conversation_id": "c", "items": messages}]


def messenger(words: list[str]) -> Any:
    messages = [{"sender_name": ("Patient", "Bot")[place % 2], "content": text,
                 "timestamp_ms": 1000 * (START + 60 * place)}
                for place, text in enumerate(words)]  # fmt: skip
    return {"thread_path": "c", "messages": messages[::-1]}


def otlp(words: list[str]) -> Any:
    values = {"session.id": "c", "user.id": "p"}
    for place, text in enumerate(words):
        values[f"gen_ai.prompt.{place}.role"] = ("user", "assistant")[place % 2]
        values[f"gen_ai.prompt.{place}.content"] = text
    attributes = [{"key": key, "value": {"stringValue": text}} for key, text in values.items()]
    span = {"spanId": "1", "startTimeUnixNano": str(START * 10**9), "attributes": attributes}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


LAYOUTS: list[Callable[[list[str]], Any]] = [
    chat, langchain, blocks, flat, tree, chatgpt, claude, discord, telegram, rasa, intercom, traces,
    sharegpt, gemini, responses, messenger, otlp,
]  # fmt: skip

SETTINGS: dict[Callable[[list[str]], Any], ImportConfig] = {messenger: ImportConfig(person="p")}


def flat_tree(words: list[str]) -> Any:
    return [{**message, "parent_id": f"m{place - 1}" if place else None}
            for place, message in enumerate(flat(words))]  # fmt: skip


def claude_tree(words: list[str]) -> Any:
    content = claude(words)
    for place, message in enumerate(content[0]["chat_messages"]):
        message["parent_message_uuid"] = f"m{place - 1}" if place else None
    return content


EARLY = "2024-05-01T09:59:00Z"


def grow(layout: Callable[[list[str]], Any], content: Any, parent: int, name: str) -> None:
    """Hang what was given up below a message: an answer, or what the person edited."""
    answer = {"content": "GIVEN UP", "created_at": EARLY}
    side = (parent + 1) % 2
    if layout is tree:
        messages = content[0]["messages"]
        messages[parent]["children"].append(name)
        messages.append({"id": name, "from": ("user", "assistant")[side], "children": [], **answer})
    elif layout is flat_tree:
        content.append({**content[0], "message_id": name, "parent_id": f"m{parent}",
                        "speaker": ("user", "bot")[side], "text": "GIVEN UP",
                        "timestamp": EARLY})  # fmt: skip
    elif layout is claude_tree:
        content[0]["chat_messages"].append(
            {"uuid": name, "sender": ("human", "assistant")[side], "text": "GIVEN UP",
             "content": [],
             "parent_message_uuid": f"m{parent}", "created_at": EARLY}
        )  # fmt: skip
    else:
        content[0]["mapping"][f"n{parent}"]["children"].append(name)
        content[0]["mapping"][name] = {
            "parent": f"n{parent}", "children": [],
            "message": {"author": {"role": "assistant"}, "create_time": START + 10**4,
                        "content": {"content_type": "text", "parts": ["GIVEN UP"]}},
        }  # fmt: skip


WITH_BRANCHES = (tree, chatgpt, flat_tree, claude_tree)


CASED = (chat, langchain, blocks, flat, tree, sharegpt, gemini, responses)
"""Layouts that people write themselves, so that words of their keys are joined in any way."""

IDENTIFIER = re.compile(r"^(?:n\d+|root|gen_ai\..*)$")  # of a message, or of an attribute

FURTHER: list[tuple[str, Any]] = [
    ("favourite_colour", None), ("zz_extra", {"nested": [1, None]}), ("updated_at", "2024-06-01"),
    ("title", "low"), ("tags", []), ("attachments", None), ("locale", "de"), ("zz_flag", False),
    ("summary", None), ("rating", 3),
]  # fmt: skip
"""Keys that say nothing of what was said."""


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
            further = [(name, entry) for name, entry in FURTHER if name not in value]
            pairs += self.dice.sample(further, self.dice.randint(1, len(further)))
        self.dice.shuffle(pairs)
        return dict(pairs)

    def key(self, key: str) -> str:
        if self.dice.random() < 0.5 or IDENTIFIER.match(key):
            return key
        words = key.split("_")
        camel = words[0] + "".join(word.title() for word in words[1:])
        return self.dice.choice([key.upper(), key.title(), camel if self.cased else key.lower()])


def cohort_rows(
    folder: Path, content: Any, config: ImportConfig | None = None
) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    source = folder / f"{random.random()}.json"
    source.write_text(json.dumps(content))
    out = folder / f"{source.stem}-cohort"
    manifest = import_files(source, config or ImportConfig(), out)
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
    rows, messages = cohort_rows(folder, layout(words), SETTINGS.get(layout))
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("p", place, text) for place, text in enumerate(words)
    ]
    assert [row[2] == "user" for row in rows] == [place % 2 == 0 for place in range(len(words))]
    assert accounted(messages)
    dressed = Disguise(seed, layout in CASED).of(layout(words))
    again, messages = cohort_rows(folder, dressed, SETTINGS.get(layout))
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
    if layout is not chatgpt and parent + 1 == len(words):
        return  # below the last message it would be the conversation's end
    for number in range(count):
        grow(layout, content, parent, f"given-up-{number}")
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


class Dressing:
    """Columns of other things, in another order; or none."""

    renames = True  # whether names of columns may change their case

    def __init__(self, seed: int | None) -> None:
        self.dice = None if seed is None else random.Random(seed)

    def table(self, path: Path, table: pl.DataFrame, separator: str = ",") -> None:
        if self.dice is not None:
            table = table.with_columns(site=pl.lit("x"), zz_empty=pl.lit(None, pl.String))
            columns = table.columns
            self.dice.shuffle(columns)
            table = table.select(columns)
            if self.renames:
                cases = (str.upper, str.title, str.lower)
                table = table.rename({name: self.dice.choice(cases)(name) for name in columns})
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(path, separator=separator)

    def json(self, path: Path, content: Any) -> None:
        if self.dice is not None:
            content = Disguise(self.dice.randrange(10**6), False).of(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = content if path.suffix == ".jsonl" else [content]
        path.write_text("\n".join(map(json.dumps, lines)))


def slack(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    who = ({"user": "p"}, {"bot_id": "b"})
    messages = [{"type": "message", "ts": f"{START + 60 * place}.0001", "text": text,
                 **who[place % 2]} for place, text in enumerate(words)]  # fmt: skip
    dressing.json(folder / "users.json", [{"id": "p", "name": "anna"}])
    dressing.json(folder / "c" / "2024-05-01.json", messages)
    return ImportConfig()


def convokit(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    lines = [{"id": f"u{place}", "conversation_id": "c", "speaker": ("p", "b")[place % 2],
              "text": text, "timestamp": START + 60 * place,
              "meta": {"role": ("user", "bot")[place % 2]}}
             for place, text in enumerate(words)]  # fmt: skip
    dressing.json(folder / "utterances.jsonl", lines)
    return ImportConfig()


def daic(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    seconds = [float(place) for place in range(len(words))]
    speakers = [("Participant", "Ellie")[place % 2] for place in range(len(words))]
    table = pl.DataFrame({"start_time": seconds, "stop_time": seconds, "speaker": speakers,
                          "value": words})  # fmt: skip
    dressing.table(folder / "300_TRANSCRIPT.csv", table, "\t")
    return ImportConfig()


def files(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    letters = [("P", "T")[place % 2] for place in range(len(words))]
    table = pl.DataFrame({"Type": letters, "Utterance": words})
    dressing.table(folder / "1.csv", table)
    return ImportConfig(one_person_per_conversation=True)


def exchanges(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    answers: list[str | None] = [*words[1::2], *[None] * (len(words) % 2)]
    table = pl.DataFrame({"user_id": "p", "prompt": words[::2], "response": answers})
    dressing.table(folder / "t.csv", table)
    return ImportConfig()


def cells(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    said = [f"{('User', 'Bot')[place % 2]}: {text}" for place, text in enumerate(words)]
    dressing.table(
        folder / "t.csv", pl.DataFrame({"user_id": ["p"], "dialogue": ["\n".join(said)]})
    )
    return ImportConfig()


def survey(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    answers = {f"a{place}": [text] for place, text in enumerate(words[::2])}
    dressing.renames = False  # the mapping names them
    dressing.table(folder / "t.csv", pl.DataFrame({"who": ["p"], **answers}))
    mapping = folder.parent / "m.toml"
    turns = [f'[[turns]]\nanswer = "a{place}"\n' + (f"ask = {json.dumps(words[2 * place - 1])}\n"
             if place else "") for place in range(len(answers))]  # fmt: skip
    mapping.write_text('person = "who"\nignore = ["*"]\n' + "\n".join(turns))
    return ImportConfig(mapping=mapping)


def whatsapp(folder: Path, words: list[str], dressing: Dressing) -> ImportConfig:
    lines = [f"25/05/2024, 10:{place:02} - {('p', 'Bot')[place % 2]}: {text}"
             for place, text in enumerate(words)]  # fmt: skip
    if dressing.dice is not None:
        lines.insert(dressing.dice.randint(0, len(lines)), "25/05/2024, 10:00 - You left")
        lines.append("\u200e")
    folder.mkdir(parents=True)
    (folder / "c.txt").write_text("\n".join(lines))
    return ImportConfig(person_role="p", timezone="UTC")


OTHERS = [slack, convokit, daic, files, exchanges, cells, survey, whatsapp]


@pytest.mark.parametrize("layout", OTHERS)
@given(words=WORDS, seed=st.integers(0, 10**6))
@settings(LAW, max_examples=6)
def test_tables_folders_and_texts_keep_the_law_too(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Callable[[Path, list[str], Dressing], ImportConfig],
    words: list[str],
    seed: int,
) -> None:
    if layout is daic:
        words = [text.replace("\n", " ") for text in words]  # its tables have no quotes
    if layout is survey:
        words = words[: len(words) - 1 + len(words) % 2]  # a question stands before its answer
    cohorts = []
    for dressing in (Dressing(None), Dressing(seed)):
        folder = tmp_path_factory.mktemp("law") / "source"
        config = layout(folder, words, dressing)
        source = folder if layout in (slack, convokit, daic, files) else next(folder.iterdir())
        manifest = import_files(source, config, folder.parent / "cohort")
        assert accounted(manifest["import"]["messages"])
        turns = read_cohort(folder.parent / "cohort").turns
        assert turns["text"].to_list() == words
        assert [role == "user" for role in turns["role"]] == [
            place % 2 == 0 for place in range(len(words))
        ]
        cohorts.append(turns)
    assert cohorts[0].equals(cohorts[1])


def test_every_layout_is_held_to_the_laws() -> None:
    names = {layout.__name__ for layout in (*LAYOUTS, *OTHERS)} | {"table"}
    assert set(READERS) == set(FORMATS[1:])
    assert {{"folder": "files"}.get(layout, layout) for layout in READERS} <= names
