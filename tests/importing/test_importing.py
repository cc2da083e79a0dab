"""Each layout, in files as their tools write them, to a cohort."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.support.imports import TWO_TURNS, import_beside, import_cohort, write_source

from leadline.importing.config import ImportConfig


def test_label_table_of_items_dates_and_instruments(tmp_path: Path) -> None:
    labels = write_source(tmp_path, "l.csv", "Participant,Date,PHQ9_total,instrument\n"
        "p2,2024-05-01,4,PHQ-8\np1,2024-05-02,20,\n"
        "p1,2024-05-01T09:00:00+02:00,10,phq9\n")  # fmt: skip
    cohort = import_beside(write_source(tmp_path, "t.csv", TWO_TURNS), phq9=labels, timezone="UTC",
                  label_day="end")  # fmt: skip
    assert cohort.phq9.select("person_id", "total", "instrument").rows() == [
        ("p1", 10.0, "phq9"), ("p1", 20.0, "phq9"), ("p2", 4.0, "phq8")
    ]  # fmt: skip
    assert cohort.phq9["time"].to_list()[:2] == [
        datetime(2024, 5, 1, 7, tzinfo=UTC), datetime(2024, 5, 2, 23, 59, 59, 999999, tzinfo=UTC)
    ]  # fmt: skip


def test_progress_and_input_hashes(tmp_path: Path) -> None:
    seen: list[int] = []
    source = write_source(tmp_path, "t.csv", TWO_TURNS)
    cohort = import_cohort(source, ImportConfig(), tmp_path / "c", progress=seen.append)
    assert seen == [2]
    assert len(cohort.manifest["inputs"]["t.csv"]) == 64
    assert cohort.manifest["settings"]["phq9"] is None
