"""Files that unfold: how much a file may hold for what it weighs, asked before it is read.

Compressed and coded formats can say a gigabyte in a kilobyte. Real tables unfold 2 to 50 times;
what goes far beyond is refused, so that reading costs in proportion to bytes on disk.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from leadline.errors import LeadlineError

TIMES = 200  # how often a file may hold its own weight

LEAST_BYTES = 64_000_000  # that any file may hold

BOOK_TIMES = 100  # the same for a workbook, which is markup and is read at once

LEAST_BOOK_BYTES = 32_000_000

VALUES_A_BYTE = 100

LEAST_VALUES = 200_000  # that any file may hold

MOST_SHEETS = 200

TAG = re.compile(
    rb"""<(?:\w{1,20}:)?(row|c|v|si|sheet)(?=[\s/>])((?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>([^<]*+)"""
)
"""Rows, cells, values, shared texts and sheets, with their attributes and the text behind them."""

SHARED = re.compile(rb"""\bt\s*=\s*["']s["']""")

ROW_NUMBER = re.compile(rb"""\br\s*=\s*["']([0-9]{1,9})["']""")

REFERENCE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{1,4})([0-9]{1,9})["']""")


def too_much(path: Path) -> LeadlineError:
    """The error for a file that holds far more than it weighs."""
    return LeadlineError(
        f"The file has {path.stat().st_size:,} bytes and unfolds to many times what such files "
        "hold; it may be made to fill the memory.",
        remedy="If it is yours, write it again as CSV, or in several files.",
        file=path,
    )


def check_bytes(path: Path, count: int, least: int = LEAST_BYTES, times: int = TIMES) -> None:
    """Refuse a file that unfolds to `count` bytes.

    Raises:
        LeadlineError: it is too many for its size.
    """
    if count > least + times * path.stat().st_size:
        raise too_much(path)


def check_values(path: Path, count: int) -> None:
    """Refuse a file that unfolds to `count` rows, entries or cells.

    Raises:
        LeadlineError: they are too many for its size.
    """
    if count > LEAST_VALUES + VALUES_A_BYTE * path.stat().st_size:
        raise too_much(path)


def check_workbook(path: Path) -> None:
    """Refuse a workbook whose parts, cells or shared texts are too many for its size.

    A sheet is read as one rectangle up to its last cell, with each shared text in each of its
    cells. Which part is a sheet is not asked: any part may be made one, and any sheet read twice.

    Raises:
        LeadlineError: it is none, or unfolds to too much.
    """
    try:
        with zipfile.ZipFile(path) as book:
            parts = book.infolist()
            _check_book_bytes(path, sum(part.file_size for part in parts))
            contents = [book.read(part) for part in parts]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise LeadlineError(
            "This is not a readable Excel file.", remedy="Save the sheet as CSV.", file=path
        ) from error
    lengths = [size for content in contents for size in _shared_sizes(content)]
    extents = [_extent(content, lengths) for content in contents]
    sheets = sum(extent.sheets for extent in extents)
    if sheets > min(MOST_SHEETS, len(parts)):
        raise too_much(path)
    check_values(path, sheets * max((extent.cells for extent in extents), default=0))
    _check_book_bytes(path, sheets * max((extent.text_bytes for extent in extents), default=0))


def _check_book_bytes(path: Path, count: int) -> None:
    check_bytes(path, count, LEAST_BOOK_BYTES, BOOK_TIMES)


def _shared_sizes(content: bytes) -> list[int]:
    """Bytes of each shared text of a part, from the places where they begin."""
    starts = [tag.start() for tag in TAG.finditer(content) if tag[1] == b"si"]
    return [stop - start for start, stop in zip(starts, [*starts[1:], len(content)], strict=False)]


class Extent(NamedTuple):
    """What a part of a workbook may become.

    Attributes:
        sheets: that it lists.
        cells: of the rectangle that its cells span.
        text_bytes: of the shared texts in its cells.
    """

    sheets: int
    cells: int
    text_bytes: int


def _extent(content: bytes, lengths: list[int]) -> Extent:
    longest = max(lengths, default=0)
    sheets = row = rows = column = columns = text_bytes = 0
    is_shared = False
    for kind, attributes, text in TAG.findall(content):
        if kind == b"sheet":
            sheets += 1
        elif kind == b"row":
            number = ROW_NUMBER.search(attributes)
            row, column = int(number[1]) if number else row + 1, 0
        elif kind == b"c":
            is_shared = SHARED.search(attributes) is not None
            place = REFERENCE.search(attributes)
            column = _column_number(place[1].upper()) if place else column + 1
            columns, rows = max(columns, column), max(rows, row, int(place[2]) if place else 0)
        elif kind == b"v" and is_shared:
            number_of_text = int(text) if text.strip().isdigit() else -1
            is_known = 0 <= number_of_text < len(lengths)
            text_bytes += lengths[number_of_text] if is_known else longest
    return Extent(sheets, rows * columns, text_bytes)


def _column_number(letters: bytes) -> int:
    """The number of a column from its letters.

    >>> _column_number(b"A"), _column_number(b"AB"), _column_number(b"XFD")
    (1, 28, 16384)
    """
    number = 0
    for letter in letters:
        number = 26 * number + letter - ord("A") + 1
    return number
