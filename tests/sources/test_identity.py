"""Identifiers that are alike: asked about, joined when told, kept when told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.imports import import_beside, write_source

from leadline.errors import LeadlineError
from leadline.sources.identity import Identities, key_of

TURNS = "person_id,conversation_id,role,text\nP1,a,user,low\np1 ,b,user,fine\nq,c,user,well\n"


@pytest.mark.parametrize("name", ["p1", " P1", "P1 ", "\uff501"])
def test_what_is_alike(name: str) -> None:
    assert key_of(name) == "p1"


def test_a_trailing_zero_of_a_float_is_no_difference_but_a_digit_is() -> None:
    assert key_of("7.0") == key_of("7")
    assert key_of("7.01") != key_of("7")
    assert key_of("p.0") != key_of("p")


def test_alike_identifiers_are_asked_about(tmp_path: Path) -> None:
    source = write_source(tmp_path, "t.csv", TURNS)
    with pytest.raises(LeadlineError, match="1 person identifiers differ") as caught:
        import_beside(source)
    assert "--similar-ids join" in caught.value.remedy
    assert "P1" not in str(caught.value)


def test_they_are_joined_under_the_first_or_kept(tmp_path: Path) -> None:
    labels = write_source(tmp_path, "l.csv", "person_id,total\np1,4\nQ,5\n")
    source = write_source(tmp_path, "t.csv", TURNS)
    cohort = import_beside(source, similar_ids="join", phq9=labels)
    assert cohort.people["person_id"].to_list() == ["P1", "q"]
    assert cohort.phq9.select("person_id", "total").rows() == [("P1", 4), ("q", 5)]
    assert sum(cohort.manifest["import"]["transformations"].values()) == 1
    kept = import_beside(write_source(tmp_path / "k", "t.csv", TURNS), similar_ids="keep")
    assert kept.people.height == 3


def test_a_label_whose_identifier_is_alike_is_asked_about(tmp_path: Path) -> None:
    source = write_source(tmp_path, "t.csv", "person_id,role,text\n7,user,low\n")
    labels = write_source(tmp_path, "l.csv", "person_id,total\n7.0,4\n")
    with pytest.raises(LeadlineError, match="differs from one of the conversations") as caught:
        import_beside(source, phq9=labels)
    assert caught.value.row == 2
    assert import_beside(source, phq9=labels, similar_ids="join").phq9["total"].to_list() == [4]


def test_nothing_is_joined_unasked() -> None:
    assert Identities("keep").one("P1 ") == "P1 "
    Identities("keep").check(["a", "A"], Path("x"))
