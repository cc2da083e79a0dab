"""What `inspect` says of a cohort whose contents are known, and the cohort on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.support.cohorts import cohort_of, label_row, turn_rows
from tests.support.written import build, phq9

from leadline.cohort.config import WindowConfig
from leadline.cohort.inspect import inspect_cohort, render_inspection
from leadline.cohort.store import Cohort, read_cohort
from leadline.cohort.windows import label_readings
from leadline.phq9.change import ChangeConfig
from leadline.tables import PHQ9


def test_inspect_counts(tmp_path: Path) -> None:
    found = inspect_cohort(build(tmp_path / "c"))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    names = ("people", "locked", "conversations", "turns")
    assert [found[name] for name in names] == [4, 1, 5, 6]
    assert found["roles"] == {"user": 5, "assistant": 1}
    assert found["per_person"]["user_words"] == {
        "min": 6.0, "q25": 8.0, "median": 10.0, "q75": 10.5, "max": 11.0
    }  # fmt: skip
    assert found["dates"]["turns_without_date"] == 1
    assert found["dates"]["days_between_conversations"]["max"] == 10.0
    assert found["labels"]["bands"] == {
        "minimal": 2, "mild": 0, "moderate": 1, "moderately severe": 0, "severe": 1
    }  # fmt: skip
    assert found["labels"]["mean"] == 9.5
    # a's label on day 40 has no text in the 14 days before; b's text has no date
    assert found["gaps"] == {
        "people_without_text": 1, "people_without_labels": 1,
        "labels_without_text_in_window": 2, "window_days": 14.0,
        "turns_without_date_beside_dated_labels": 1, "labels_without_date_beside_dates": 0,
        "turns_out_of_order": 0,
    }  # fmt: skip
    asked_for = inspect_cohort(read_cohort(tmp_path / "c"), undated=True)
    assert asked_for["gaps"]["labels_without_text_in_window"] == 1
    assert found["duplicates"] == {
        "texts_of_several_people": 1, "repeated_conversations": 2,
        "near_copies": {"people": 0, "groups": 0, "largest": 0, "open_copies_of_locked": 0},
    }  # fmt: skip
    assert found["questionnaire"] == {
        "spans": 2, "people": 1, "reasons": {"answered items": 1, "asked items": 1}
    }  # fmt: skip
    assert found["simulated"] is True
    everything = inspect_cohort(read_cohort(tmp_path / "c"), window_days=0)
    assert everything["gaps"]["labels_without_text_in_window"] == 1


def test_inspect_shows_no_words_and_an_empty_label_table_works(tmp_path: Path) -> None:
    cohort = build(tmp_path / "c", phq9=pl.DataFrame(schema=dict(PHQ9)))
    found = inspect_cohort(cohort)
    assert found["labels"]["mean"] is None
    console = Console(width=100, record=True, quiet=False, file=io.StringIO())
    console.print(render_inspection(found))
    text = console.export_text()
    assert "people without a label" in text
    assert "pasted" not in text + json.dumps(found)


times = st.one_of(st.none(), st.sampled_from([0, 1, 1, 2, 20]), st.floats(0, 40))
said = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), times), min_size=1, max_size=8)


@settings(deadline=None)
@given(st.lists(said, min_size=1, max_size=2), st.lists(times, max_size=3), st.booleans(),
       st.sampled_from([0, 14]))  # fmt: skip
def test_labels_without_text_are_those_without_a_reading(people, labels, undated, days):
    turns = [row for name, one in zip("ab", people, strict=False) for row in turn_rows(name, one)]
    cohort = cohort_of(turns, [label_row("a", when, 9) for when in labels])
    window = WindowConfig(days=days, undated=undated)
    gaps = inspect_cohort(cohort, days, undated=undated)["gaps"]
    missing = len(labels) - label_readings(cohort, window).height
    assert gaps["labels_without_text_in_window"] == missing


def test_turns_out_of_order_are_counted():
    cohort = cohort_of(
        turn_rows("a", [("user", 3), ("assistant", 1), ("user", None), ("user", 2), ("user", 3)])
        + turn_rows("b", [("user", 0)]), [],
    )  # fmt: skip
    assert inspect_cohort(cohort)["gaps"]["turns_out_of_order"] == 2


def test_changes_are_between_neighbouring_phq9s_of_one_person(tmp_path: Path) -> None:
    first = build(tmp_path / "c")
    labels = [
        phq9("a", 5, 20), phq9("a", 40, 12), phq9("a", 60, 14), phq9("b", 1, 3), phq9("b", 9, 15),
        phq9("c", None, 0), phq9("c", 2, 27),
    ]  # fmt: skip
    table = pl.DataFrame(labels, schema=PHQ9, orient="row")
    cohort = Cohort(first.turns, table, first.people, manifest=first.manifest)
    changes = inspect_cohort(cohort)["changes"]
    assert changes == {
        "people": 2, "pairs": 3, "smallest_reliable_change": 6.93,
        "improved": 1, "unchanged": 1, "worsened": 1,
    }  # fmt: skip
    fixed = inspect_cohort(cohort, change=ChangeConfig(change_points=2))["changes"]
    assert (fixed["improved"], fixed["unchanged"], fixed["worsened"]) == (1, 0, 2)
