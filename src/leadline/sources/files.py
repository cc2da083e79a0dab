"""Opening what users give: text in UTF-8, CSV, JSON, JSON lines, Parquet.

Everything here raises `LeadlineError` with the file and, where there is one, the line. CSV
is read by the standard library because it knows the physical line of each record and finds
ragged rows and broken quotes exactly.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline.errors import LeadlineError
from leadline.sources.rejects import RejectedRows

BATCH = 250_000  # rows of a table that are in memory at a time

TEXT_TABLES = (".csv", ".tsv", ".txt", ".tab")

JSON_LINES = (".jsonl", ".ndjson")

UTF16 = (b"\xff\xfe", b"\xfe\xff")

Row = int | str


def check_file(path: Path) -> Path:
    """Check that `path` is a file that is not empty."""
    if path.is_dir():
        raise LeadlineError(
            "This is a directory where a file is needed.",
            remedy="Give the file itself; directories are read for --format convokit and daic.",
            file=path,
        )
    if not path.is_file():
        raise LeadlineError("There is no such file.", remedy="Check the path.", file=path)
    if path.stat().st_size == 0:
        raise LeadlineError("The file is empty.", remedy="Export it again.", file=path)
    return path


def not_utf8(path: Path, line: int | None) -> LeadlineError:
    """The error for bytes that are not UTF-8."""
    return LeadlineError(
        "The file is not valid UTF-8 text.",
        remedy="Convert it, for example with: iconv -f LATIN1 -t UTF-8 (or -f UTF-16).",
        file=path,
        row=None if line is None else f"line {line}",
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says about an unreadable file into a `LeadlineError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise not_utf8(path, _line_of(path)) from error
    except OSError as error:
        raise LeadlineError(
            f"The file cannot be read ({error.strerror}).",
            remedy="Check its permissions and the disk.",
            file=path,
        ) from error


def _line_of(path: Path) -> int | None:
    """The first line that is not UTF-8."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def check_encoding(path: Path) -> None:
    """Refuse UTF-16 and other text that holds zero bytes at its start."""
    check_file(path)
    with reading(path), path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(UTF16) or b"\x00" in head:
        raise LeadlineError(
            "The file is not UTF-8 text; it looks like UTF-16 or a binary file.",
            remedy="Convert it, for example with: iconv -f UTF-16 -t UTF-8.",
            file=path,
        )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; a byte-order mark at its start is dropped."""
    check_encoding(path)
    with reading(path):
        return path.read_text(encoding="utf-8-sig")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(parse_constant=_no_constant)


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """Parse JSON strictly: NaN and infinity are refused.

    Raises:
        LeadlineError: not JSON; names the line.
    """
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip())
        problem = "The JSON ends too early." if cut else f"This is not valid JSON: {error.msg}."
        row = f"line {line if line is not None else error.lineno}"
        remedy = "Export the file again; it may be cut off, or be another format."
        raise LeadlineError(problem, remedy=remedy, file=path, row=row) from error
    except (ValueError, RecursionError) as error:
        raise LeadlineError(
            "The JSON holds NaN, an endless number or too many levels.",
            remedy="Write null where there is no value, and export again.",
            file=path,
            row=None if line is None else f"line {line}",
        ) from error


def is_json_lines(path: Path) -> bool:
    """Whether a file holds one JSON value a line (by its name, else by its first line)."""
    if path.suffix.lower() in JSON_LINES:
        return True
    with reading(path), path.open(encoding="utf-8-sig") as stream:
        lines = [line for line in (stream.readline(10_000_000), stream.readline(1_000)) if line]
    if len(lines) < 2 or not lines[0].lstrip().startswith("{") or not lines[1].strip():
        return False
    try:
        json.loads(lines[0])
    except (ValueError, RecursionError):
        return False
    return True


def json_values(path: Path, ledger: RejectedRows) -> Iterator[tuple[str, Any]]:
    """Top-level values of a JSON or JSON-lines file, each with its locator.

    A JSON array gives its entries (``entry 3``), JSON lines its lines (``line 3``; a bad one
    is left out with --skip-bad), anything else itself.
    """
    check_encoding(path)
    if is_json_lines(path):
        yield from _json_lines(path, ledger)
        return
    text = read_text(path)
    if not text.strip():
        raise LeadlineError("The file is blank.", remedy="Export it again.", file=path)
    value = parse_json(text, path)
    if isinstance(value, list):
        yield from ((f"entry {number}", entry) for number, entry in enumerate(value, 1))
    else:
        yield "entry 1", value


def _json_lines(path: Path, ledger: RejectedRows) -> Iterator[tuple[str, Any]]:
    with reading(path), path.open(encoding="utf-8-sig", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                value = parse_json(line, path, number)
            except LeadlineError as error:
                ledger.reject_error(path, error.row, error)
                continue
            yield f"line {number}", value


def sniff_separator(path: Path) -> str:
    """Comma, semicolon or tab: the one that splits the header line most."""
    check_encoding(path)
    with reading(path), path.open(encoding="utf-8-sig") as stream:
        header = stream.readline(1_000_000)
    return max(",;\t", key=header.count)


def csv_rows(path: Path, ledger: RejectedRows) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header of a delimited text file and its records, each with its line number.

    Blank lines are passed over. A record with another number of fields than the header is
    bad, and so is a broken quote.
    """
    records = _csv_records(path, sniff_separator(path))
    first = next(records, None)
    if first is None:
        raise LeadlineError("The file holds no header.", remedy="Export it again.", file=path)
    header = [name.strip() for name in first[1]]
    check_header(header, path)
    return header, _full_records(records, len(header), path, ledger)


