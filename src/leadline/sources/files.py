"""Opening what users give: text in UTF-8, CSV, JSON, JSON lines, Parquet, Excel.

Everything here raises `LeadlineError` with the file and, where there is one, the line. CSV
is read by the standard library because it knows the physical line of each record and finds
ragged rows and broken quotes exactly.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline.errors import LeadlineError
from leadline.sources.json_tables import flat_row, json_column, table_rows
from leadline.sources.parquet import parquet_frames, parquet_names
from leadline.sources.platforms import PREVIEWS, TableHead, head_of, is_preview, preview_places
from leadline.sources.quoting import listed
from leadline.sources.rejects import RejectedRows
from leadline.sources.unfolding import check_workbook

NESTED_BATCH = 1_000  # rows of a table of whole conversations

WRAPPINGS = ("$oid", "$date", "$numberLong", "$numberInt", "$numberDouble", "_seconds")

MOST_DIGITS = 40  # of a whole number in JSON

MOST_LITERAL = 1_000_000  # characters of a cell that are read as Python writes a list

MOST_COLUMNS = 20_000  # of a table

MOST_KEYS = 5_000  # keys that a decoder remembers; more are somebody's data

BATCH = 250_000  # rows of a table that are in memory at a time

TEXT_TABLES = (".csv", ".tsv", ".txt", ".tab")

JSON_LINES = (".jsonl", ".ndjson")

PARQUET = (".parquet", ".pq")

EXCEL = (".xlsx", ".xlsm")

JSON = (".json", *JSON_LINES)

OPENING = re.compile(r"^\s*(?:\[\s*\{|\{\s*[\"'])")

SEPARATOR_LINE = re.compile(r"^sep=(.)\s*$", re.IGNORECASE)

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


def _finite(text: str) -> float:
    """A number with a point or an exponent; ``1e999`` is refused as NaN is."""
    number = float(text)
    if math.isinf(number):
        raise ValueError("an endless number is no measurement")
    return number


def _whole(text: str) -> int:
    """A whole number, such as an identifier of up to 128 bits; longer ones mean nothing here."""
    if len(text) > MOST_DIGITS:
        raise ValueError("a number of so many digits is no measurement")
    return int(text)


NUMBERS: dict[str, Any] = {
    "parse_constant": _no_constant, "parse_float": _finite, "parse_int": _whole,
}  # fmt: skip

DECODER = json.JSONDecoder(**NUMBERS)


def _unwrapped(entry: dict[str, Any], key: str) -> Any:
    """The value of a wrapped identifier or time, as MongoDB and Firestore write them."""
    if key == "_seconds":
        fraction = entry.get("_nanoseconds", 0)
        is_number = isinstance(entry[key], int) and isinstance(fraction, int)
        return entry[key] + fraction / 1e9 if is_number else entry
    return entry[key]


def decoder_of(keys: frozenset[str]) -> json.JSONDecoder:
    """A decoder that writes keys as `keys` has them where nothing but case differs."""
    if not keys:
        return DECODER
    names = {key.lower(): key for key in keys}
    right = set(keys)

    def renamed(entry: dict[str, Any]) -> Any:
        if len(entry) <= 2:
            for wrapping in WRAPPINGS:
                if wrapping in entry:
                    return _unwrapped(entry, wrapping)
        if right.issuperset(entry):
            return entry
        strange = [key for key in entry if key not in right]
        wrong = {key for key in strange if names.get(key.lower(), key) not in entry}
        if not wrong:
            if len(right) < MOST_KEYS:
                right.update(strange)
            return entry
        return {names.get(key.lower(), key) if key in wrong else key: inner
                for key, inner in entry.items()}  # fmt: skip

    return json.JSONDecoder(**NUMBERS, object_hook=renamed)


def parse_json(
    text: str, path: Path, line: int | None = None, decoder: json.JSONDecoder = DECODER
) -> Any:
    """Parse JSON strictly: NaN and infinity are refused.

    Raises:
        LeadlineError: not JSON; names the line.
    """
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip())
        # What stands after a colon in the parser's words may be out of the file.
        what = error.msg.partition(":")[0]
        problem = "The JSON ends too early." if cut else f"This is not valid JSON: {what}."
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


def json_values(
    path: Path, ledger: RejectedRows, keys: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """Top-level values of a JSON or JSON-lines file, each with its locator.

    A JSON array gives its entries (``entry 3``), JSON lines its lines (``line 3``; a bad one
    is left out with --skip-bad), the rows of a Parquet table their columns as objects
    (``row 3``), anything else itself.

    Args:
        path: the file.
        ledger: takes bad lines.
        keys: names that a key has if it differs from one of them in nothing but case.
    """
    if path.suffix.lower() in PARQUET:
        yield from _parquet_values(path)
        return
    if path.suffix.lower() in TEXT_TABLES:
        yield from _table_values(path, ledger)
        return
    check_encoding(path)
    decoder = decoder_of(keys)
    if is_json_lines(path):
        yield from _json_lines(path, ledger, decoder)
        return
    text = read_text(path)
    if not text.strip():
        raise LeadlineError("The file is blank.", remedy="Export it again.", file=path)
    value = parse_json(text, path, decoder=decoder)
    if isinstance(value, list):
        yield from ((f"entry {number}", entry) for number, entry in enumerate(value, 1))
    else:
        yield "entry 1", value


def _parquet_values(path: Path) -> Iterator[tuple[str, Any]]:
    """Rows of a Parquet table as JSON objects; times become text."""
    number = 0
    for frame in _parquet_batches(path, None, NESTED_BATCH):
        for row in frame.drop("__row").iter_rows(named=True):
            number += 1
            yield f"row {number}", _as_json(row)


def _table_values(path: Path, ledger: RejectedRows) -> Iterator[tuple[str, Any]]:
    """Rows of a text table as JSON objects; cells that hold lists or objects are opened."""
    header, records = csv_rows(path, ledger)
    for line, fields in records:
        pairs = zip(header, fields, strict=True)
        yield f"row {line}", {name: _opened_cell(cell) for name, cell in pairs}


def _opened_cell(cell: str) -> Any:
    """The value of a cell: JSON, or how Python writes a list of objects; else its text."""
    if not OPENING.match(cell):
        return cell or None
    try:
        return DECODER.decode(cell)
    except (ValueError, RecursionError):
        pass
    if len(cell) > MOST_LITERAL:  # its tree takes hundreds of times what the cell does
        return cell
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell


def holds_messages(frame: pl.DataFrame) -> bool:
    """Whether a column of a table holds objects, or lists of them, as text."""
    for name in frame.columns:
        if frame[name].dtype == pl.String:
            cells = frame[name].drop_nulls().head(20).to_list()
            values = [_opened_cell(cell) for cell in cells]
            if values and all(isinstance(value, dict) or _holds_objects(value) for value in values):
                return True
    return False


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def is_nested(path: Path) -> bool:
    """Whether a Parquet table has a column of lists of objects, as conversations lie in."""
    try:
        with reading(path):
            schema = pq.read_schema(path)
    except pa.ArrowException:
        return False
    return any(
        (pa.types.is_list(kind) or pa.types.is_large_list(kind))
        and pa.types.is_struct(kind.value_type)
        for kind in schema.types
    )


def _json_lines(
    path: Path, ledger: RejectedRows, decoder: json.JSONDecoder
) -> Iterator[tuple[str, Any]]:
    with reading(path), path.open(encoding="utf-8-sig", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                value = parse_json(line, path, number, decoder)
            except LeadlineError as error:
                ledger.reject_error(path, error.row, error)
                continue
            yield f"line {number}", value


def sniff_separator(path: Path) -> str:
    """Comma, semicolon or tab: the one that splits the header line most."""
    check_encoding(path)
    with reading(path), path.open(encoding="utf-8-sig") as stream:
        header = stream.readline(1_000_000)
    match = SEPARATOR_LINE.match(header)
    if match:  # Excel writes it so that it finds its own separator again
        return match[1]
    return max(",;\t", key=header.count)


def csv_rows(path: Path, ledger: RejectedRows) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header of a delimited text file and its records, each with its line number.

    Blank lines are passed over, and so are further header rows and test rows of survey
    platforms (noted). A record with another number of fields than the header is bad, and so is
    a broken quote.
    """
    head, records = csv_head(path)
    if head.rows:
        ledger.note_once(path, head.note, head.rows)
    return head.names, _full_records(records, head.names, path, ledger)


