"""Values of JSON records, and rows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leadline.sources.records import RawTurns, at, encodable, identifier
from leadline.sources.rejects import RejectedRows

FILE = Path("a.csv")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        (7, "7"),
        (" ", None),
        (None, None),
        (True, None),
        (1.0, "1"),
        (1.5, None),
        (1e17, None),
        ("\udc00", None),
    ],
)
def test_identifiers_of_json(value: Any, expected: str | None) -> None:
    assert identifier(value) == expected


def test_values_inside_objects() -> None:
    record = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "e": [1]}
    assert [at(record, path) for path in ("a.b", "a.c.d", "e.0", "x", "a.x.y")] == [
        1, 3, None, None, None
    ]  # fmt: skip


def test_rows_reject_what_no_table_can_hold() -> None:
    ledger = RejectedRows(skip_bad=True)
    rows = RawTurns(FILE, ledger)
    rows.add("1", "p", "c", "user", "fine \U0001f600", 5)
    for speaker, text, time in ((1, "a", None), ("user", ["a"], None), ("user", "a", True),
                                ("user", "\ud83d", None), ("\ud83d", "a", None)):  # fmt: skip
        rows.add("2", "p", "c", speaker, text, time)
    batch = rows.batch()
    assert batch.rows.select("text", "time").rows() == [("fine \U0001f600", "5")]
    assert len(ledger.bad) == 5
    assert rows.batch().rows.is_empty()
    assert encodable(None)
