"""Labels: columns found by name, scored, refused, and FHIR resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.phq9.items import ITEM_COLUMNS
from leadline.questionnaires.answers import number
from leadline.questionnaires.labels import label_table, table_labels
from leadline.sources.config import ImportConfig
from leadline.sources.label import Label
from leadline.sources.rejects import RejectedRows
from leadline.tables import PHQ9

FILE = Path("l.csv")


def label(**changes: Any) -> Label:
    return Label(FILE, 2, "p", "2024-05-01T00:00:00Z", 9, (), "phq9")._replace(**changes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("12", 12.0), (" 3 ", 3.0), ("NA", None), ("", None), ("nan", None), (".", None),
     ("high", "high"), (4, 4), (None, None)],
)  # fmt: skip
def test_numbers_of_text(value: Any, expected: Any) -> None:
    assert number(value) == expected


def test_a_table_of_items_with_given_names(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    names = [f"answer {n}" for n in range(1, 10)]
    path.write_text("who," + ",".join(names) + "\np," + ",".join("112233001") + "\n")
    columns = (
        "person=who",
        *(f"{item}={name}" for item, name in zip(ITEM_COLUMNS, names, strict=True)),
    )
    labels = list(table_labels(path, ImportConfig(phq9_column=columns), RejectedRows()))
    table = label_table(labels, ImportConfig(), RejectedRows(), {"p"})
    assert table.schema == PHQ9
    assert table.select("person_id", "total", "item_3", "prorated").rows() == [
        ("p", 13.0, 2, False)
    ]


@given(st.lists(st.integers(0, 3) | st.none(), min_size=9, max_size=9), st.integers(0, 27))
def test_any_answers_give_a_valid_row_or_a_listed_one(items: list[int | None], total: int) -> None:
    ledger = RejectedRows(skip_bad=True)
    given_labels = [label(items=tuple(items), total=None), label(person="q", total=total)]
    table = label_table(given_labels, ImportConfig(), ledger, {"p", "q"})
    assert table.height + len(ledger.bad) == 2
    assert table["total"].is_between(0, 27).all()
    assert (table["total"] - table["raw_total"]).abs().max() <= 0.5
    assert "q" in table["person_id"]


def test_times_of_mixed_kinds() -> None:
    labels = [label(time=1714521600), label(time="2024-05-02T00:00:00Z"), label(time=None)]
    table = label_table(labels, ImportConfig(), RejectedRows(), {"p"})
    assert [str(time)[:10] for time in table["time"]] == ["2024-05-01", "2024-05-02", "None"]


def test_the_start_of_the_day_is_noted() -> None:
    ledger = RejectedRows()
    settings = ImportConfig(timezone="America/New_York")
    table = label_table([label(time="2024-05-01")], settings, ledger, {"p"})
    assert str(table["time"][0]) == "2024-05-01 04:00:00+00:00"
    assert list(ledger.notes) == ["PHQ-9 dates without a time, taken as the start of the day"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"person": None}, "person identifier"),
        ({"person": "stranger"}, "says nothing"),
        ({"instrument": "gad7"}, "instrument"),
        ({"total": 28}, "0 to 27"),
        ({"total": 25, "instrument": "phq8"}, "0 to 24"),
        ({"total": None}, "Too many"),
        ({"time": "2999-01-01T00:00:00Z"}, "future"),
        ({"time": "soon"}, "ISO 8601"),
    ],
)
def test_a_bad_label_is_left_out_and_the_good_one_stays(
    changes: dict[str, Any], reason: str
) -> None:
    ledger = RejectedRows(skip_bad=True)
    good = label(row=3, time="2023-01-01T00:00:00Z")
    table = label_table([label(**changes), good], ImportConfig(), ledger, {"p"})
    assert table.height == 1
    assert [bad["row"] for bad in ledger.bad] == [2]
    assert reason in ledger.bad[0]["reason"]
