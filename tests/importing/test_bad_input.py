"""Malformed sources end to end: one error with file, row and remedy, nothing left on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from tests.support.imports import import_cohort

from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.importing.importing import import_files
from leadline.sources.config import ImportConfig

HEAD = "person_id,conversation_id,role,text,time\n"
GOOD = (
    HEAD
    + "p1,c1,assistant,how are you,2024-05-01T10:00:00Z\np1,c1,user,tired,2024-05-01T10:01:00Z\n"
)


LABELS = "person_id,time,total\n"
CHAT = {"person_id": "p1", "id": "c1", "messages": [{"role": "user", "content": "low today"}]}
ITEM_HEAD = "person_id," + ",".join(f"item_{n}" for n in range(1, 10)) + ",total\n"


class Case(NamedTuple):
    """A malformed input: its files, settings, and what the error must say."""

    name: str
    files: dict[str, str | bytes | Callable[[Path], object]]
    match: str
    row: int | str | None = None
    file: str = ""  # of the error; the first of `files` if empty
    settings: dict[str, Any] = {}  # noqa: RUF012


def turn(row: str) -> dict[str, str | bytes | Callable[[Path], object]]:
    return {"turns.csv": GOOD + row + "\n"}


def label(text: str) -> dict[str, str | bytes | Callable[[Path], object]]:
    return {"turns.csv": GOOD, "labels.csv": text}


def chat(*records: Any) -> dict[str, str | bytes | Callable[[Path], object]]:
    return {"chat.jsonl": "".join(json.dumps(record) + "\n" for record in records)}


def message(**changes: Any) -> dict[str, str | bytes | Callable[[Path], object]]:
    return chat(CHAT, {**CHAT, "id": "c2", "messages": [{**CHAT["messages"][0], **changes}]})


def survey(table: str, mapping: str) -> dict[str, str | bytes | Callable[[Path], object]]:
    return {"people.csv": table, "map.toml": mapping}


def parquet(**columns: Any) -> Callable[[Path], object]:
    return lambda path: pl.DataFrame(columns).write_parquet(path)


def fhir(**changes: Any) -> dict[str, str | bytes | Callable[[Path], object]]:
    observation = {
        "resourceType": "Observation", "status": "final",
        "effectiveDateTime": "2024-05-02T00:00:00Z", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "44261-6"}]},
        "valueInteger": 9, **changes,
    }  # fmt: skip
    return {"turns.csv": GOOD, "labels.json": json.dumps(observation)}


P = {"phq9": "labels.csv"}
F = {"phq9": "labels.json"}
M = {"mapping": "map.toml"}
MAP = 'person = "id"\n[[turns]]\nanswer = "words"\n'
TRANSCRIPT = "start_time\tstop_time\tspeaker\tvalue\n1.0\t2.0\tParticipant\tfine\n"
UTTERANCE = {
    "id": "u1",
    "conversation_id": "u1",
    "speaker": "ann",
    "text": "hello",
    "timestamp": None,
}


CASES = [
    # files as such
    Case("no such file", {}, "no such file", file="absent.csv"),
    Case("empty file", {"a.csv": ""}, "empty"),
    Case("blank json", {"a.json": "  \n"}, "blank"),
    Case("header only", {"a.csv": HEAD}, "no turn"),
    Case("directory for a file", {"d": lambda path: path.mkdir()}, "neither"),
    Case("directory as a table", {"d": lambda path: path.mkdir()}, "directory",
         settings={"format": "table"}),
    Case("utf-16", {"a.csv": GOOD.encode("utf-16")}, "UTF-16"),
    Case("latin-1", {"a.csv": GOOD.encode() + "p1,c1,user,caf\u00e9,\n".encode("latin-1")},
         "UTF-8", row="line 4"),
    Case("latin-1 json", {"a.json": json.dumps(CHAT).replace("low", "l\u00f6w").encode("latin-1")},
         "UTF-8", row="line 1"),
    Case("binary as csv", {"a.csv": bytes(range(256))}, "binary"),
    Case("unknown ending", {"a.xyz": GOOD}, "ending"),
    Case("csv named parquet", {"a.parquet": GOOD}, "Parquet"),
    Case("truncated parquet", {"a.parquet": b"PAR1\x00\x01PAR1"}, "Parquet"),
    Case("table where chat is said", {"a.csv": "a,b\n1,2\n"}, "list of messages",
         row="row 2", settings={"format": "chat"}),
    # JSON
    Case("truncated json", {"a.json": json.dumps([CHAT])[:-8]}, "JSON", row="line 1"),
    Case("truncated json line", {"a.jsonl": json.dumps(CHAT) + "\n" + json.dumps(CHAT)[:30]},
         "JSON", row="line 2"),
    Case("nan in json", {"a.jsonl": json.dumps({**CHAT, "age": float("nan")})}, "NaN",
         row="line 1"),
    Case("too deep", {"a.json": "[" * 200_000}, "levels"),
    Case("json of another shape", {"a.json": '{"a": 1}'}, "nothing that Leadline knows"),
    Case("two shapes at once", chat({**CHAT, "turns": CHAT["messages"]}), "and"),
    Case("fhir as source", {"a.json": '{"resourceType": "Bundle"}'}, "FHIR"),
    Case("no person in chat", chat({"messages": CHAT["messages"]}), "person", row="line 1"),
    Case("two persons in chat", chat({**CHAT, "user_id": "q"}), "could be under", row="line 1"),
    Case("person of a wrong type", chat(CHAT, {**CHAT, "id": "c2", "person_id": [1]}), "person",
         row="line 2"),
    Case("conversation twice",
         chat(CHAT, {**CHAT, "messages": [{"role": "user", "content": "better"}]}), "twice",
         row="line 2"),
    Case("record is no object", chat(CHAT, 5), "object", row="line 2"),
    Case("message is no object", chat({**CHAT, "messages": [CHAT["messages"][0], 3]}), "object",
         row="line 1, messages[1]"),
    Case("content is a number", message(content=7), "not text", row="line 2, messages[0]"),
    Case("role is a number", message(role=7), "role is not text", row="line 2, messages[0]"),
    Case("no content", message(content=None), "empty", row="line 2, messages[0]"),
    Case("half a character", message(content="\ud800"), "surrogate", row="line 2, messages[0]"),
    Case("half a character as a time", message(time="\ud800"), "surrogate",
         row="line 2, messages[0]"),
    Case("half a character as a key", message(**{"\ud800": 1}), "surrogate"),
    Case("half a character about a person", chat({**CHAT, "age": "\ud800"}), "surrogate",
         settings={"people_column": ("age",)}),
    Case("half a character in a label", {"turns.csv": GOOD, "labels.json": json.dumps(
        [{"person_id": "p1", "total": 3, "time": "\ud800"}])}, "surrogate", file="turns.csv",
        settings={"phq9": "labels.json"}),
    Case("half a character as the time of a resource", fhir(effectiveDateTime="\ud800"), "time",
         row="entry 1", file="labels.json", settings={"phq9": "labels.json"}),
    Case("time is a list", message(time=[1]), "time", row="line 2, messages[0]"),
    Case("unknown speaker in chat", message(role="sys"), "'sys'", row="line 2, messages[0]"),
    Case("two words for the person", message(role="patient"), "More than one",
         row="line 2, messages[0]"),
    Case("nobody is the person", chat({**CHAT, "messages": [{"role": "bot", "text": "hi"}]}),
         "No turn is spoken"),
    Case("bot called system", chat({**CHAT, "messages": [{"role": "user", "text": "hi"},
         {"role": "system", "text": "hello"}]}), "chatbot"),
    # tables
    Case("ragged row", turn("p1,c1,user"), "3 fields", row=4),
    Case("text with a bare comma", turn("p1,c1,user,well, fine,"), "6 fields", row=4),
    Case("open quote", turn('p1,c1,user,"never closed,'), "quote", row=4),
    Case("ragged row after a line break", turn('p1,c1,user,"two\nlines",\np1,c1'), "2 fields",
         row=6),
    Case("column twice", {"a.csv": "person_id,role,text,text\np,user,a,b\n"}, "twice", row=1),
    Case("no text column", {"a.csv": "person_id,role\np,user\n"}, "role and text", row=1),
    Case("no person column", {"a.csv": "role,text\nuser,a\n"}, "person", row=1),
    Case("two text columns", {"a.csv": "person_id,role,message,content\np,user,a,b\n"},
         "More than one column", row=1),
    Case("given column is absent", {"a.csv": GOOD}, "no column body", row=1,
         settings={"column": ("text=body",)}),
    Case("empty text", turn("p1,c1,user,,"), "empty", row=4),
    Case("blank text", turn("p1,c1,user,  ,"), "empty", row=4),
    Case("no person", turn(",c1,user,hello,"), "person", row=4),
    Case("no conversation", turn("p1,,user,hello,"), "conversation", row=4),
    Case("no role", turn("p1,c1,,hello,"), "role", row=4),
    Case("unknown role", turn("p1,c1,zed,hello,"), "not clear", row=4),
    Case("time in the future", turn("p1,c1,user,hello,2999-01-01T00:00:00Z"), "future", row=4),
    Case("time without a zone", turn("p1,c1,user,hello,2024-05-01 10:00"), "no zone", row=4),
    Case("ambiguous date", turn("p1,c1,user,hello,03/04/2024"), "two days", row=4),
    Case("no such day", turn("p1,c1,user,hello,2024-02-30T10:00:00Z"), "ISO 8601", row=4),
    Case("offset as a time", turn("p1,c1,user,hello,12.5"), "ISO 8601", row=4),
    Case("turn of 5 MB", turn("p1,c1,user," + "a" * 5_000_000 + ","), "longer", row=4),
    Case("position twice", {"a.csv": "person_id,turn,role,text\np,1,user,a\np,1,user,b\n"},
         "twice", row=3),
    Case("position is no number", {"a.csv": "person_id,turn,role,text\np,one,user,a\n"},
         "whole number", row=2),
    Case("text is a number", {"a.parquet": parquet(person_id=["p"], role=["user"], text=[1.5])},
         "not text"),
    Case("person is a fraction",
         {"a.parquet": parquet(person_id=[1.5], role=["user"], text=["a"])}, "person"),
    Case("null text in parquet",
         {"a.parquet": parquet(person_id=["p", "p"], role=["user"] * 2, text=["a", None])},
         "empty", row=2),
    Case("people column varies", {"a.csv": "person_id,role,text,age\np,user,a,30\np,user,b,31\n"},
         "two different values of age", row=3, settings={"people_column": ("age",)}),
    Case("people column is absent", turn("p1,c1,user,hello,"), "no column age", row=1,
         settings={"people_column": ("age",)}),
    # labels
    Case("total 31", label(LABELS + "p1,2024-05-02T00:00:00Z,31\n"), "0 to 27", 2,
         "labels.csv", P),
    Case("total is a word", label(LABELS + "p1,2024-05-02T00:00:00Z,high\n"), "not a number", 2,
         "labels.csv", P),
    Case("total is NaN", label(LABELS + "p1,2024-05-02T00:00:00Z,NaN\n"), "No row", None,
         "labels.csv", P),
    Case("total is infinite", label(LABELS + "p1,2024-05-02T00:00:00Z,inf\n"), "0 to 27", 2,
         "labels.csv", P),
    Case("total is a fraction", label(LABELS + "p1,2024-05-02T00:00:00Z,9.5\n"), "whole", 2,
         "labels.csv", P),
    Case("item 4", label(ITEM_HEAD + "p1,4,0,0,0,0,0,0,0,0,\n"), "Item 1", 2, "labels.csv", P),
    Case("items against total", label(ITEM_HEAD + "p1,1,1,1,1,1,1,1,1,1,12\n"), "contradict", 2,
         "labels.csv", P),
    Case("three items missing", label(ITEM_HEAD + "p1,1,1,1,1,1,1,,,,\n"), "Too many", 2,
         "labels.csv", P),
    Case("item 9 missing", label(ITEM_HEAD + "p1,1,1,1,1,1,1,1,1,,\n"), "item 9", 2,
         "labels.csv", P),
    Case("unknown person", label(LABELS + "p9,2024-05-02T00:00:00Z,3\n"), "says nothing", 2,
         "labels.csv", P),
    Case("label without a person", label(LABELS + ",2024-05-02T00:00:00Z,3\n"), "person", 2,
         "labels.csv", P),
    Case("label in the future", label(LABELS + "p1,2999-01-01T00:00:00Z,3\n"), "future", 2,
         "labels.csv", P),
    Case("label without a zone", label(LABELS + "p1,2024-05-02,3\n"), "no zone", 2,
         "labels.csv", P),
    Case("two labels at once", label(LABELS + "p1,2024-05-02T00:00:00Z,3\n" * 2), "two labels", 3,
         "labels.csv", P),
    Case("two undated labels", label("person_id,total\np1,3\np1,4\n"), "two labels", 3,
         "labels.csv", P),
    Case("no total column", label("person_id,time\np1,2024-05-02T00:00:00Z\n"), "total", 1,
         "labels.csv", P),
    Case("label table is absent", {"turns.csv": GOOD}, "no such file", None, "labels.csv", P),
    Case("unknown instrument", label("person_id,total,instrument\np1,3,gad7\n"), "instrument", 2,
         "labels.csv", P),
    Case("fhir total 31", fhir(valueInteger=31), "0 to 27", "entry 1", "labels.json", F),
    Case("fhir total as text", fhir(valueInteger="9"), "not a number", "entry 1",
         "labels.json", F),
    Case("fhir without subject", fhir(subject=None), "subject", "entry 1", "labels.json", F),
    Case("fhir unknown person", fhir(subject={"reference": "Patient/x"}), "says nothing",
         "entry 1", "labels.json", F),
    Case("fhir of no resource", {"turns.csv": GOOD, "labels.json": "[1]"}, "JSON object", "entry 1",
         "labels.json", F),
    # surveys
    Case("survey without mapping", {"people.csv": "id,words\n1,low\n"}, "mapping",
         settings={"format": "survey"}),
    Case("mapping is no toml", survey("id,words\n1,low\n", "person = id"), "TOML", None,
         "map.toml", M),
    Case("mapping with a strange key", survey("id,words\n1,low\n", 'persn = "id"\n' + MAP),
         "persn", None, "map.toml", M),
    Case("mapping without turns", survey("id,words\n1,low\n", 'person = "id"\n'), "turns", None,
         "map.toml", M),
    Case("mapping of an absent column", survey("id,text\n1,low\n", MAP), "no column words", 1,
         "people.csv", M),
    Case("column not mentioned", survey("id,words,gad7\n1,low,3\n", MAP), "not mention", 1,
         "people.csv", M),
    Case("person twice in a survey", survey("id,words\n1,low\n1,high\n", MAP), "two rows", 3,
         "people.csv", M),
    Case("survey without answers", survey("id,words\n1,\n", MAP), "no turn", None, "people.csv", M),
    Case("survey of totals above 27",
         survey("id,words,t\n1,low,28\n", MAP + '[phq9]\ntotal = "t"\n'), "0 to 27", 2,
         "people.csv", M),
    # corpora
    Case("daic without transcripts", {"d": lambda path: path.mkdir()}, "transcript",
         settings={"format": "daic"}),
    Case("daic separated by commas", {"300_TRANSCRIPT.csv": TRANSCRIPT.replace("\t", ",")},
         "header", row=1),
    Case("daic with an unknown speaker",
         {"300_TRANSCRIPT.csv": TRANSCRIPT + "3.0\t4.0\tZed\thello\n"}, "not clear", row="row 3"),
    Case("convokit is a file", {"utterances.jsonl": json.dumps(UTTERANCE)}, "folder",
         settings={"format": "convokit"}),
    Case("intercom without a contact",
         {"a.json": json.dumps({"id": "1", "source": {"body": "hi", "author": {"type": "user"}},
                                "conversation_parts": {"conversation_parts": []}})},
         "contact", row="entry 1"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_error_and_nothing_left(case: Case, tmp_path: Path) -> None:
    source = _make(case, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    paths = {name: tmp_path / value for name, value in case.settings.items()
             if name in ("phq9", "mapping")}  # fmt: skip
    settings = ImportConfig(**{**case.settings, **paths})
    with pytest.raises(LeadlineError, match=case.match) as caught:
        import_cohort(source, settings, tmp_path / "cohort")
    error = caught.value
    assert error.file is not None
    assert error.file.name == (case.file or next(iter(case.files)))
    assert error.row == case.row
    assert len(error.remedy) > 10
    assert sorted(tmp_path.rglob("*")) == before


def _make(case: Case, folder: Path) -> Path:
    for name, content in case.files.items():
        path = folder / name
        if callable(content):
            content(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
    return folder / next(iter(case.files), "absent.csv")


def test_there_are_many_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


def test_errors_quote_no_words(tmp_path: Path) -> None:
    secret = "zanzibar"
    path = tmp_path / "a.csv"
    for row in (f"p1,c1,{secret},hello,", f"p1,c1,user,{secret},bad", f"{secret},c1,user,,"):
        path.write_text(GOOD + row + "\n")
        with pytest.raises(LeadlineError) as caught:
            import_cohort(path, ImportConfig(), tmp_path / "out")
        assert secret not in str(caught.value)


def test_skip_bad_keeps_the_rest_and_lists_the_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        GOOD + "p1,c1,user,,\np2,c2,user,secret words,2999-01-01T00:00:00Z\np1,c1\n"
        "p2,c3,user,good,2024-05-01T10:00:00Z\n"
    )
    labels = tmp_path / "l.csv"
    labels.write_text(LABELS + "p1,2024-05-02T00:00:00Z,31\np2,2024-05-02T00:00:00Z,8\nzz,,3\n")
    settings = ImportConfig(skip_bad=True, phq9=labels)
    cohort = import_cohort(path, settings, tmp_path / "out")
    assert cohort.turns.height == 3
    assert cohort.phq9["total"].to_list() == [8.0]
    report = cohort.manifest["import"]
    assert report["left_out"] == 5
    assert [(bad["file"], bad["row"]) for bad in report["left_out_rows"]] == [
        ("a.csv", 6), ("a.csv", 4), ("a.csv", 5), ("l.csv", 2), ("l.csv", 4)
    ]  # fmt: skip
    assert "secret" not in json.dumps(cohort.manifest)


def test_output_that_exists_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(GOOD)
    out = tmp_path / "out"
    first = import_cohort(source, ImportConfig(), out)
    with pytest.raises(LeadlineError, match="already exists"):
        import_cohort(source, ImportConfig(), out)
    source.write_text(GOOD + "p1,c1,user,,\n")
    with pytest.raises(LeadlineError, match="empty"):
        import_cohort(source, ImportConfig(), out, overwrite=True)
    assert read_cohort(out).turns.equals(first.turns)
    source.write_text(GOOD + "p1,c1,user,more,2024-05-01T11:00:00Z\n")
    assert import_cohort(source, ImportConfig(), out, overwrite=True).turns.height == 3


def test_output_inside_a_file(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(GOOD)
    with pytest.raises(LeadlineError, match="cannot be made"):
        import_cohort(source, ImportConfig(), source / "cohort")


def test_words_in_the_place_of_a_header_are_never_quoted(tmp_path: Path) -> None:
    words = "I could not get up again today"
    path = tmp_path / "noheader.csv"
    path.write_text(f"p1,user,{words}\np1,bot,{words}\n")
    for settings in ({}, {"format": "table"}, {"column": ("text=body",)}):
        with pytest.raises(LeadlineError) as caught:
            import_cohort(path, ImportConfig(**settings), tmp_path / "cohort")
        assert "get up" not in str(caught.value)


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff", b"a\0b"])
@pytest.mark.parametrize("place", ["source", "out", "above"])
def test_from_python_a_name_in_bytes_that_are_no_utf8_is_one_error(tmp_path, name, place):
    odd = tmp_path / os.fsdecode(name)
    source = tmp_path / "said.csv"
    source.write_text("person_id,role,text\nann,user,low today\n", encoding="utf-8")
    source, out = {"source": (odd, tmp_path / "c"), "out": (source, odd),
                   "above": (source, odd / "c")}[place]  # fmt: skip
    with pytest.raises(LeadlineError, match=r"no UTF-8") as refused:
        import_files(source, ImportConfig(), out)
    assert refused.value.remedy
    str(refused.value).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["said.csv"]
