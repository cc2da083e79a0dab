"""A cohort on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.cohorts import cohort_of, label_row

from leadline.cohort.store import Cohort, check_cohort, read_cohort, write_cohort
from leadline.errors import LeadlineError
from leadline.tables import PEOPLE, PHQ9, TURNS


def test_a_cohort_is_checked_without_being_read(cohort_path):
    assert check_cohort(cohort_path) == read_cohort(cohort_path).manifest
    turns = cohort_path / "turns.parquet"
    pl.read_parquet(turns)[1:].write_parquet(turns)
    for check in (check_cohort, read_cohort):
        with pytest.raises(LeadlineError, match="rows, the manifest says") as found:
            check(cohort_path)
        assert found.value.file == turns
    turns.write_bytes(turns.read_bytes()[:-20])
    for check in (check_cohort, read_cohort):
        with pytest.raises(LeadlineError, match="cannot be read"):
            check(cohort_path)


DAY = datetime(2024, 5, 1, tzinfo=UTC)
COPIED = "this very sentence was pasted into more than one conversation"
ITEM = "How often have you been bothered by feeling tired or having little energy?"


def turn(person: str, conversation: str, number: int, role: str, text: str, day: int | None) -> Any:
    time = None if day is None else DAY + timedelta(days=day)
    return person, conversation, number, role, text, time


def phq9(person: str, day: int | None, total: float) -> Any:
    time = None if day is None else DAY + timedelta(days=day)
    return person, time, total, total, *[None] * 9, "phq9", False


def build(path: Path, **changes: Any) -> Cohort:
    turns = [
        turn("a", "1", 0, "assistant", ITEM, 0),
        turn("a", "1", 1, "user", "2", 0),
        turn("a", "2", 0, "user", COPIED, 10),
        turn("b", "1", 0, "user", COPIED, None),
        turn("c", "1", 0, "user", "words of three", 0),
        turn("c", "2", 0, "user", "words of three", 1),
    ]
    labels = [phq9("a", 5, 12), phq9("a", 40, 22), phq9("b", 3, 0), phq9("c", 0, 4)]
    tables = {
        "turns": pl.DataFrame(turns, schema=dict(TURNS), orient="row"),
        "phq9": pl.DataFrame(labels, schema=dict(PHQ9), orient="row"),
        "people": pl.DataFrame(
            [("a", True, 30), ("b", False, None), ("c", False, 50), ("d", False, 60)],
            schema={**PEOPLE, "age": pl.Int64()}, orient="row",
        ),
        **changes,
    }  # fmt: skip
    return write_cohort(path, **tables, command="test", settings={}, inputs={}, simulated=True)


def test_a_cohort_comes_back_as_written(tmp_path: Path) -> None:
    cohort = build(tmp_path / "c")
    again = read_cohort(tmp_path / "c")
    for name in ("turns", "phq9", "people"):
        assert getattr(again, name).equals(getattr(cohort, name))
    assert again.people["locked"].to_list() == [True, False, False, False]
    assert again.manifest["counts"] == {"people": 4, "turns": 6, "phq9": 4, "locked": 1}


def test_a_table_of_another_shape_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match="locked"):
        build(tmp_path / "c", people=pl.DataFrame({"person_id": ["a"]}))
    with pytest.raises(LeadlineError, match="turn"):
        build(tmp_path / "c", turns=pl.DataFrame({"person_id": ["a"], "conversation_id": ["1"]}))
    assert list(tmp_path.iterdir()) == []


def spoil_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda c: (c / "manifest.json").unlink(), "unfinished"),
        (lambda c: (c / "manifest.json").write_text("{"), "as JSON"),
        (lambda c: spoil_manifest(c, format=99), "format 99"),
        (lambda c: spoil_manifest(c, kind="run"), "Expected a cohort"),
        (lambda c: (c / "turns.parquet").unlink(), "cannot be read"),
        (lambda c: (c / "phq9.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda c: pl.DataFrame({"a": [1]}).write_parquet(c / "people.parquet"), "person_id"),
        (lambda c: pl.DataFrame(schema=dict(TURNS)).write_parquet(c / "turns.parquet"), "0 rows"),
    ],
)
def test_a_spoilt_cohort_is_refused(tmp_path: Path, spoil: Any, match: str) -> None:
    build(tmp_path / "c")
    spoil(tmp_path / "c")
    with pytest.raises(LeadlineError, match=match) as caught:
        read_cohort(tmp_path / "c")
    assert caught.value.file is not None


def test_locked_people_are_known_by_their_ids():
    cohort = cohort_of([], [label_row(name, 0, 5) for name in "abc"], locked=("a", "c"))
    assert cohort.locked_ids == {"a", "c"}
    opened = replace(cohort, people=cohort.people.filter(~pl.col("locked")))
    assert opened.locked_ids == frozenset()
