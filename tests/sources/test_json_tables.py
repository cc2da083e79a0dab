"""Rows and columns of a label table in JSON."""

from __future__ import annotations

from typing import Any

import pytest

from leadline.sources.json_tables import flat_row, json_column, table_rows


@pytest.mark.parametrize(
    "value",
    [
        {"labels": [{"person_id": "p1", "total": 14}, {"person_id": "p2", "total": 3}]},
        {"p1": 14, "p2": 3},
        {"p1": {"total": 14}, "p2": {"total": 3}},
        {"p1": [{"total": 14}], "p2": [{"total": 3}]},
    ],
)
def test_rows_lie_in_a_wrapper_or_by_person(value: Any) -> None:
    assert table_rows(value) == [{"person_id": "p1", "total": 14}, {"person_id": "p2", "total": 3}]


def test_rows_lie_by_visit_or_inside_a_person() -> None:
    visits = {"p1": {"first": {"date": "2024-05-03", "phq9": 14}, "last": {"phq9": 9}}}
    assert table_rows(visits) == [
        {"person_id": "p1", "visit": "first", "date": "2024-05-03", "phq9": 14},
        {"person_id": "p1", "visit": "last", "phq9": 9},
    ]
    inside = {"id": "p1", "tests": [{"phq9": 14}, {"phq9": 9}]}
    answers = {"id": "p1", "at": "x", "list": [{"questionId": "phq9_1", "value": 2}]}
    assert table_rows(answers) == [{"id": "p1", "at": "x", "questionId": "phq9_1", "value": 2}]
    tags = {"id": "p1", "phq9": 3, "tags": [{"name": "a"}]}
    assert table_rows(tags) == [tags]
    assert table_rows(inside) == [{"id": "p1", "phq9": 14}, {"id": "p1", "phq9": 9}]


@pytest.mark.parametrize("row", [{"id": "p1", "phq9": 14}, {"user": "p1", "items": [1, 2]}, 3])
def test_a_row_is_itself(row: Any) -> None:
    assert table_rows(row) == [row]


def test_what_lies_deeper_is_a_column() -> None:
    row = {"id": "p1", "phq9": {"items": [1, 0], "total": 1}, "none": None, "empty": {}}
    assert flat_row(row) == {
        "id": "p1", "phq9.items.1": 1, "phq9.items.2": 0, "phq9.total": 1, "none": None,
        "empty": None,
    }  # fmt: skip


def test_numbers_beside_text_are_text() -> None:
    assert json_column("a", [1, "b", None]).to_list() == ["1", "b", None]
    assert json_column("a", [1, 2.5]).to_list() == [1.0, 2.5]
