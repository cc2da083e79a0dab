"""Mapping files: what they may say, and how rows become conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.imports import import_beside, import_cohort, turns_of, write_source

from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError
from leadline.layouts.survey import read_mapping
from leadline.sources.config import ImportConfig

TURN = '[[turns]]\nanswer = "words"\n'
PERSON = 'person = "id"\n'


def mapping(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load_survey(tmp_path: Path, table: Any, text: str, **settings: Any) -> Cohort:
    source = tmp_path / ("s.csv" if isinstance(table, str) else "s.parquet")
    if isinstance(table, str):
        source.write_text(table, encoding="utf-8")
    else:
        table.write_parquet(source)
    config = ImportConfig(mapping=mapping(tmp_path, text), **settings)
    return import_cohort(source, config, tmp_path / "cohort")


def test_the_least_mapping(tmp_path: Path) -> None:
    found = read_mapping(mapping(tmp_path, PERSON + TURN))
    assert (found.person, found.turns) == ("id", (("", "words"),))
    assert found.columns() == ["id", "words"]
    assert [found.total, found.items, found.people, found.ignore] == ["", (), (), ()]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (TURN, "'person'"),
        ("person = 5\n" + TURN, "'person'"),
        (PERSON, "'turns'"),
        (PERSON + "turns = []\n", "'turns'"),
        (PERSON + "turns = [1]\n", "'turns'"),
        (PERSON + '[[turns]]\nask = "how?"\n', "'answer'"),
        (PERSON + '[[turns]]\nanswers = "words"\n', "answers"),
        (PERSON + "ignore = [1]\n" + TURN, "'ignore'"),
        (PERSON + "phq9 = 3\n" + TURN, "'phq9'"),
        (PERSON + TURN + "[phq9]\nscore = 'x'\n", "score"),
        (PERSON + TURN + "[phq9]\nitems = ['a', 'b', 'c']\n", "'items'"),
        (PERSON + TURN + "[phq9]\ninstrument = 'gad7'\n", "'instrument'"),
        (PERSON + TURN + "[people]\nlocked = 'x'\n", "people"),
        (PERSON + TURN + "[people]\nage = 3\n", "'age'"),
        (TURN + PERSON, "person"),
        (PERSON + PERSON + TURN, "TOML"),
    ],
)
def test_mappings_that_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = mapping(tmp_path, text)
    with pytest.raises(LeadlineError, match=match) as caught:
        read_mapping(path)
    assert caught.value.file == path or "people" in match


def test_all_other_columns_can_be_ignored_at_once(tmp_path: Path) -> None:
    text = PERSON + 'ignore = ["*"]\n' + TURN
    cohort = load_survey(tmp_path, "id,words,a,b\n1,low,x,y\n", text)
    assert cohort.turns["text"].to_list() == ["low"]
    assert cohort.people.columns == ["person_id", "locked"]


def test_a_survey_in_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {"id": [3, 4], "words": ["low", "fine"], "t": [12.0, None], "age": [30, None]}
    )
    text = PERSON + TURN + '[phq9]\ntotal = "t"\n[people]\nage = "age"\n'
    cohort = load_survey(tmp_path, table, text)
    assert cohort.phq9.select("person_id", "total").rows() == [("3", 12.0)]
    assert cohort.people.rows() == [("3", False, 30.0), ("4", False, None)]
    assert cohort.manifest["import"]["transformations"] == {"rows without a PHQ-9": 1}


def test_an_answer_column_without_text_is_refused(tmp_path: Path) -> None:
    table = pl.DataFrame({"id": [1], "words": [3]})
    with pytest.raises(LeadlineError, match="column words holds no text"):
        load_survey(tmp_path, table, PERSON + TURN)


def test_waves_of_a_person(tmp_path: Path) -> None:
    text = PERSON + 'conversation = "wave"\n' + TURN
    table = "id,wave,words\n1,b,two\n1,a,one\n2,b,three\n"
    cohort = load_survey(tmp_path, table, text)
    assert cohort.turns.select("person_id", "conversation_id", "text").rows() == [
        ("1", "b", "two"), ("1", "a", "one"), ("2", "b", "three")
    ]  # fmt: skip
    twice = tmp_path / "twice.csv"
    twice.write_text(table + "1,a,again\n")
    settings = ImportConfig(mapping=tmp_path / "m.toml")
    with pytest.raises(LeadlineError, match="twice") as caught:
        import_cohort(twice, settings, tmp_path / "other")
    assert caught.value.row == 5


def test_the_phq9_may_have_its_own_time(tmp_path: Path) -> None:
    text = PERSON + 'time = "said"\n' + TURN + '[phq9]\ntotal = "t"\ntime = "asked"\n'
    text += 'instrument = "phq8"\n'
    table = "id,said,words,asked,t\n1,2024-05-01,low,2024-05-03,20\n"
    cohort = load_survey(tmp_path, table, text, timezone="UTC")
    assert str(cohort.turns["time"][0])[:10] == "2024-05-01"
    assert str(cohort.phq9["time"][0])[:10] == "2024-05-03"
    assert cohort.phq9["instrument"].to_list() == ["phq8"]


def test_words_are_kept_to_the_letter(tmp_path: Path) -> None:
    words = '  Ünï \u200b<b>\u00a0"quoted"\n\ttabs  '
    cohort = load_survey(tmp_path, pl.DataFrame({"id": ["x"], "words": [words]}), PERSON + TURN)
    assert cohort.turns["text"].to_list() == [words]


SURVEY = """
person = "id"
time = "day"
ignore = "gad7"
[[turns]]
ask = "Your mood?"
answer = "mood"
[[turns]]
answer = "worry"
[phq9]
items = ["q1","q2","q3","q4","q5","q6","q7","q8","q9"]
[people]
sex = "gender"
"""


def test_survey(tmp_path: Path) -> None:
    mapping = write_source(tmp_path, "map.toml", SURVEY)
    header = "id,day,mood,worry,gad7,gender," + ",".join(f"q{n}" for n in range(1, 10))
    source = write_source(tmp_path, "s.csv", header + "\n"
        "1,2024-05-01,low,much,3,f,1,1,1,1,1,1,1,1,1\n"
        "1,2024-06-01,,some,3,f,3,3,3,NA,3,3,3,3,0\n"
        "2,2024-05-01,fine,,3,m,,,,,,,,,\n")  # fmt: skip
    cohort = import_beside(source, mapping=mapping, timezone="UTC")
    assert turns_of(cohort) == [
        ("1", "1", 0, "assistant", "Your mood?"), ("1", "1", 1, "user", "low"),
        ("1", "1", 2, "user", "much"), ("1", "2", 0, "user", "some"),
        ("2", "1", 0, "assistant", "Your mood?"), ("2", "1", 1, "user", "fine"),
    ]  # fmt: skip
    assert cohort.phq9.select("total", "raw_total", "prorated").rows() == [
        (9.0, 9.0, False), (24.0, 23.625, True)
    ]  # fmt: skip
    assert cohort.people.rows() == [("1", False, "f"), ("2", False, "m")]
    assert cohort.manifest["inputs"].keys() == {"s.csv", "map.toml"}
