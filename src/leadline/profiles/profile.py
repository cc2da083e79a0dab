"""What is said of each item: the chance of each answer, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from leadline.arrays import Array, Ints
from leadline.phq9.graded_response import ANSWER_LEVELS
from leadline.phq9.items import ITEM_COLUMNS

LEVEL = 0.9  # mass that an interval of an answer holds at least

ITEM_NOTICE = (
    "Items are read off the total by how answers hang together, and the sum of the expected "
    "answers is the estimated total. Item 9 is there as a part of the total: it is no sign of "
    "risk or of safety, whatever its value, and nothing may be decided by it."
)
"""Said wherever a profile is shown."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Chances of the answers 0 to 3 to K items at R readings.

    Attributes:
        chances: shape (R, K, 4); the last axis sums to 1.
    """

    chances: Array

    def expected(self) -> Array:
        """Expected answers, shape (R, K); a row sums to the mean of the total."""
        return np.asarray(self.chances @ np.arange(ANSWER_LEVELS))

    def answer_at(self, level: float) -> Ints:
        """The least answer that the chance of it or less reaches `level`, shape (R, K)."""
        below = np.cumsum(self.chances, axis=-1) < level - 1e-12
        return np.asarray(np.minimum(below.sum(axis=-1), ANSWER_LEVELS - 1), dtype=np.int64)

    def interval(self) -> tuple[Ints, Ints]:
        """Least and greatest answer of an interval that holds `LEVEL` or more, each (R, K)."""
        return self.answer_at((1.0 - LEVEL) / 2), self.answer_at((1.0 + LEVEL) / 2)

    def columns(self) -> dict[str, Any]:
        """Columns of `profile_schema`."""
        expected, (lower, upper) = self.expected(), self.interval()
        columns: dict[str, Any] = {}
        for item in range(self.chances.shape[1]):
            name = ITEM_COLUMNS[item]
            columns[name] = expected[:, item]
            columns[f"{name}_chances"] = self.chances[:, item].tolist()
            columns[f"{name}_lower"] = lower[:, item].astype(np.int8)
            columns[f"{name}_upper"] = upper[:, item].astype(np.int8)
        return columns


def profile_schema(items: int) -> Mapping[str, pl.DataType]:
    """Columns that a profile of so many items adds to a table of `tables.ESTIMATES`."""
    schema: dict[str, pl.DataType] = {}
    for name in ITEM_COLUMNS[:items]:
        schema[name] = pl.Float64()  # the expected answer
        schema[f"{name}_chances"] = pl.List(pl.Float64())  # of 0, 1, 2 and 3
        schema[f"{name}_lower"] = pl.Int8()
        schema[f"{name}_upper"] = pl.Int8()
    return schema