def csv_head(path: Path) -> tuple[TableHead, Iterator[tuple[int, list[str]]]]:
    """The head of a delimited text file, and the records below it."""
    records = _csv_records(path, sniff_separator(path))
    first = next(records, None)
    if first is None:
        raise LeadlineError("The file holds no header.", remedy="Export it again.", file=path)
    following = list(islice(records, 2))
    head = head_of(first[1], [fields for _, fields in following])
    check_header(head.names, path)
    return head, chain(following[head.rows :], records)


def question_texts(path: Path) -> dict[str, str]:
    """What was asked in each column, where a table has a header row that says so."""
    return csv_head(path)[0].texts if path.suffix.lower() in TEXT_TABLES else {}


def check_header(header: list[str], path: Path) -> None:
    """Refuse a header with a repeated name."""
    if len(header) > MOST_COLUMNS:
        raise LeadlineError(
            f"The table has {len(header):,} columns; up to {MOST_COLUMNS:,} are read.",
            remedy="Export only the columns that are needed.",
            file=path,
            row=1,
        )
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twice:
        raise LeadlineError(
            f"The header names a column twice: {listed(twice, header)}.",
            remedy="Rename one of them.",
            file=path,
            row=1,
        )


def _full_records(
    records: Iterator[tuple[int, list[str]]], header: list[str], path: Path, ledger: RejectedRows
) -> Iterator[tuple[int, list[str]]]:
    width = len(header)
    status = preview_places(header)
    previews = 0
    for line, fields in records:
        if len(fields) == width:
            if status and is_preview(fields, status):
                previews += 1
                continue
            yield line, fields
        elif any(field.strip() for field in fields):
            ledger.reject(
                path,
                line,
                f"The row has {len(fields)} fields, the header {width}.",
                "Put text that holds the separator or a line break in double quotes.",
            )
    ledger.note_once(path, PREVIEWS, previews)


