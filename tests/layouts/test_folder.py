"""Folders with one file a dialogue."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.imports import import_beside, turns_of, words_of, write_source

from leadline.errors import LeadlineError

HOPE = "ID,Type,Utterance,Dialogue_Act\n1,T,How are you?,irq\n2,P,Low.,id\n"


def test_tables_whose_speakers_are_letters(tmp_path: Path) -> None:
    folder = tmp_path / "hope"
    for name in ("2", "10"):
        write_source(folder, f"{name}.csv", HOPE)
    with pytest.raises(LeadlineError, match="no column for the person"):
        import_beside(folder)
    cohort = import_beside(folder, one_person_per_conversation=True)
    assert turns_of(cohort) == [
        ("2", "2", 0, "clinician", "How are you?"), ("2", "2", 1, "user", "Low."),
        ("10", "10", 0, "clinician", "How are you?"), ("10", "10", 1, "user", "Low."),
    ]  # fmt: skip
    assert cohort.manifest["import"]["format"] == "folder"
    assert set(cohort.manifest["inputs"]) == {"2.csv", "10.csv"}


def test_transcripts_in_plain_text(tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    write_source(folder, "a.txt", "Therapist: How are you?\nPatient: Low.\nToo low.\n")
    write_source(folder, "b.txt", "Patient: Fine.\nTherapist: Good.\n")
    cohort = import_beside(folder, one_person_per_conversation=True)
    assert turns_of(cohort) == [
        ("a", "a", 0, "clinician", "How are you?"), ("a", "a", 1, "user", "Low.\nToo low."),
        ("b", "b", 0, "user", "Fine."), ("b", "b", 1, "clinician", "Good."),
    ]  # fmt: skip


def test_json_files_and_one_person_for_all(tmp_path: Path) -> None:
    folder = tmp_path / "chats"
    for name in ("a", "b"):
        write_source(folder, f"{name}.json", {"messages": [{"role": "user", "content": name}]})
    cohort = import_beside(folder, person="me")
    assert [line[:2] for line in turns_of(cohort)] == [("me", "a"), ("me", "b")]


def test_one_transcript(tmp_path: Path) -> None:
    source = write_source(tmp_path, "a.txt", "Patient: Low.\nTherapist: Why?\n")
    with pytest.raises(LeadlineError, match="does not say who"):
        import_beside(source)
    assert import_beside(source, person="p").turns.height == 2


def test_files_beside_the_dialogues_are_none_and_deeper_folders_are_told(tmp_path: Path) -> None:
    talk = "Client: low\nTherapist: why?\n"
    write_source(tmp_path, "talks/README.txt", "About these talks.")
    write_source(tmp_path, "talks/a.txt", talk)
    cohort = import_beside(tmp_path / "talks", one_person_per_conversation=True)
    assert len(words_of(cohort)) == 2
    write_source(tmp_path, "more/people/anna/a.txt", talk)
    with pytest.raises(LeadlineError, match="a file a dialogue") as refused:
        import_beside(tmp_path / "more" / "people")
    assert "--person ID" in refused.value.remedy
    assert "anna" not in refused.value.remedy


@pytest.mark.parametrize(
    "text",
    ["Therapist  0:03\nWhy?\n\nClient  0:10\nLow.\n", "[Therapist] 10:00:01\nWhy?\n\n[Client] "
     "10:00:10\nLow.\n"],
)  # fmt: skip
def test_transcripts_whose_speakers_stand_in_a_line_of_their_own(tmp_path: Path, text: str) -> None:
    cohort = import_beside(write_source(tmp_path, "a.txt", text), person="p")
    assert words_of(cohort) == [("p", "clinician", "Why?"), ("p", "user", "Low.")]


def test_questions_and_answers_are_named(tmp_path: Path) -> None:
    source = write_source(tmp_path, "a.txt", "Q: Why?\nA: Low.\nQ: Since when?\nA: May.\n")
    with pytest.raises(LeadlineError, match="names no speaker") as caught:
        import_beside(source, person="p")
    assert "--person-role A --role Q=clinician" in caught.value.remedy
    cohort = import_beside(source, person="p", person_role="A", role=("Q=clinician",))
    assert [text for _, role, text in words_of(cohort) if role == "user"] == ["Low.", "May."]
