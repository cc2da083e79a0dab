"""What a source is taken for, and when the answer is a question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leadline.errors import LeadlineError
from leadline.importing.detect import detect_format
from leadline.sources.config import ImportConfig
from leadline.sources.rejects import RejectedRows

MESSAGES = [{"role": "user", "content": "a"}]
SHARED = [{"from": "human", "value": "a"}]


def detect(path: Path, **settings: Any) -> str:
    layout, seen = detect_format(path, ImportConfig(**settings), RejectedRows())
    assert len(seen) > 5
    return layout


def put(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("record", "layout"),
    [
        ({"messages": MESSAGES}, "chat"),
        ({"conversations": SHARED}, "sharegpt"),
        ({"conversations": MESSAGES}, "chat"),
        ({"conversations": [{"messages": MESSAGES}]}, "chat"),
        ({"data": [{"conversations": SHARED}]}, "sharegpt"),
        ({"role": "user", "content": "a", "user_id": "1"}, "chat"),
        ({"id": "1", "source": {}, "conversation_parts": {}}, "intercom"),
        ({"conversations": [{"conversation_parts": {}}]}, "intercom"),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json(tmp_path: Path, record: Any, layout: str, name: str) -> None:
    assert detect(put(tmp_path, name, json.dumps(record))) == layout
    if "data" not in record:
        assert detect(put(tmp_path, name, json.dumps(record) + "\n")) == layout


@pytest.mark.parametrize(
    "record",
    [
        {"messages": MESSAGES, "conversation_parts": {}},
        {"text": "a"},
        [1],
        "a",
        None,
    ],
)
def test_unclear_json_asks_for_the_format(tmp_path: Path, record: Any) -> None:
    path = put(tmp_path, "a.json", json.dumps([record]))
    with pytest.raises(LeadlineError) as caught:
        detect(path)
    assert "--format" in caught.value.remedy
    assert "sharegpt" in caught.value.remedy


def test_tables_and_surveys(tmp_path: Path) -> None:
    table = put(tmp_path, "a.csv", "person_id,speaker,message\n")
    assert detect(table) == "table"
    assert detect(table, mapping=tmp_path / "m.toml") == "survey"
    odd = put(tmp_path, "b.tsv", "id\tq1\tbody\tx\n")
    assert detect(odd, column=("role=x", "text=body")) == "table"
    with pytest.raises(LeadlineError, match="role and text") as caught:
        detect(odd)
    assert "--mapping" in caught.value.remedy


def test_folders(tmp_path: Path) -> None:
    put(tmp_path, "daic/sub/301_Transcript.csv", "x")
    assert detect(tmp_path / "daic") == "daic"
    assert detect(tmp_path / "daic" / "sub" / "301_Transcript.csv") == "daic"
    put(tmp_path, "kit/utterances.jsonl", "{}")
    assert detect(tmp_path / "kit") == "convokit"
    put(tmp_path, "kit/300_TRANSCRIPT.csv", "x")
    with pytest.raises(LeadlineError, match="ConvoKit corpus and DAIC"):
        detect(tmp_path / "kit")
    put(tmp_path, "other/a.csv", "x")
    with pytest.raises(LeadlineError, match="neither"):
        detect(tmp_path / "other")


def test_a_cohort_is_not_imported_again(tmp_path: Path) -> None:
    put(tmp_path, "c/manifest.json", "{}")
    put(tmp_path, "c/turns.parquet", "")
    with pytest.raises(LeadlineError, match="cohort already"):
        detect(tmp_path / "c")
