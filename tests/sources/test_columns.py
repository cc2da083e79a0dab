"""Columns found by name, and the question where two could be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.errors import LeadlineError
from leadline.questionnaires.labels import LABEL_COLUMN_NAMES
from leadline.sources.columns import find_columns

FILE = Path("l.csv")


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
