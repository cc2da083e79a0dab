"""No message of an import quotes its input: a canary in turn in each place of each layout.

Wherever text, identifier, role, time, answer or key stands, a canary is put in its place, once by
itself and once with malformed neighbours. What is said then, on success and on failure, is
searched for it.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from tests.support import ROOT

from leadline.errors import LeadlineError
from leadline.importing.importing import import_files
from leadline.importing.summary import render_import, shown_columns
from leadline.sources.config import ImportConfig

FIELD = ROOT / "tests" / "importing" / "field"

CANARY = "kanarienwort"

FORMS = (CANARY, f"{CANARY} so tired", f"user_{CANARY}_text", f"2024-{CANARY}")
"""A word; words; what looks like a usual name; what looks like a date."""

CHATS = [
    {"person_id": "p1", "id": "c1", "time": "2024-05-01T10:00:00Z", "messages": [
        {"role": "assistant", "content": "how are you", "time": "2024-05-01T10:00:00Z"},
        {"role": "user", "content": "tired", "time": "2024-05-01T10:01:00Z"}]}]  # fmt: skip

TABLE = """person_id,conversation_id,role,text,time
p1,c1,assistant,how are you,2024-05-01T10:00:00Z
p1,c1,user,tired,2024-05-01T10:01:00Z
"""

LABELS = """person_id,time,item_1,item_2,item_3,item_4,item_5,item_6,item_7,item_8,item_9,total
p1,2024-05-02T00:00:00Z,1,1,1,1,1,1,1,1,1,9
"""


def field(name: str) -> str:
    return (FIELD / name).read_text()


class Layout(NamedTuple):
    """A source, its labels if they are what is changed, and settings."""

    name: str
    file: str
    content: Any
    settings: dict[str, Any] = {}  # noqa: RUF012
    is_labels: bool = False


INTERCOM = {"id": "1", "created_at": 1714557600, "contacts": {"contacts": [{"id": "p1"}]},
            "source": {"id": "2", "author": {"type": "user", "id": "p1"}, "body": "<p>tired</p>"},
            "conversation_parts": {"conversation_parts": [
                {"id": "3", "part_type": "comment", "created_at": 1714557601,
                 "author": {"type": "admin", "id": "a"}, "body": "why?"}]}}  # fmt: skip
TELEGRAM = {"name": "x", "id": 7, "messages": [
    {"id": 1, "type": "message", "date_unixtime": "1714557600", "from": "Ann", "from_id": "user1",
     "text": "tired"},
    {"id": 2, "type": "message", "date_unixtime": "1714557601", "from": "HelpBot",
     "from_id": "user2", "text": "why?"}]}  # fmt: skip
MESSENGER = {"thread_path": "inbox/a", "messages": [
    {"sender_name": "Ann", "timestamp_ms": 1714557600000, "content": "tired"},
    {"sender_name": "Bot", "timestamp_ms": 1714557700000, "content": "why?"}]}  # fmt: skip
RASA = {"sender_id": "p1", "events": [
    {"event": "user", "timestamp": 1714557600.0, "text": "tired"},
    {"event": "bot", "timestamp": 1714557601.0, "text": "why?"}]}  # fmt: skip
TRACE = [{"user_id": "p1", "session_id": "s", "start_time": "2024-05-01T10:00:00Z",
          "input": {"messages": [{"role": "user", "content": "tired"}]},
          "output": {"role": "assistant", "content": "why?"}}]  # fmt: skip
WHATSAPP = "01/05/2024, 10:00 - Ann: tired\n01/05/2024, 10:01 - Bot: why?\n"
BY_PERSON = {"p1": {"total": 9, "time": "2024-05-02"}, "p2": {"total": 4, "time": "2024-05-03"}}

LAYOUTS = [
    Layout("chat", "a.json", CHATS),
    Layout("lines", "a.jsonl", "\n".join(map(json.dumps, CHATS))),
    Layout("by name", "a.json", {"c1": CHATS[0]["messages"]}, {"person": "p"}),
    Layout("table", "a.csv", TABLE),
    Layout("named columns", "a.csv", TABLE,
           {"column": ("text=text", "role=role", "person=person_id")}),
    Layout("cells", "a.csv", 'person_id,chat\np1,"User: tired\nBot: why?"\n', {"format": "cells"}),
    Layout("exchanges", "a.csv", "person_id,user_message,bot_response\np1,tired,why?\n"),
    Layout("sharegpt", "a.json", [{"id": "p1", "conversations": [
        {"from": "human", "value": "tired"}, {"from": "gpt", "value": "why?"}]}],
        {"one_person_per_conversation": True}),
    Layout("intercom", "a.json", [INTERCOM]),
    Layout("chatgpt", "a.json", json.loads(field("11-chatgpt-export/conversations.json")),
           {"one_person_per_conversation": True}),
    Layout("claude", "a.json", json.loads(field("12-claude-export/conversations.json"))),
    Layout("discord", "a.json", json.loads(field("14-discord/dm.json"))),
    Layout("telegram", "a.json", TELEGRAM),
    Layout("messenger", "a.json", MESSENGER, {"role": ("Ann=user", "Bot=assistant")}),
    Layout("rasa", "a.json", RASA),
    Layout("traces", "a.json", TRACE),
    Layout("langchain", "a.json", json.loads(field("17-langchain/dict.json"))),
    Layout("responses", "a.jsonl", field("18-responses-api/conv.jsonl")),
    Layout("whatsapp", "a.txt", WHATSAPP, {"person_role": "Ann", "role": ("Bot=assistant",),
                                           "date_order": "dmy", "timezone": "UTC"}),
    Layout("transcript", "a.txt", "Therapist: how are you\nPatient: tired\n", {"person": "p"}),
    Layout("daic", "300_TRANSCRIPT.csv", "start_time\tstop_time\tspeaker\tvalue\n"
           "1.0\t2.0\tEllie\thi\n2.0\t3.0\tParticipant\ttired\n"),
    Layout("convokit", "corpus/utterances.jsonl", "\n".join(json.dumps(u) for u in (
        {"id": "u1", "conversation_id": "u1", "speaker": "ann", "text": "hello", "timestamp": 1},
        {"id": "u2", "conversation_id": "u1", "speaker": "bot", "text": "hi", "timestamp": 2})),
        {"role": ("ann=user", "bot=assistant")}),
    Layout("annomi", "a.csv", field("22-annomi/AnnoMI-full.csv"),
           {"one_person_per_conversation": True}),
    Layout("authors", "a.csv", field("27-author-ids/messages.csv")),
    Layout("label table", "l.csv", LABELS, is_labels=True),
    Layout("one answer a row", "l.csv", "person_id,time,item,value\n" + "".join(
        f"p1,2024-05-02T00:00:00Z,phq9_{n},1\n" for n in range(1, 10)), is_labels=True),
    Layout("visits", "l.csv", "person_id,phq9_pre,date_pre,phq9_post,date_post\n"
           "p1,9,2024-05-02,4,2024-06-02\n", {"timezone": "UTC"}, is_labels=True),
    Layout("labels by person", "l.json", BY_PERSON, {"timezone": "UTC"}, is_labels=True),
    Layout("label json", "l.json", [{"person_id": "p1", "phq9": {"total": 9},
           "time": "2024-05-02T00:00:00Z"}], is_labels=True),
    Layout("redcap", "l.csv", field("06-redcap-raw/redcap.csv"), {"timezone": "UTC"},
           is_labels=True),
    Layout("forms", "l.csv", field("10-google-forms/labelled.csv"), is_labels=True),
    Layout("observation", "l.ndjson", field("04-fhir-instant/phq9.ndjson"), is_labels=True),
    Layout("panel", "l.json", json.loads(field("65-panel-value/obs.json")), is_labels=True),
    Layout("response", "l.json", json.loads(field("03-sdc-local-codes/phq9.json")),
           is_labels=True),
]  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each leaf and to each key, which ends in None."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key, None)
            yield from spots(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from spots(inner, (*path, place))
    else:
        yield path


def kind_of(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """A way without the numbers of entries: places of one kind share it."""
    return tuple("[]" if isinstance(part, int) else part for part in path)


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a value with another leaf, or under another key where the way ends in None."""
    whole = copy.deepcopy(value)
    inner = whole
    *way, last = path[:-1] if path[-1] is None else path
    for part in way:
        inner = inner[part]
    if path[-1] is None:
        renamed = {(new if key == last else key): entry for key, entry in inner.items()}
        inner.clear()
        inner.update(renamed)
    else:
        inner[last] = new
    return whole


