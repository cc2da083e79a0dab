"""Layouts that are not read are named, with the way on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leadline.errors import LeadlineError
from leadline.importing.detect import detect_format
from leadline.importing.strangers import ENDINGS, RECORDS, SURE, TEXTS
from leadline.sources.config import ImportConfig
from leadline.sources.rejects import RejectedRows


def refused(path: Path) -> LeadlineError:
    with pytest.raises(LeadlineError) as caught:
        detect_format(path, ImportConfig(), RejectedRows())
    return caught.value


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_kinds_of_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"talk{ending}"
    path.write_bytes(b"x")
    error = refused(path)
    assert ENDINGS[ending] in error.problem
    assert "leadline import turns.csv" in error.remedy or "Unpack" in error.remedy


@pytest.mark.parametrize(("keys", "name", "_"), RECORDS)
def test_kinds_of_json(tmp_path: Path, keys: tuple[str, ...], name: str, _: Any) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps([dict.fromkeys(keys, "x")]))
    error = refused(path)
    assert name in error.problem
    assert "json_normalize" in error.remedy


def test_what_is_not_known_is_told_by_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"alpha": 1, "beta": "secret words"}))
    error = refused(path)
    assert "alpha, beta" in error.problem
    assert "secret" not in str(error)


def test_utterances_without_speakers_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps([{"dialog": ["secret words", "other words"]}]))
    error = refused(path)
    assert "under dialog have no speakers" in error.problem
    assert "secret" not in str(error)


def test_two_columns_of_dialogues_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    text = "Human: low\n\nAssistant: why?"
    path.write_text(json.dumps([{"chosen": text, "rejected": text}]))
    error = refused(path)
    assert "chosen, rejected" in error.problem
    assert "--column text=NAME" in error.remedy


@pytest.mark.parametrize(("keys", "name", "_"), SURE)
def test_layouts_that_could_be_taken_for_a_conversation(
    tmp_path: Path, keys: tuple[str, ...], name: str, _: Any
) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps([{"kind": "first"}, {key: [{"content": "x"}] for key in keys}]))
    assert name in refused(path).problem


@pytest.mark.parametrize(("mark", "name"), TEXTS)
def test_texts_of_messengers(tmp_path: Path, mark: str, name: str) -> None:
    path = tmp_path / "talk.txt"
    path.write_text(f"{mark} x\n10:00\tAnna\tlow\n", encoding="utf-8")
    assert name in refused(path).problem


def test_the_way_on_reads_lines_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"alpha": 1}\n{"alpha": 2}\n')
    assert 'pandas.read_json("log.jsonl", lines=True)' in refused(path).remedy


def test_texts_without_speakers_are_told_apart_from_tables(tmp_path: Path) -> None:
    path = tmp_path / "diary.csv"
    path.write_text("user_id,date,text\np,2024-05-01,secret words\n")
    error = refused(path)
    assert "no column that says who speaks" in error.problem
    assert "person = 'user_id'; time = 'date'" in error.remedy
