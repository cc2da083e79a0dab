"""Identifiers of a column as text."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from leadline.errors import LeadlineError
from leadline.sources.batch import as_identifier

FILE = Path("a.csv")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series(["007", None]), ["007", None]),
        (pl.Series([7, None]), ["7", None]),
        (pl.Series([7.0, None, float("nan")]), ["7", None, None]),
        (pl.Series([2**63], dtype=pl.UInt64), [str(2**63)]),
        (pl.Series(["x"], dtype=pl.Categorical), ["x"]),
        (pl.Series([None]), [None]),
    ],
)
def test_identifiers(values: pl.Series, expected: list[str | None]) -> None:
    assert as_identifier(values, "person", FILE).to_list() == expected


@pytest.mark.parametrize("values", [[True], [1.5], [b"x"], [datetime(2024, 1, 1)], [[1]]])
def test_what_is_no_identifier(values: list[Any]) -> None:
    with pytest.raises(LeadlineError, match="person column"):
        as_identifier(pl.Series(values), "person", FILE)