def json_changes(value: Any) -> Iterator[tuple[str, Any]]:
    """A canary in each kind of place, alone, and with each neighbour of it malformed in turn."""
    paths = {kind_of(path): path for path in reversed(list(spots(value))) if path}
    for kind, path in paths.items():
        for number, form in enumerate(FORMS):
            with_canary = changed(value, path, form)
            yield f"{kind} {number}", with_canary
        for other in spots(with_canary):
            is_beside = other[:-1] == path[:-1] or other[:-1] == path[:-2]
            if other and other[-1] is not None and other != path and is_beside:
                for bad in ({"x": [1]}, None):
                    yield f"{kind} beside {other[-1]}", changed(with_canary, other, bad)


def text_changes(text: str) -> Iterator[tuple[str, str]]:
    """A canary in each cell of the first rows of a table, with a neighbour malformed or a row."""
    separator = "\t" if "\t" in text.splitlines()[0] else ","
    rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    for row in range(min(len(rows), 3)):
        for column in range(min(len(rows[row]), 12)):
            for number, form in enumerate(FORMS):
                new = copy.deepcopy(rows)
                new[row][column] = form
                yield f"cell {row} {column} {number}", joined(new, separator)
            new[row][(column + 1) % len(new[row])] = ""
            yield f"cell {row} {column} beside nothing", joined(new, separator)
            new[row] += ["x"]
            yield f"cell {row} {column} in a long row", joined(new, separator)
            yield f"headless {row} {column}", joined(new[row:], separator)
            yield f"quote {row} {column}", joined(new, separator) + f'"{CANARY}'


