"""Rows of survey platforms that are no answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.imports import import_beside, write_source

from leadline.sources.platforms import QUALTRICS_ROWS, SURVEYMONKEY_ROWS, head_of, is_preview

IDS = ['{"ImportId":"a"}', '{"ImportId":"b"}']


def test_qualtrics_with_and_without_the_row_of_questions() -> None:
    head = head_of(["a", "b"], [["How?", "Why?"], IDS])
    assert (head.rows, head.texts, head.note) == (2, {"a": "How?", "b": "Why?"}, QUALTRICS_ROWS)
    assert head_of(["a", "b"], [IDS, ["1", "2"]]).rows == 1
    assert head_of(["a", "b"], [["1", "2"], ["3", "4"]]).rows == 0


def test_surveymonkey_names_the_rows_of_a_matrix() -> None:
    names = ["Respondent ID", "Collector ID", "How was it?", "In the last two weeks", "", "Age"]
    below = ["", "", "Open-Ended Response", "Little interest", "Feeling down", "Response"]
    head = head_of(names, [below])
    assert head.names == [*names[:3], "Little interest", "Feeling down", "Age"]
    assert (head.rows, head.note) == (1, SURVEYMONKEY_ROWS)
    assert head_of(names, [["118", "42", "Well.", "1", "2", "30"]]).rows == 0


@pytest.mark.parametrize(("cell", "preview"), [("Survey Preview", True), ("IP Address", False)])
def test_previews(cell: str, preview: bool) -> None:
    assert is_preview(["x", cell], [1]) == preview


def test_a_preview_of_qualtrics_is_passed_over_and_counted(tmp_path: Path) -> None:
    table = (
        "Status,pid,role,text\nResponse Type,Person,Role,Words\n"
        + ",".join(f'"{{""ImportId"":""{n}""}}"' for n in range(4))
        + "\nIP Address,p1,user,low\nSurvey Preview,test,user,trying it out\n"
    )
    source = write_source(tmp_path, "q.csv", table)
    cohort = import_beside(source, format="table", column=("person=pid",))
    assert cohort.turns["text"].to_list() == ["low"]
    changes = cohort.manifest["import"]["transformations"]
    assert changes["test rows of Qualtrics (survey preview), passed over"] == 1
    assert changes[QUALTRICS_ROWS] == 2
