"""Whatever the bytes, an importer succeeds or raises `LeadlineError`."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.imports import import_cohort

from leadline.errors import LeadlineError
from leadline.sources.config import ImportConfig
from leadline.sources.times import to_utc

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["user", "assistant", "human", "gpt", "2024-05-01T00:00:00Z", "44261-6"]),
)  # fmt: skip
KEYS = st.sampled_from(
    ["person_id", "id", "messages", "conversations", "role", "content", "from", "value", "text",
     "speaker", "time", "conversation_parts", "source", "author", "type", "body", "contacts",
     "resourceType", "item", "entry", "status", "subject", "reference", "code", "coding",
     "valueInteger", "answer", "linkId", "timestamp", "conversation_id", "meta", "external_id",
     "mapping", "message", "parent", "children", "current_node", "parts", "chat_messages", "sender",
     "isBot", "from_id", "sender_name", "timestamp_ms", "input", "output", "events", "event",
     "sender_id", "userId", "createdAt", "data", "kwargs", "attributes", "resourceSpans", "chat",
     "history", "ancestors", "parent_id", "message_id", "deleted", "metadata", "extension", "url",
     "contained", "questionnaire", "valueCoding", "display"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=20,
)
GOOD_TURN = "person_id,role,text\np,user,hello\n"


def attempt(source: Path, folder: Path, **kwargs: Any) -> None:
    """Import; a failure has to be a LeadlineError and to leave nothing."""
    out = folder / "cohort"
    for skip in (False, True):
        with suppress(LeadlineError):
            cohort = import_cohort(
                source, ImportConfig(skip_bad=skip, **kwargs), out, overwrite=True
            )
            assert cohort.turns.height > 0
            assert cohort.phq9["total"].is_between(0, 27).all()
    left = {path.name for path in folder.iterdir()}
    assert not {name for name in left if name.startswith(".")}


@pytest.mark.parametrize(
    "layout",
    ["chat", "sharegpt", "intercom", "auto", "chatgpt", "claude", "discord", "telegram",
     "messenger", "traces", "rasa", "cells"],
)  # fmt: skip
@given(records=st.lists(VALUES, min_size=1, max_size=4))
@FUZZ
def test_json_layouts(tmp_path_factory: pytest.TempPathFactory, layout: str, records: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    source = folder / "a.json"
    source.write_text(json.dumps(records))
    attempt(source, folder, format=layout)
    attempt(source, folder, format=layout, one_person_per_conversation=True)


MESSAGE = st.fixed_dictionaries({"role": SCALARS | st.just("user"), "content": VALUES},
                                optional={"time": SCALARS})  # fmt: skip


@given(st.lists(st.fixed_dictionaries({"person_id": SCALARS, "messages": st.lists(MESSAGE)}),
                min_size=1, max_size=4))  # fmt: skip
@FUZZ
def test_near_chats(tmp_path_factory: pytest.TempPathFactory, records: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    source = folder / "a.jsonl"
    source.write_text("\n".join(map(json.dumps, records)))
    attempt(source, folder, format="chat")


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=6), min_size=1, max_size=4))
@FUZZ
def test_convokit(tmp_path_factory: pytest.TempPathFactory, records: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "utterances.jsonl").write_text("\n".join(map(json.dumps, records)))
    attempt(corpus, folder, format="convokit")


CELLS = st.sampled_from(["", "p", "user", "bot", "hello", "2024-05-01", "1714557600", "12", "NaN",
                         '"', "a\nb", "0", "3"]) | st.text(max_size=6)  # fmt: skip


@given(st.lists(st.lists(CELLS, min_size=3, max_size=5), max_size=6), st.sampled_from(",;\t"))
@FUZZ
def test_text_tables(tmp_path_factory: pytest.TempPathFactory, rows: Any, separator: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    source = folder / "a.csv"
    header = separator.join(("person_id", "role", "text", "time"))
    lines = [header, *(separator.join(row) for row in rows)]
    source.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    attempt(source, folder, format="table")
    good = folder / "good.csv"
    good.write_text(GOOD_TURN)
    text = source.read_text().replace("role", "total", 1).replace("text", "item_1", 1)
    source.write_text(text)
    attempt(good, folder, phq9=source, timezone="UTC")


@given(st.binary(max_size=400))
@FUZZ
def test_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("a.csv", "a.json", "a.jsonl", "a.parquet", "300_TRANSCRIPT.csv"):
        (folder / name).write_bytes(content)
        attempt(folder / name, folder)
    (folder / "300_TRANSCRIPT.csv").write_bytes(b"start_time\tspeaker\tvalue\n" + content)
    attempt(folder / "300_TRANSCRIPT.csv", folder)


@given(VALUES)
@FUZZ
def test_fhir(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    labels = folder / "l.json"
    observation = {"resourceType": "Observation", "status": "final",
                   "subject": {"reference": "Patient/p"}, "valueInteger": value,
                   "code": {"coding": [{"code": "44261-6"}]}}  # fmt: skip
    response = {"resourceType": "QuestionnaireResponse", "status": "completed", "item": value,
                "subject": {"reference": "Patient/p"}}  # fmt: skip
    labels.write_text(json.dumps([value, observation, response]))
    source = folder / "a.csv"
    source.write_text(GOOD_TURN)
    attempt(source, folder, phq9=labels)


TOML = st.text(alphabet='person="turns"[]{}\n answer,1.', max_size=60)


@given(TOML)
@FUZZ
def test_mapping_files(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "m.toml").write_text('person = "p"\n' + text)
    (folder / "a.csv").write_text("p,turns,answer\n1,a,b\n")
    attempt(folder / "a.csv", folder, mapping=folder / "m.toml")


@given(st.lists(st.text(max_size=30) | st.none(), max_size=5) | st.lists(st.floats(), max_size=5))
def test_times_have_a_verdict(values: Any) -> None:
    series = pl.Series(values, dtype=None if values else pl.String, strict=False)
    told = to_utc(series, "")
    given_values = pl.Series([value is not None for value in values], dtype=pl.Boolean)
    assert told.height == len(values)
    verdict = told["time"].is_not_null() | told["bad"] | told["offset"].is_not_null()
    assert (verdict == given_values).all()


@given(st.datetimes(min_value=pl.Series([1e9]).cast(pl.Int64).cast(pl.Datetime("us"))[0]))
def test_iso_times_are_read_back(moment: Any) -> None:
    texts = [moment.isoformat() + "Z", moment.isoformat(sep=" ") + "+00:00"]
    told = to_utc(pl.Series(texts), "")["time"].dt.replace_time_zone(None)
    assert told.to_list() == [moment, moment]