def joined(rows: list[list[str]], separator: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
    return out.getvalue()


def line_changes(text: str) -> Iterator[tuple[str, str]]:
    """For files of lines: a canary in place of, before and within each word."""
    lines = text.splitlines()
    for place, line in enumerate(lines):
        for word in line.split():
            new = line.replace(word, CANARY, 1)
            yield f"line {place}", "\n".join([*lines[:place], new, *lines[place + 1 :]])
    yield "cut", text[: len(text) // 2] + CANARY


def changes(layout: Layout) -> Iterator[tuple[str, str]]:
    """Contents of a file, each with a canary somewhere."""
    suffix = Path(layout.file).suffix
    if suffix == ".csv":
        yield from text_changes(layout.content)
    elif suffix == ".txt":
        yield from line_changes(layout.content)
    elif isinstance(layout.content, str):  # JSON lines
        first, *others = layout.content.splitlines()
        for name, value in json_changes(json.loads(first)):
            yield name, "\n".join([json.dumps(value), *others])
        yield "cut", layout.content[: len(first) // 2] + CANARY
    else:
        for name, value in json_changes(layout.content):
            yield name, json.dumps(value)
        yield "cut", json.dumps(layout.content)[:40] + CANARY


def said(source: Path, config: ImportConfig, out: Path) -> str:
    """All that an import has to say, whether it succeeds or fails."""
    shown = io.StringIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            manifest = import_files(source, config, out, overwrite=True)
        except LeadlineError as error:
            shown.write(f"{error} {error.args} {error.row}")
        else:
            facts = manifest["import"]
            keys = [row for row in shown_columns(facts["columns"]) if "json" in row["file"]]
            quiet = {**facts, "columns": keys}
            Console(file=shown, width=200).print(*render_import({**manifest, "import": quiet}))
            shown.write(str(facts["left_out_by_reason"]) + str(facts["left_out_rows"]))
    return shown.getvalue() + "".join(str(warning.message) for warning in caught)


def check(layout: Layout, folder: Path, every: int) -> None:
    """Go through each `every`-th change of a layout."""
    file = folder / layout.file
    file.parent.mkdir(exist_ok=True)
    chats = folder / "chats.jsonl"
    chats.write_text(json.dumps(CHATS[0]) + "\n")
    source = chats if layout.is_labels else file.parent if "corpus" in layout.file else file
    more: dict[str, Any] = {"phq9": file} if layout.is_labels else {}
    for number, (name, content) in enumerate(changes(layout)):
        if number % every:
            continue
        file.write_text(content)
        skip_bad = bool(number // every % 2)
        config = ImportConfig(**{"skip_bad": skip_bad, **layout.settings, **more})
        assert CANARY not in said(source, config, folder / "out"), (name, content)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_no_message_quotes_a_canary(layout: Layout, tmp_path: Path) -> None:
    count = sum(1 for _ in changes(layout))
    check(layout, tmp_path, every=max(1, count // 9))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_no_message_quotes_a_canary_wherever_it_stands(layout: Layout, tmp_path: Path) -> None:
    check(layout, tmp_path, every=1)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_layout_is_read_as_it_stands(layout: Layout, tmp_path: Path) -> None:
    """What the other tests change is a source that Leadline reads."""
    file = tmp_path / layout.file
    file.parent.mkdir(exist_ok=True)
    is_text = isinstance(layout.content, str)
    file.write_text(layout.content if is_text else json.dumps(layout.content))
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps(CHATS[0]) + "\n")
    source = chats if layout.is_labels else file.parent if "corpus" in layout.file else file
    more: dict[str, Any] = {"phq9": file} if layout.is_labels else {}
    config = ImportConfig(**{**layout.settings, **more, "skip_bad": layout.is_labels})
    counts = import_files(source, config, tmp_path / "out")["counts"]
    assert counts["phq9" if layout.is_labels else "turns"] > 0
