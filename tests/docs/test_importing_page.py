"""The examples of docs/importing.md are read as the document says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support import ROOT
from tests.support.imports import import_cohort, write_source

from leadline.layouts.survey import read_mapping, read_survey
from leadline.sources.config import FORMATS, ImportConfig
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import KNOWN

DOCS = ROOT / "docs"
PAGE = (DOCS / "importing.md").read_text(encoding="utf-8")


def block(after: str, language: str = "") -> str:
    """The first code block of a language after a heading."""
    start = PAGE.index(f"\n{after}\n")
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE[start:], re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("heading", "language", "name", "settings", "turns"),
    [
        ("### Long tables", "", "log.csv", ImportConfig(), 2),
        ("### Dialogues in cells", "", "cells.csv", ImportConfig(), 2),
        ("### Exchanges", "", "log.csv", ImportConfig(), 2),
        ("### Folders", "", "hope/1.csv", ImportConfig(one_person_per_conversation=True), 2),
        ("### ChatGPT", "json", "g.json", ImportConfig(person="me"), 2),
        ("### Claude", "json", "c.json", ImportConfig(), 2),
        ("### Discord", "json", "d.json", ImportConfig(), 2),
        ("### Telegram", "json", "result.json", ImportConfig(), 2),
        ("### Slack", "json", "export/dm/2024-05-01.json", ImportConfig(), 2),
        ("### Messenger", "json", "message_1.json", ImportConfig(person_role="Anna"), 2),
        ("### WhatsApp", "", "chat.txt", ImportConfig(person_role="Anna", timezone="UTC"), 2),
        ("### Traces", "json", "t.json", ImportConfig(), 2),
        ("### Rasa", "json", "r.json", ImportConfig(), 2),
        ("### Chat logs", "json", "chat.json", ImportConfig(), 2),
        ("### ShareGPT", "json", "s.json", ImportConfig(one_person_per_conversation=True), 2),
        ("### DAIC-WOZ", "", "300_TRANSCRIPT.csv", ImportConfig(), 2),
        ("### DAIC-WOZ", "csv", "300_Transcript.csv", ImportConfig(), 1),
        ("### Intercom", "json", "i.json", ImportConfig(), 2),
        ("### ConvoKit", "json", "corpus/utterances.jsonl", ImportConfig(), 2),
    ],
)
def test_examples_are_read(
    tmp_path: Path, heading: str, language: str, name: str, settings: ImportConfig, turns: int
) -> None:
    text = block(heading, language)
    if name.endswith(".jsonl"):  # the page breaks its lines
        text = text.replace("\n ", " ")
    path = write_source(tmp_path, name, text)
    if heading == "### Slack":
        write_source(tmp_path, "export/users.json", [{"id": "U1", "name": "anna"}])
    source = tmp_path / name.split("/")[0] if "/" in name else path
    cohort = import_cohort(source, settings, tmp_path / "cohort")
    assert cohort.turns.height == turns
    assert set(cohort.turns["role"]) <= {"user", "assistant", "clinician"}
    assert cohort.turns["role"].n_unique() == min(turns, 2)


def test_label_example_fits_the_table_example(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(block("### Long tables"))
    (tmp_path / "l.csv").write_text(block("## PHQ-9 labels"))
    settings = ImportConfig(phq9=tmp_path / "l.csv")
    cohort = import_cohort(tmp_path / "log.csv", settings, tmp_path / "cohort")
    assert cohort.phq9["total"].to_list() == [14.0]


def labels_on_the_page() -> list[str]:
    """Tables and JSON of labels, in their order."""
    page = PAGE[PAGE.index("## PHQ-9 labels") : PAGE.index("## Dates")]
    return re.findall(r"^```(?:json)?\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def test_every_example_of_labels_is_read(tmp_path: Path) -> None:
    source = write_source(tmp_path, "log.csv", block("### Long tables"))
    totals = []
    for number, text in enumerate(labels_on_the_page()):
        name = f"l{number}.{'json' if text.startswith('{') else 'csv'}"
        labels = ImportConfig(phq9=write_source(tmp_path, name, text), timezone="UTC")
        cohort = import_cohort(source, labels, tmp_path / f"cohort{number}")
        assert cohort.phq9["time"].null_count() == 0
        totals.append(cohort.phq9["total"].to_list())
    assert totals == [[14], [8], [14, 9], [9], [14, 9], [14]]


def test_mapping_examples_are_valid(tmp_path: Path) -> None:
    text = block("### Surveys", "toml")
    (tmp_path / "m.toml").write_text(text)
    mapping = read_mapping(tmp_path / "m.toml")
    assert mapping.conversation == "wave"
    assert len(mapping.items) == 9
    columns = [*mapping.columns(), *mapping.ignore]
    (tmp_path / "s.csv").write_text(",".join(columns) + "\n")
    read_survey(tmp_path / "s.csv", ImportConfig(mapping=tmp_path / "m.toml"), RejectedRows())
    example = read_mapping(DOCS / "examples" / "checkin.toml")
    assert [bool(ask) for ask, _ in example.turns] == [True] * 6


def test_every_format_and_speaker_is_named() -> None:
    for layout in FORMATS[1:]:
        assert f"| `{layout}` |" in PAGE
    for word, role in KNOWN.items():
        row = re.search(rf"^\| {role} \| (.*) \|$", PAGE, re.MULTILINE)
        assert row is not None
        assert word in row[1].split(", ")
