"""Raw turns on their way from a layout to the cohort."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from leadline.errors import LeadlineError
from leadline.tables import type_name

NOBODY = "\x00"  # the author of a row that names none, until their conversation says whose it is

ONLY = "1"  # the conversation's name where the source has none


class RawTurnBatch(NamedTuple):
    """Raw turns of one file.

    `rows` has the columns ``row`` (locator: number or text), ``person``, ``speaker``,
    ``text`` and may have ``conversation``, ``turn`` (position) and ``time``.
    """

    file: Path
    rows: pl.DataFrame


ROUNDED = r"^\s*\d(?:\.\d+)?E\+\d{2,}\s*$"  # how a spreadsheet shows a number that is too long


def _refuse_rounded(rounded: pl.Series, what: str, file: Path) -> None:
    """Refuse identifiers that a program has rounded: two people may have become one."""
    if rounded.any():
        raise LeadlineError(
            f"The {what} column holds numbers of more digits than a floating-point number keeps, "
            "so that identifiers were rounded and two may have become one.",
            remedy=f"Export the {what} column as text, or as whole numbers of 64 bits.",
            file=file,
        )


def as_identifier(values: pl.Series, what: str, file: Path) -> pl.Series:
    """Identifiers as text: text as it is, whole numbers in digits.

    Raises:
        LeadlineError: the column holds neither.
    """
    kind = values.dtype
    if kind == pl.String:
        if values.str.contains("E+", literal=True).any():
            _refuse_rounded(values.str.contains(ROUNDED), what, file)
        return values
    if kind.is_float():
        values = values.fill_nan(None)
        _refuse_rounded(values.abs() > 2**53, what, file)
        if (values.drop_nulls() == values.drop_nulls().floor()).all():
            return values.cast(pl.Int64, strict=False).cast(pl.String)
    if kind.is_integer() or kind == pl.Null or isinstance(kind, pl.Categorical | pl.Enum):
        return values.cast(pl.String)
    raise LeadlineError(
        f"The {what} column holds {type_name(kind)}, not text or whole numbers.",
        remedy=f"Name another column, or export the {what} as text.",
        file=file,
    )
