"""People columns: types as the source gave them, one value a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.sources.people import PeopleColumns, picked, typed
from leadline.sources.rejects import RejectedRows

FILE = Path("a.csv")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["30", None, "-4"], pl.Int64, [30, None, -4]),
        (["30", "31.5"], pl.Float64, [30.0, 31.5]),
        (["007", "12"], pl.String, ["007", "12"]),
        (["1e5", "2"], pl.String, ["1e5", "2"]),
        (["30", "f"], pl.String, ["30", "f"]),
        ([30, 31], pl.Float64, [30.0, 31.0]),
        ([True, None], pl.Boolean, [True, None]),
        ([True, 2], pl.String, ["True", "2"]),
        ([30, "x"], pl.String, ["30", "x"]),
        ([None], pl.String, [None]),
        ([], pl.String, []),
        (["9" * 30], pl.Float64, [float("9" * 30)]),
    ],
)
def test_columns_take_the_type_that_loses_nothing(
    values: list[Any], kind: Any, expected: list[Any]
) -> None:
    column = typed(values)
    assert column.dtype == kind
    assert column.to_list() == expected


@given(st.lists(st.text() | st.none()))
def test_text_columns_never_lose_a_value(values: list[Any]) -> None:
    column = typed([v if v is None or v.isprintable() else "x" for v in values])
    assert column.len() == len(values)
    assert column.null_count() == values.count(None)


def test_table_lists_speakers_first_then_others() -> None:
    people = PeopleColumns(("age",))
    people.add("quiet", ["60"], FILE, 1, RejectedRows())
    people.add("b", [None], FILE, 2, RejectedRows())
    people.add("b", ["40"], FILE, 3, RejectedRows())
    assert people.table(["c", "b"]).rows() == [
        ("c", False, None), ("b", False, 40), ("quiet", False, 60)
    ]  # fmt: skip


def test_another_value_is_a_bad_row_and_the_first_stays() -> None:
    people, ledger = PeopleColumns(("age", "sex")), RejectedRows(skip_bad=True)
    people.add("a", ["30", "f"], FILE, 2, ledger)
    people.add("a", ["31", "f"], FILE, 7, ledger)
    assert ledger.bad == [
        {"file": "a.csv", "row": 7, "reason": "A person has two different values of age."}
    ]
    assert people.values["a"] == ("30", "f")
    with pytest.raises(LeadlineError, match="age") as caught:
        people.add("a", ["31", "f"], FILE, 7, RejectedRows())
    assert caught.value.row == 7


def test_rows_of_a_frame_are_looked_at_once_each() -> None:
    people = PeopleColumns(("site",))
    rows = pl.DataFrame(
        {"row": [1, 2, 3, 4], "person": ["a", "a", None, "b"], "site": ["n", "n", "q", "s"]}
    )
    people.add_rows(rows, FILE, RejectedRows())
    assert people.values == {"a": ("n",), "b": ("s",)}


def test_picked_takes_plain_values_only() -> None:
    record = {"a": 1, "b": [1], "c": {"d": 1}, "e": "x", "f": False}
    assert picked(record, "abcefg") == [1, None, None, "x", False, None]
