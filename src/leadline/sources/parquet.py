"""Parquet tables in batches that are bounded in bytes, whatever their coding makes of them.

A dictionary page names a text once and each row by its number, so that a file of 8 kB can hold
39 GB. Such texts are counted in that coded form before they are decoded: those of columns batch by
batch, as they are read; those inside lists, and texts that share beginnings, in a pass of their
own. See `unfolding` for what is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

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
    count = 0
    with _readable(path):
        plan = _plan(path, state.st_size, state.st_mtime_ns)
        rows = min(size, plan.rows, WIDEST if plan.coded else size)
        with pq.ParquetFile(path, read_dictionary=list(plan.coded)) as file:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                batch.validate(full=True)  # polars takes bytes that are no UTF-8 as they are
                texts = [column for column in batch.columns if pa.types.is_dictionary(column.type)]
                size_here = sum(map(_text_bytes, texts))
                count += size_here
                check_bytes(path, count)
                part = max(FEWEST, batch.num_rows * STEP // max(size_here, STEP))
                for start in range(0, batch.num_rows, part):
                    yield _decoded(batch.slice(start, part))


def _decoded(batch: pa.RecordBatch) -> pl.DataFrame:
    """A batch with its texts in the place of their numbers; texts that are equal lie there once."""
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            texts, numbers = pl.Series(name, column.dictionary), pl.Series(column.indices)
            columns.append(texts.gather(numbers))
        else:
            table = pa.Table.from_arrays([column], names=[name])
            columns.append(pl.DataFrame(pl.from_arrow(table)).to_series())
    return pl.DataFrame(columns)


def parquet_names(path: Path) -> list[str]:
    """The names of the columns of a table."""
    with _readable(path):
        return list(pq.read_schema(path).names)


class _Plan(NamedTuple):
    """How a table is read.

    Attributes:
        rows: of a batch, at most.
        coded: columns of texts that are read as they are coded, and counted in that form.
    """

    rows: int
    coded: tuple[str, ...]


@lru_cache(maxsize=64)
def _plan(path: Path, size: int, changed: int) -> _Plan:  # noqa: ARG001 - the key
    """How a table is read; refuses one that unfolds to too much, as far as that is known before."""
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        schema = file.schema_arrow
        flat = {field.name for field in schema if (pa.types.is_string(field.type)
                    or pa.types.is_large_string(field.type))
                and schema.names.count(field.name) == 1}  # fmt: skip
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
    at_once = tuple(name for name in coded if name in flat)
    coded = [name for name in coded if name not in flat]
    count = _unfolded_bytes(path, coded, coded, WIDEST) if coded else 0
    count += _unfolded_bytes(path, sharing, [], FEWEST) if sharing else 0
    check_bytes(path, count)
    rows = meta.num_rows * STEP // max(count, STEP)
    return _Plan(FEWEST if sharing else max(FEWEST, rows), at_once)


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
        lengths = pc.binary_length(array.dictionary)
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
