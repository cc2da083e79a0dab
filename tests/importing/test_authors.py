"""Whose identifier a table holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.imports import import_beside, turns_of, write_source

from leadline.errors import LeadlineError

HEAD = "conversation_id,user_id,role,text\n"


def test_authors_are_joined_under_the_person(tmp_path: Path) -> None:
    table = (
        HEAD + "a,p,user,low\na,t,therapist,why?\na,p,user,work\nb,q,user,fine\nb,t,therapist,ok\n"
    )
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert [line[:4] for line in turns_of(cohort)] == [
        ("p", "a", 0, "user"), ("p", "a", 1, "clinician"), ("p", "a", 2, "user"),
        ("q", "b", 0, "user"), ("q", "b", 1, "clinician"),
    ]  # fmt: skip
    assert sum(cohort.manifest["import"]["transformations"].values()) == 2


def test_rows_of_a_bot_may_name_nobody(tmp_path: Path) -> None:
    table = HEAD + "a,,bot,hello\na,p,user,low\nb,q,user,fine\n"
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert [line[0] for line in turns_of(cohort)] == ["p", "p", "q"]


@pytest.mark.parametrize("row", ["a,,user,who?", "c,,bot,to whom?"])
def test_rows_that_nobody_can_be_found_for_are_bad(tmp_path: Path, row: str) -> None:
    source = write_source(tmp_path, "t.csv", HEAD + "a,p,user,low\n" + row + "\n")
    with pytest.raises(LeadlineError, match="person identifier is missing") as caught:
        import_beside(source)
    assert caught.value.row == 3
    cohort = import_beside(source, skip_bad=True)
    assert cohort.turns.height == 1
    assert cohort.manifest["import"]["messages"]["bad"] == 1


def test_names_of_conversations_that_people_share_are_no_sign(tmp_path: Path) -> None:
    """Conversation 1 of p, of q and of r: each person's own, and r never answered."""
    table = HEAD + "1,p,user,low\n1,p,bot,why?\n1,q,user,fine\n1,q,bot,ok\n1,r,bot,hello?\n"
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert cohort.people["person_id"].to_list() == ["p", "q", "r"]


def test_several_people_in_a_conversation_of_authors_are_asked_about(tmp_path: Path) -> None:
    table = HEAD + "a,p,user,low\na,q,user,fine\na,t,therapist,why?\n"
    with pytest.raises(LeadlineError, match="several people"):
        import_beside(write_source(tmp_path, "t.csv", table))


@pytest.mark.parametrize(("user", "bot"), [("0", "1"), ("A", "B"), ("user", "bot")])
def test_speakers_of_every_dialogue_are_nobody(tmp_path: Path, user: str, bot: str) -> None:
    rows = "".join(f"{name},{user},user,low\n{name},{bot},bot,why?\n" for name in "abc")
    source = write_source(tmp_path, "t.csv", HEAD + rows)
    with pytest.raises(LeadlineError, match="a speaker, and nobody's") as caught:
        import_beside(source)
    assert "--one-person-per-conversation" in caught.value.remedy
    cohort = import_beside(source, one_person_per_conversation=True)
    assert cohort.people["person_id"].to_list() == ["a", "b", "c"]


def test_one_real_person_may_have_many_conversations(tmp_path: Path) -> None:
    table = HEAD + "a,p,user,low\nb,p,user,fine\n"
    assert import_beside(write_source(tmp_path, "t.csv", table)).people.height == 1
