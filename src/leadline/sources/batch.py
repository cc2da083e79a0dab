"""Raw turns on their way from a layout to the cohort."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from leadline.errors import LeadlineError

ONLY = "1"  # the conversation's name where the source has none


class RawTurnBatch(NamedTuple):
    """Raw turns of one file.

    `rows` has the columns ``row`` (locator: number or text), ``person``, ``speaker``,
    ``text`` and may have ``conversation``, ``turn`` (position) and ``time``.
    """

    file: Path
    rows: pl.DataFrame


def as_identifier(values: pl.Series, what: str, file: Path) -> pl.Series:
    """Identifiers as text: text as it is, whole numbers in digits.

    Raises:
        LeadlineError: the column holds neither.
    """
    kind = values.dtype
    if kind == pl.String:
        return values
    if kind.is_float():
        values = values.fill_nan(None)
        if (values.drop_nulls() == values.drop_nulls().floor()).all():
            return values.cast(pl.Int64, strict=False).cast(pl.String)
    if kind.is_integer() or kind == pl.Null or isinstance(kind, pl.Categorical | pl.Enum):
        return values.cast(pl.String)
    raise LeadlineError(
        f"The {what} column holds {kind}, not text or whole numbers.",
        remedy=f"Name another column, or export the {what} as text.",
        file=file,
    )