def _csv_records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(2**31 - 1)  # long turns are judged by --max-turn-chars
    try:
        with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
            first = 2 if SEPARATOR_LINE.match(stream.readline()) else 1
            if first == 1:
                stream.seek(0)
            line = first
            reader = csv.reader(stream, delimiter=separator, strict=True)
            try:
                for fields in reader:
                    yield line, fields
                    line = reader.line_num + first
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
    """Batches of a CSV, TSV, Parquet, Excel or JSON table; a column ``__row`` locates rows.

    Delimited text gives String columns with null for empty fields; the others keep their types.
    Rows count from 1 in Parquet and JSON and are physical lines in text. `columns` limits what is
    read of Parquet.
    """
    check_file(path)
    suffix = path.suffix.lower()
    if suffix in TEXT_TABLES:
        yield from _text_batches(path, ledger)
    elif suffix in JSON:
        yield _json_frame(path, ledger)
    elif suffix in EXCEL:
        yield _excel_frame(path)
    else:
        yield from _parquet_batches(path, columns)


def _json_frame(path: Path, ledger: RejectedRows) -> pl.DataFrame:
    """A table of JSON objects; what lies one level deeper is a column of its own (``items.q1``)."""
    rows: list[dict[str, Any]] = []
    values = (entry for _, value in json_values(path, ledger) for entry in table_rows(value))
    for number, value in enumerate(values, 1):
        if not isinstance(value, Mapping):
            ledger.reject(path, f"entry {number}", "This is no JSON object.", "Remove it.")
            continue
        rows.append({"__row": number, **flat_row(value)})
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        raise LeadlineError("The file holds no row.", remedy="Export it again.", file=path)
    columns = [json_column(name, [row.get(name) for row in rows]) for name in names]
    return pl.DataFrame(columns)


def _excel_frame(path: Path) -> pl.DataFrame:
    """The first sheet of a workbook that holds a table."""
    try:
        import fastexcel
    except ImportError as error:
        raise LeadlineError(
            "Reading Excel files needs the package fastexcel, which is not installed.",
            remedy="Install it with: pip install 'leadline[excel]', or save the sheet as CSV.",
            file=path,
        ) from error
    check_workbook(path)
    try:
        book = fastexcel.read_excel(path)
        sheets = [book.load_sheet(name, header_row=None, dtypes="string")
                  for name in book.sheet_names]  # fmt: skip
        tables = [table for sheet in sheets if (table := sheet.to_polars()).height > 1]
    except Exception as error:  # fastexcel raises errors of its own for every broken file
        raise LeadlineError(
            "This is not a readable Excel file.", remedy="Save the sheet as CSV.", file=path
        ) from error
    if len(tables) != 1:
        raise LeadlineError(
            f"The workbook has {len(tables)} sheets with a table, where one is needed.",
            remedy="Save the sheet that is meant as CSV.",
            file=path,
        )
    rows = [[cell or "" for cell in row] for row in tables[0].iter_rows()]
    head = head_of(rows[0], rows[1:3])
    check_header(head.names, path)
    lines = list(range(2 + head.rows, len(rows) + 1))
    return _text_frame(head.names, lines, rows[1 + head.rows :])


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


def _parquet_batches(
    path: Path, columns: list[str] | None, size: int = 0
) -> Iterator[pl.DataFrame]:
    start = 1
    with reading(path):
        check_header(parquet_names(path), path)
        for frame in parquet_frames(path, columns, size or BATCH):
            stop = start + frame.height
            yield frame.with_columns(__row=pl.int_range(start, stop, dtype=pl.Int64))
            start = stop


def table_header(path: Path, ledger: RejectedRows) -> list[str]:
    """The column names of a CSV, TSV, Parquet, Excel or JSON table."""
    check_file(path)
    suffix = path.suffix.lower()
    if suffix in TEXT_TABLES:
        return csv_rows(path, ledger)[0]
    if suffix in JSON or suffix in EXCEL:
        frame = next(table_batches(path, ledger))
        return [name for name in frame.columns if name != "__row"]
    try:
        with reading(path):
            return list(pq.read_schema(path).names)
    except pa.ArrowException as error:
        raise LeadlineError(
            "This is not a readable Parquet file, nor a known kind of text table.",
            remedy="Give a .parquet, .csv, .tsv, .json or .jsonl file.",
            file=path,
        ) from error
