"""Folds kept in the cohort: whoever has one keeps it."""

import polars as pl
import pytest

from leadline.cohort.folds import COLUMNS, FOLDS_FILE, keep_folds, read_folds
from leadline.errors import LeadlineError


def test_folds_are_kept_by_number_and_seed_and_never_changed(tmp_path):
    assert read_folds(tmp_path, 3, 0) == {}
    assert keep_folds(tmp_path, 3, 0, {"a": 0, "b": 2})
    assert keep_folds(tmp_path, 3, 1, {"a": 1})
    assert keep_folds(tmp_path, 5, 0, {"a": 4})
    assert keep_folds(tmp_path, 3, 0, {"a": 1, "b": 1, "c": 1}), "a and b have theirs"
    assert read_folds(tmp_path, 3, 0) == {"a": 0, "b": 2, "c": 1}
    assert read_folds(tmp_path, 3, 1) == {"a": 1}
    assert read_folds(tmp_path, 5, 0) == {"a": 4}
    assert dict(pl.read_parquet_schema(tmp_path / FOLDS_FILE)) == COLUMNS


def test_nothing_is_written_where_nobody_is_new(tmp_path):
    keep_folds(tmp_path, 3, 0, {"a": 0})
    before = (tmp_path / FOLDS_FILE).stat().st_mtime_ns
    assert keep_folds(tmp_path, 3, 0, {"a": 2})
    assert (tmp_path / FOLDS_FILE).stat().st_mtime_ns == before


def test_a_cohort_in_memory_or_on_a_closed_disk_keeps_nothing(tmp_path, monkeypatch):
    assert not keep_folds(None, 3, 0, {"a": 0})
    assert read_folds(None, 3, 0) == {}
    assert not keep_folds(tmp_path / "absent", 3, 0, {"a": 0})

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("leadline.cohort.folds.replacing", refuse)
    assert not keep_folds(tmp_path, 3, 0, {"a": 0})
    assert read_folds(tmp_path, 3, 0) == {}


@pytest.mark.parametrize("content", [b"no table", None])
def test_a_damaged_file_is_named_with_the_way_on(tmp_path, content):
    if content is None:
        pl.DataFrame({"person_id": ["a"]}).write_parquet(tmp_path / FOLDS_FILE)
    else:
        (tmp_path / FOLDS_FILE).write_bytes(content)
    with pytest.raises(LeadlineError) as caught:
        read_folds(tmp_path, 3, 0)
    assert caught.value.file == tmp_path / FOLDS_FILE


def test_what_a_kill_left_half_written_goes_when_folds_are_kept_again(tmp_path):
    left = tmp_path / f".{FOLDS_FILE}.123-0a1b2c3d"
    left.touch()
    (tmp_path / f".{FOLDS_FILE}.mine").touch()
    assert keep_folds(tmp_path, 2, 0, {"a": 0, "b": 1})
    assert not left.exists()
    assert (tmp_path / f".{FOLDS_FILE}.mine").exists()
