"""Rows of tables that repeat a message or belong to a branch that was given up."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.imports import import_beside, words_of, write_source

from leadline.layouts.table_rows import ANNOTATED
from leadline.layouts.unsaid import BRANCHES, REPEATS


def test_doubled_identifiers(tmp_path: Path) -> None:
    table = (
        "message_id,person_id,role,text\n1,p,user,low\n1,p,user,low\n2,p,bot,why?\n,p,user,x\n"
        ",p,user,x\n"
    )
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert [text for _, _, text in words_of(cohort)] == ["low", "why?", "x", "x"]
    assert cohort.manifest["import"]["messages"]["left_out_by_rule"] == {REPEATS: 1}


def test_an_identifier_of_the_row_repeats_nothing(tmp_path: Path) -> None:
    table = "id,person_id,role,text\n1,p,user,low\n2,p,user,low\n"
    assert import_beside(write_source(tmp_path, "t.csv", table)).turns.height == 2


@pytest.mark.parametrize("name", ["annotator_id", "raterName", "coder"])
def test_one_row_an_annotator(tmp_path: Path, name: str) -> None:
    table = f"person_id,turn,role,text,{name}\np,1,user,low,a\np,1,user,low,b\np,2,bot,why?,a\n"
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert cohort.turns.height == 2
    assert cohort.manifest["import"]["messages"]["left_out_by_rule"] == {ANNOTATED: 1}


def test_branches_by_parents(tmp_path: Path) -> None:
    table = (
        "message_id,parent_id,conversation_id,person_id,role,text,time\n"
        "a,,c,p,user,low,2024-05-01T10:00:00Z\n"
        "b,a,c,p,assistant,given up,2024-05-01T10:01:00Z\n"
        "b2,a,c,p,assistant,why?,2024-05-01T10:02:00Z\n"
        "d,b2,c,p,user,work,2024-05-01T10:03:00Z\n"
    )
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert [text for _, _, text in words_of(cohort)] == ["low", "why?", "work"]
    assert cohort.manifest["import"]["messages"]["left_out_by_rule"] == {BRANCHES: 1}


def test_messages_that_were_edited_are_there_once(tmp_path: Path) -> None:
    table = (
        "message_id,person_id,role,text,edited_at\n"
        "1,p,user,old,\n1,p,user,low,2024-05-01\n2,p,bot,why?,\n"
    )
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert [text for _, _, text in words_of(cohort)] == ["low", "why?"]
    assert cohort.manifest["import"]["messages"]["left_out_by_rule"] == {BRANCHES: 1}
