"""Labels: columns found by name, scored, refused, and FHIR resources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.importing.config import ImportConfig
from leadline.importing.fhir import fhir_labels
from leadline.importing.labels import (
    LABEL_COLUMN_NAMES,
    Label,
    find_columns,
    label_table,
    number,
    table_labels,
)
from leadline.importing.rejects import RejectedRows
from leadline.phq9.items import ITEM_COLUMNS, LOINC_ANSWERS, LOINC_ITEMS
from leadline.tables import PHQ9

FILE = Path("l.csv")


def label(**changes: Any) -> Label:
    return Label(FILE, 2, "p", "2024-05-01T00:00:00Z", 9, (), "phq9")._replace(**changes)


def test_columns_are_found_by_usual_names() -> None:
    header = ["PHQ1", "phq2", "Date", "Patient_ID", "PHQ9_Total", "notes"]
    assert find_columns(header, {}, LABEL_COLUMN_NAMES, "--phq9-column", FILE) == {
        "person": "Patient_ID", "time": "Date", "total": "PHQ9_Total",
        "item_1": "PHQ1", "item_2": "phq2",
    }  # fmt: skip


def test_what_is_given_is_used_once() -> None:
    header = ["person_id", "total", "score"]
    found = find_columns(header, {"total": "score"}, LABEL_COLUMN_NAMES, "--phq9-column", FILE)
    assert found == {"person": "person_id", "total": "score"}
    with pytest.raises(LeadlineError, match="no column points"):
        find_columns(header, {"total": "points"}, LABEL_COLUMN_NAMES, "--phq9-column", FILE)


def test_two_usual_names_need_a_word_unless_one_is_exact() -> None:
    with pytest.raises(LeadlineError, match="date, created_at") as caught:
        find_columns(
            ["person_id", "date", "created_at"], {}, LABEL_COLUMN_NAMES, "--phq9-column", FILE
        )
    assert "--phq9-column time=NAME" in caught.value.remedy
    assert find_columns(["date", "time"], {}, LABEL_COLUMN_NAMES, "--phq9-column", FILE) == {
        "time": "time"
    }


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


def observation(code: str, **value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2024-05-01T00:00:00Z", **value,
    }  # fmt: skip


def read(tmp_path: Path, *resources: Any) -> tuple[list[Label], RejectedRows]:
    path = tmp_path / "l.json"
    path.write_text(json.dumps(resources))
    ledger = RejectedRows(skip_bad=True)
    return list(fhir_labels(path, ledger)), ledger


@pytest.mark.parametrize(
    "value",
    [
        {"valueInteger": 3},
        {"valueQuantity": {"value": 3, "unit": "{score}"}},
        {"valueCodeableConcept": {"coding": [{"code": "LA6571-9"}]}},
    ],
)
def test_kinds_of_observed_values(tmp_path: Path, value: dict[str, Any]) -> None:
    resources = [observation(code, **value) for code in LOINC_ITEMS]
    (found,), _ = read(tmp_path, *resources)
    assert found.items == (3,) * 9
    assert found.instrument == "phq9"


def test_a_panel_with_components(tmp_path: Path) -> None:
    parts = [{"code": {"coding": [{"code": code}]}, "valueInteger": 1} for code in LOINC_ITEMS] + [
        {"code": {"coding": [{"code": "44261-6"}]}, "valueInteger": 9}
    ]
    (found,), _ = read(tmp_path, observation("44249-1", component=parts))
    assert found.items == (1,) * 9
    assert found.total == 9


def test_items_are_placed_by_code_and_not_by_order(tmp_path: Path) -> None:
    answers = list(LOINC_ANSWERS)
    items = [
        {"linkId": code, "answer": [{"valueCoding": {"code": answers[place % 4]}}]}
        for place, code in enumerate(LOINC_ITEMS)
    ]
    response = {"resourceType": "QuestionnaireResponse", "status": "amended",
                "subject": {"identifier": {"value": "p"}}, "item": items[::-1]}  # fmt: skip
    (found,), _ = read(tmp_path, response)
    assert found.items == (0, 1, 2, 3, 0, 1, 2, 3, 0)
    assert (found.person, found.time) == ("p", None)


def test_two_items_alone_are_a_phq2(tmp_path: Path) -> None:
    (found,), _ = read(tmp_path, observation("55758-7", valueInteger=4))
    assert (found.instrument, found.total) == ("phq2", 4)


def test_what_is_not_a_finished_phq_is_noted_and_not_read(tmp_path: Path) -> None:
    found, ledger = read(
        tmp_path,
        observation("44261-6", valueInteger=3, status="preliminary"),
        observation("8867-4", valueInteger=60),
        {"resourceType": "Patient"},
        {"resourceType": "Bundle", "entry": [{"fullUrl": "x"}, 3]},
        {"resourceType": "Bundle", "entry": None},
    )
    assert found == []
    assert sum(ledger.notes.values()) == 3
    assert ledger.bad == []


def test_an_answer_that_cannot_be_read_is_refused_and_an_absent_one_missing(
    tmp_path: Path,
) -> None:
    odd = observation(LOINC_ITEMS[0], valueString="often")
    absent = observation(LOINC_ITEMS[1], dataAbsentReason={"text": "unknown"})
    (found,), ledger = read(tmp_path, odd, absent)
    assert found.items[1] is None
    assert label_table([found], ImportConfig(), ledger, {"p"}).height == 0
    assert "Item 1" in ledger.bad[0]["reason"]
