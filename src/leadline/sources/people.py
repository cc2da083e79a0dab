"""What a source says about a person beside their words: age, gender, site."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from leadline.sources.rejects import RejectedRows
from leadline.tables import PEOPLE

WHOLE = re.compile(r"^-?(0|[1-9]\d{0,17})$")

DECIMAL = re.compile(r"^-?(0|[1-9]\d*)(\.\d+)?$")


@dataclass
class PeopleColumns:
    """Extra columns of people, one value each, as the source gave them."""

    columns: tuple[str, ...]
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def add(
        self, person: str, values: Sequence[Any], file: Path, row: int | str, ledger: RejectedRows
    ) -> None:
        """Note the values of a person; another value than before is a bad row."""
        old_values = self.values.get(person)
        if old_values is None:
            self.values[person] = tuple(values)
            return
        merged = tuple(
            new if old is None else old for old, new in zip(old_values, values, strict=True)
        )
        self.values[person] = merged
        pairs = zip(self.columns, merged, values, strict=True)
        clash = [name for name, old, new in pairs if new is not None and new != old]
        if clash:
            ledger.reject(
                file,
                row,
                f"A person has two different values of {', '.join(clash)}.",
                "Correct one, or leave the column out: a people column is constant.",
            )

    def add_rows(self, rows: pl.DataFrame, file: Path, ledger: RejectedRows) -> None:
        """`add` for a frame with the columns row, person and `columns`."""
        if not self.columns:
            return
        names = ["person", *self.columns]
        unique = rows.select("row", *names).filter(pl.col("person").is_not_null())
        unique = unique.unique(names, keep="first", maintain_order=True)
        for row, person, *values in unique.iter_rows():
            self.add(person, values, file, row, ledger)

    def table(self, order: Iterable[str]) -> pl.DataFrame:
        """`people.parquet`: those in `order`, then others that the source described."""
        everyone = list(dict.fromkeys([*order, *self.values]))
        empty = (None,) * len(self.columns)
        rows = [self.values.get(person, empty) for person in everyone]
        extra = {
            name: typed([row[place] for row in rows]) for place, name in enumerate(self.columns)
        }
        return pl.DataFrame(
            {"person_id": everyone, "locked": [False] * len(everyone), **extra},
            schema_overrides=dict(PEOPLE),
        )


def typed(values: Sequence[Any]) -> pl.Series:
    """A column of the narrowest type that holds every value unchanged."""
    non_null = [value for value in values if value is not None]
    texts = [value for value in non_null if isinstance(value, str)]
    if not non_null:
        return pl.Series(values, dtype=pl.String)
    if len(texts) == len(non_null):
        if all(WHOLE.match(text) for text in texts):
            return pl.Series(_map(values, int), dtype=pl.Int64)
        if all(DECIMAL.match(text) for text in texts):
            return pl.Series(_map(values, float), dtype=pl.Float64)
        return pl.Series(values, dtype=pl.String)
    if all(isinstance(value, bool) for value in non_null):
        return pl.Series(values, dtype=pl.Boolean)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in non_null):
        return pl.Series(_map(values, float), dtype=pl.Float64)
    return pl.Series(_map(values, str), dtype=pl.String)


def _map(values: Sequence[Any], kind: type) -> list[Any]:
    return [None if value is None else kind(value) for value in values]


def picked(record: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """Values of `columns` in a JSON object; lists and objects count as absent."""
    values = [record.get(name) for name in columns]
    return [value if isinstance(value, str | int | float | bool) else None for value in values]
