"""A cohort on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.cohorts import cohort_of, label_row
from tests.support.written import build

from leadline.artefact import sha256
from leadline.cohort.store import check_cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.tables import TURNS


def test_a_cohort_is_checked_without_being_read(cohort_path):
    assert check_cohort(cohort_path) == read_cohort(cohort_path).manifest
    turns = cohort_path / "turns.parquet"
    pl.read_parquet(turns)[1:].write_parquet(turns)
    for check in (check_cohort, read_cohort):
        with pytest.raises(LeadlineError, match="not the one that was written") as found:
            check(cohort_path)
        assert found.value.file == turns
    turns.write_bytes(turns.read_bytes()[:-20])
    for check in (check_cohort, read_cohort):
        with pytest.raises(LeadlineError, match="not the one that was written"):
            check(cohort_path)


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


def drop_hash(folder: Path, name: str) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    spoil_manifest(folder, files={key: value for key, value in files.items() if key != name})


def forge(folder: Path, content: bytes) -> None:
    """A table with a hash that fits: what it holds is checked all the same."""
    (folder / "turns.parquet").write_bytes(content)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    spoil_manifest(folder, files={**files, "turns.parquet": sha256(folder / "turns.parquet")})


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda c: (c / "manifest.json").unlink(), "unfinished"),
        (lambda c: (c / "manifest.json").write_text("{"), "as JSON"),
        (lambda c: spoil_manifest(c, format=99), "format 99"),
        (lambda c: spoil_manifest(c, kind="run"), "Expected a cohort"),
        (lambda c: (c / "turns.parquet").unlink(), "cannot be read"),
        (lambda c: (c / "phq9.parquet").write_bytes(b"PAR1"), "not the one that was"),
        (lambda c: pl.DataFrame({"a": [1]}).write_parquet(c / "people.parquet"), "not the one"),
        (
            lambda c: pl.DataFrame(schema=dict(TURNS)).write_parquet(c / "turns.parquet"),
            "not the one",
        ),
        (lambda c: spoil_manifest(c, files={}), "no hash of turns.parquet"),
        (lambda c: spoil_manifest(c, files=None), "no hash of turns.parquet"),
        (lambda c: drop_hash(c, "people.parquet"), "no hash of people.parquet"),
        (lambda c: forge(c, b"PAR1"), "cannot be read"),
        (lambda c: spoil_manifest(c, counts={"turns": 5}), "rows, the manifest says"),
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