def check_header(header: list[str], path: Path) -> None:
    """Refuse a header with a repeated name."""
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise LeadlineError(
            f"The header names a column twice: {', '.join(twice)}.",
            remedy="Rename one of them.",
            file=path,
            row=1,
        )


def _full_records(
    records: Iterator[tuple[int, list[str]]], width: int, path: Path, ledger: RejectedRows
) -> Iterator[tuple[int, list[str]]]:
    for line, fields in records:
        if len(fields) == width:
            yield line, fields
        elif any(field.strip() for field in fields):
            ledger.reject(
                path,
                line,
                f"The row has {len(fields)} fields, the header {width}.",
                "Put text that holds the separator or a line break in double quotes.",
            )


def _csv_records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(2**31 - 1)  # long turns are judged by --max-turn-chars
    try:
        with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=separator, strict=True)
            line = 1
            try:
                for fields in reader:
                    yield line, fields
                    line = reader.line_num + 1
            except csv.Error as error:
                raise LeadlineError(
                    "A quoted field is broken or never ends.",
                    remedy='Write a quote inside a quoted field twice: "".',
                    file=path,
                    row=line,
                ) from error
    finally:
        csv.field_size_limit(limit)


def table_batches(
    path: Path, ledger: RejectedRows, columns: list[str] | None = None
) -> Iterator[pl.DataFrame]:
    """Batches of a CSV, TSV or Parquet table, with a column ``__row`` that locates rows.

    Delimited text gives String columns with null for empty fields; Parquet keeps its types.
    Rows count from 1 in Parquet and are physical lines in text. `columns` limits what is
    read of Parquet.
    """
    check_file(path)
    if path.suffix.lower() in TEXT_TABLES:
        yield from _text_batches(path, ledger)
    else:
        yield from _parquet_batches(path, columns)


def _text_batches(path: Path, ledger: RejectedRows) -> Iterator[pl.DataFrame]:
    header, records = csv_rows(path, ledger)
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, fields in records:
        lines.append(line)
        rows.append(fields)
        if len(rows) == BATCH:
            yield _text_frame(header, lines, rows)
            lines, rows = [], []
    if rows:
        yield _text_frame(header, lines, rows)


def _text_frame(header: list[str], lines: list[int], rows: list[list[str]]) -> pl.DataFrame:
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    frame = pl.DataFrame({"__row": pl.Series(lines, dtype=pl.Int64)})
    return frame.with_columns(
        pl.Series(name, values, dtype=pl.String).replace("", None)
        for name, values in columns.items()
        if name
    )


def _parquet_batches(path: Path, columns: list[str] | None) -> Iterator[pl.DataFrame]:
    start = 1
    try:
        with reading(path), pq.ParquetFile(path) as file:
            check_header(file.schema_arrow.names, path)
            for batch in file.iter_batches(batch_size=BATCH, columns=columns):
                frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
                stop = start + frame.height
                yield frame.with_columns(__row=pl.int_range(start, stop, dtype=pl.Int64))
                start = stop
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "This is not a readable Parquet file.",
            remedy="Export it again, or convert the table to CSV.",
            file=path,
        ) from error


def table_header(path: Path, ledger: RejectedRows) -> list[str]:
    """The column names of a CSV, TSV or Parquet table."""
    check_file(path)
    if path.suffix.lower() in TEXT_TABLES:
        return csv_rows(path, ledger)[0]
    try:
        with reading(path):
            return list(pq.read_schema(path).names)
    except pa.ArrowException as error:
        raise LeadlineError(
            "This is not a readable Parquet file, nor a known kind of text table.",
            remedy="Give a .parquet, .csv, .tsv, .json or .jsonl file.",
            file=path,
        ) from error
