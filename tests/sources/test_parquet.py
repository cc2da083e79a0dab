"""Parquet in batches that are bounded in bytes, and files that unfold to too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leadline.errors import LeadlineError
from leadline.sources import parquet
from leadline.sources.parquet import parquet_frames, parquet_names

SPEECH = [{"role": "user", "content": "low today"}] * 3


def written(path: Path, columns: dict[str, Any], **how: Any) -> Path:
    pq.write_table(pa.table(columns), path, **{"compression": "zstd", **how})
    return path


def coded(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, type=pa.int32()), pa.array([text]))


def test_batches_hold_the_rows_as_they_are(tmp_path: Path) -> None:
    columns = {"person_id": [f"p{n}" for n in range(1_000)], "n": list(range(1_000))}
    path = written(tmp_path / "a.parquet", columns)
    frames = list(parquet_frames(path, None, 300))
    assert [frame.height for frame in frames] == [300, 300, 300, 100]
    assert pl.concat(frames).equals(pl.read_parquet(path))
    assert next(parquet_frames(path, ["n"], 10)).columns == ["n"]
    assert parquet_names(path) == ["person_id", "n"]


@pytest.mark.parametrize("how", [{}, {"use_dictionary": False, "column_encoding":
                                      {"text": "DELTA_BYTE_ARRAY", "n": "PLAIN"}}])  # fmt: skip
def test_a_batch_of_long_texts_has_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    monkeypatch.setattr(parquet, "STEP", 1_000_000)
    columns = {"text": ["x" * 9_000] * 500, "n": list(range(500))}
    path = written(tmp_path / "a.parquet", columns, **how)
    frames = list(parquet_frames(path, None, 500))
    assert max(frame.height for frame in frames) <= 1_000_000 // 9_000
    assert pl.concat(frames).equals(pl.read_parquet(path))


def test_lists_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "STEP", 10_000)
    path = written(tmp_path / "a.parquet", {"messages": [SPEECH] * 2_000})
    frames = list(parquet_frames(path, None, 2_000))
    assert max(frame.height for frame in frames) < 1_000
    assert pl.concat(frames).equals(pl.read_parquet(path))


BOMBS = {
    "one text in each row": lambda: {"text": coded("x " * 49_000, 100_000)},
    "one text, plain": lambda: {"text": ["x " * 49_000] * 1_000},
    "rows of nothing": lambda: {"text": pa.nulls(3_000_000, pa.string())},
    "lists of one text": lambda: {"messages": [SPEECH * 200] * 2_000},
    "beginnings that are shared": lambda: {"text": ["x" * 50_000 + str(n) for n in range(2_000)]},
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_table_that_unfolds_to_too_much_is_refused(case: str, tmp_path: Path) -> None:
    how = {}
    if case == "one text, plain":
        how = {"use_dictionary": False}
    elif case == "beginnings that are shared":
        how = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    path = written(tmp_path / "a.parquet", BOMBS[case](), **how)
    assert path.stat().st_size < 100_000
    with pytest.raises(LeadlineError, match="unfolds to many times"):
        next(parquet_frames(path, None, 1_000))


def test_another_file_under_the_name_is_asked_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"text": ["low"] * 10})
    assert next(parquet_frames(path, None, 1_000)).height == 10
    written(path, BOMBS["one text in each row"]())
    with pytest.raises(LeadlineError, match="unfolds"):
        next(parquet_frames(path, None, 1_000))


def test_what_is_broken_is_told_without_what_stands_in_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"hopeless": ["low"] * 1_000})
    content = path.read_bytes()
    for broken in (b"", content[:-9], content[:40] + content[80:], b"PAR1" * 9):
        path.write_bytes(broken)
        with pytest.raises(LeadlineError, match="not a readable Parquet file") as caught:
            list(parquet_frames(path, None, 1_000))
        assert "hopeless" not in str(caught.value)


def test_text_that_is_no_text_is_told(tmp_path: Path) -> None:
    buffers = [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    path = written(tmp_path / "a.parquet", {"text": pa.Array.from_buffers(pa.string(), 1, buffers)})
    with pytest.raises(LeadlineError, match="not a readable Parquet file"):
        list(parquet_frames(path, None, 10))
