"""Parquet tables in batches that are bounded in bytes, whatever their coding makes of them.

A dictionary page names a text once and each row by its number, so that a file of 8 kB can hold
39 GB. Before a table is read, its texts are counted in that coded form; see `unfolding` for what is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leadline.errors import LeadlineError
from leadline.sources.unfolding import check_bytes, check_values

STEP = 256_000_000  # bytes of text that a batch holds, about

FEWEST = 64  # rows of a batch

SHARING = (
    "DELTA_BYTE_ARRAY"  # a coding in which a text is the beginning of the one before it, and more
)

WIDEST = 250_000  # rows that are counted at a time


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the libraries say about a broken file into a `LeadlineError`."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; what Arrow says of broken pages has no number
        raise LeadlineError(
            "This is not a readable Parquet file.",
            remedy="Export it again, or convert the table to CSV.",
            file=path,
        ) from error


def parquet_frames(path: Path, columns: list[str] | None, size: int) -> Iterator[pl.DataFrame]:
    """Batches of a table, of up to `size` rows and of about `STEP` bytes.

    Raises:
        LeadlineError: it is none, or unfolds to too much.
    """
    state = path.stat()
    with _readable(path):
        rows = min(size, _rows_at_a_time(path, state.st_size, state.st_mtime_ns))
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                batch.validate(full=True)  # polars takes bytes that are no UTF-8 as they are
                yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))


def parquet_names(path: Path) -> list[str]:
    """The names of the columns of a table."""
    with _readable(path):
        return list(pq.read_schema(path).names)


@lru_cache(maxsize=64)
def _rows_at_a_time(path: Path, size: int, changed: int) -> int:  # noqa: ARG001 - the key
    """How many rows of a table make a batch; refuses one that unfolds to too much."""
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        groups = [meta.row_group(place) for place in range(meta.num_row_groups)]
        chunks = [group.column(place) for group in groups for place in range(meta.num_columns)]
    check_bytes(path, sum(chunk.total_uncompressed_size for chunk in chunks))
    values: dict[str, int] = {}
    for chunk in chunks:
        values[chunk.path_in_schema] = values.get(chunk.path_in_schema, 0) + chunk.num_values
    check_values(path, max([meta.num_rows, *values.values()]))
    texts = [chunk for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"]
    sharing = _paths(chunk for chunk in texts if SHARING in chunk.encodings)
    coded = _paths(chunk for chunk in texts if chunk.path_in_schema not in sharing
                   and chunk.num_values * chunk.total_uncompressed_size > STEP)  # fmt: skip
    count = _unfolded_bytes(path, coded, coded, WIDEST) if coded else 0
    count += _unfolded_bytes(path, sharing, [], FEWEST) if sharing else 0
    check_bytes(path, count)
    rows = meta.num_rows * STEP // max(count, STEP)
    return FEWEST if sharing else max(FEWEST, rows)


def _paths(chunks: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(chunk.path_in_schema for chunk in chunks))


def _unfolded_bytes(path: Path, names: list[str], coded: list[str], rows: int) -> int:
    """Bytes of the texts of some columns; those of `coded` are not decoded. Stops at the limit."""
    count = 0
    with pq.ParquetFile(path, read_dictionary=coded) as file:
        for batch in file.iter_batches(batch_size=rows, columns=names):
            count += sum(_text_bytes(column) for column in batch.columns)
            check_bytes(path, count)
    return count


def _text_bytes(array: pa.Array) -> int:
    """Bytes of the texts of an array, each as often as it is named."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.fill_null(pc.binary_length(array.dictionary), 0)
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _text_bytes(array.flatten())
    if pa.types.is_map(kind):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    if pa.types.is_struct(kind):
        return sum(_text_bytes(part) for part in array.flatten())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return int(pc.sum(pc.binary_length(array)).as_py() or 0)
    return 0
