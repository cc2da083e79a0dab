"""Tables with one row an exchange, and lists of messages in cells."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.support.imports import import_beside, turns_of, words_of, write_source

from leadline.errors import LeadlineError
from leadline.layouts.exchanges import exchange_columns


@pytest.mark.parametrize(
    ("user", "bot"),
    [("user_message", "bot_response"), ("userMessage", "botResponse"), ("Prompt", "Response"),
     ("question", "answer"), ("human", "assistant"), ("frage", "antwort")],
)  # fmt: skip
def test_exchanges(tmp_path: Path, user: str, bot: str) -> None:
    table = (
        f"user_id,session_id,timestamp,{user},{bot}\n"
        "p,c,2024-05-01T10:00:00Z,low,why?\np,c,2024-05-01T10:01:00Z,work,\n"
    )
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert turns_of(cohort) == [
        ("p", "c", 0, "user", "low"), ("p", "c", 1, "assistant", "why?"),
        ("p", "c", 2, "user", "work"),
    ]  # fmt: skip
    messages = cohort.manifest["import"]["messages"]
    assert (messages["read"], messages["turns"]) == (4, 3)
    assert cohort.turns["time"].null_count() == 0


def test_two_columns_that_could_be_the_answer_are_not_clear(tmp_path: Path) -> None:
    assert exchange_columns(["prompt", "chosen", "rejected"]) is None
    assert exchange_columns(["prompt", "response", "answer"]) is None
    source = write_source(tmp_path, "t.csv", "id,prompt,response,answer\n1,a,b,c\n")
    with pytest.raises(LeadlineError, match="role and text"):
        import_beside(source)
    with pytest.raises(LeadlineError, match="not clear which column"):
        import_beside(source, format="exchanges")


def test_nobody_named_is_asked_about(tmp_path: Path) -> None:
    source = write_source(tmp_path, "t.csv", "prompt,response\nlow,why?\n")
    with pytest.raises(LeadlineError, match="no column for the person"):
        import_beside(source)
    assert import_beside(source, person="p").turns.height == 2


@pytest.mark.parametrize("python", [False, True])
def test_lists_of_messages_in_cells(tmp_path: Path, python: bool) -> None:
    messages = [{"role": "user", "content": 'it\'s "low"'}, {"role": "assistant", "content": "?"}]
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["user_id", "messages"])
        writer.writerow(["p", str(messages) if python else json.dumps(messages)])
    assert words_of(import_beside(path)) == [("p", "user", 'it\'s "low"'), ("p", "assistant", "?")]


def test_a_user_column_beside_the_prompt_is_the_person(tmp_path: Path) -> None:
    source = write_source(tmp_path, "t.csv", "user,prompt,completion\np,low,why?\n")
    assert words_of(import_beside(source)) == [("p", "user", "low"), ("p", "assistant", "why?")]


def test_exchanges_in_json_lines(tmp_path: Path) -> None:
    line = {"user_id": "p", "user_message": "low", "bot_message": "why?", "ts": 1714557600}
    cohort = import_beside(write_source(tmp_path, "t.jsonl", [line]))
    assert words_of(cohort) == [("p", "user", "low"), ("p", "assistant", "why?")]
    assert cohort.turns["time"].null_count() == 0


def test_json_beside_the_halves_is_no_message(tmp_path: Path) -> None:
    row = 'p,low,why?,"{""model"": ""m""}"'
    source = write_source(tmp_path, "t.csv", f"user_id,prompt,response,metadata\n{row}\n")
    cohort = import_beside(source)
    assert cohort.manifest["import"]["format"] == "exchanges"
    assert words_of(cohort) == [("p", "user", "low"), ("p", "assistant", "why?")]


def test_a_therapist_who_answers_is_no_program(tmp_path: Path) -> None:
    source = write_source(tmp_path, "t.csv", "pid,patient_text,therapist_text\np,low,why?\n")
    assert words_of(import_beside(source)) == [("p", "user", "low"), ("p", "clinician", "why?")]
