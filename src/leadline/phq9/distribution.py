"""Distributions over the totals 0..27: what every estimate is, from the head to the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from leadline.arrays import Array, Ints
from leadline.phq9.items import TOTALS

EDGES = np.arange(TOTALS + 1) - 0.5  # of the bins of the totals 0..27
OWN_ERROR = 2.5
"""PHQ-9 points: the standard error of measurement of a total at the default reliability
(`reliability.standard_error`). Nobody's next total can be told
more closely than this, so no interval is narrower."""

SMALLEST_DEVIATION = 0.5  # PHQ-9 points; people who all score alike would otherwise give 0


@dataclass(frozen=True, eq=False)
class Totals:
    """R distributions over the totals 0..27, a row each.

    A total stands for the bin half a point to either side of it; quantiles take the mass as even
    within a bin.

    Attributes:
        probabilities: of the totals, shape (R, 28); each row sums to 1.

    Raises:
        ValueError: the array has another shape.
    """

    probabilities: Array

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 2 or self.probabilities.shape[1] != TOTALS:
            raise ValueError(f"shape {self.probabilities.shape} is not (R, {TOTALS})")

    @classmethod
    def normal(cls, mean: Array, sd: Array) -> Totals:
        """Rounded and bounded normals: all mass below 0 on 0, and above 27 on 27.

        Args:
            mean: of the unbounded normal, shape (R,).
            sd: its standard deviation, positive, shape (R,).
        """
        cdf = ndtr((EDGES[None, 1:-1] - mean[:, None]) / sd[:, None])
        closed = np.concatenate([np.zeros((len(mean), 1)), cdf, np.ones((len(mean), 1))], axis=1)
        return cls(np.diff(closed, axis=1))

    @classmethod
    def mixture(cls, share: Array, places: Array, sd: Array) -> Totals:
        """Rounded and bounded mixtures of normals: all mass below 0 on 0, and above 27 on 27.

        Args:
            share: of each normal, rows that sum to 1, shape (R, M).
            places: means of the unbounded normals, shape (R, M).
            sd: the standard deviation that the normals of a row share, positive, shape (R,).
        """
        cdf = np.zeros((len(sd), TOTALS - 1))
        for mass, place in zip(share.T, places.T, strict=True):
            z = (EDGES[None, 1:-1] - place[:, None]) / sd[:, None]
            cdf += mass[:, None] * ndtr(z)
        ends = (np.zeros((len(sd), 1)), np.ones((len(sd), 1)))
        closed = np.concatenate([ends[0], np.minimum(cdf, 1.0), ends[1]], axis=1)
        return cls(np.diff(closed, axis=1))

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[float]]) -> Totals:
        """From lists of 28 probabilities, as a column of a table holds them."""
        return cls(np.array(list(rows), dtype=np.float64).reshape(-1, TOTALS))

    @classmethod
    def average(cls, count: int, models: Iterable[tuple[Ints, Totals]]) -> Totals:
        """`count` distributions, each the average of what some models say.

        Args:
            count: R.
            models: for each model the rows that it has a say in, and its distributions of these.
        """
        total, votes = np.zeros((count, TOTALS)), np.zeros(count)
        for rows, part in models:
            total[rows] += part.probabilities
            votes[rows] += 1
        assert votes.min(initial=1) >= 1, "every row has a model that may speak of it"
        return cls(total / votes[:, None])

    def __len__(self) -> int:
        return len(self.probabilities)

    def take(self, rows: Ints | slice) -> Totals:
        """The distributions at `rows`."""
        return Totals(self.probabilities[rows])

    def put(self, rows: Ints, others: Totals) -> Totals:
        """The same with `others` at `rows`."""
        probabilities = self.probabilities.copy()
        probabilities[rows] = others.probabilities
        return Totals(probabilities)

    def rows(self) -> list[list[float]]:
        """Lists of 28 probabilities, for a column of a table."""
        lists: list[list[float]] = self.probabilities.tolist()
        return lists

    def mean(self) -> Array:
        """Expected total, shape (R,)."""
        mean: Array = self.probabilities @ np.arange(TOTALS)
        return mean

    def variance(self) -> Array:
        """Variance of the total, shape (R,), never below 0."""
        square = self.probabilities @ np.arange(TOTALS) ** 2
        return np.maximum(square - self.mean() ** 2, 0.0)

    def cumulative(self) -> Array:
        """P(total <= k), shape (R, 28)."""
        return np.cumsum(self.probabilities, axis=1)

    def at_least(self, threshold: int) -> Array:
        """P(total >= threshold), shape (R,)."""
        chance: Array = self.probabilities[:, threshold:].sum(axis=1)
        return np.clip(chance, 0.0, 1.0)

    def quantile(self, level: float | Array) -> Array:
        """Quantiles on the scale 0..27, shape (R,), at one level or at one a row."""
        levels = np.broadcast_to(np.asarray(level, dtype=np.float64), (len(self),))
        cdf = np.concatenate([np.zeros((len(self), 1)), self.cumulative()], axis=1)
        out = np.array(
            [np.interp(p, row, EDGES) for p, row in zip(levels, cdf, strict=True)], dtype=np.float64
        )
        return np.clip(out, 0.0, TOTALS - 1.0)

    def median(self) -> Array:
        """The quantile at one half, shape (R,)."""
        return self.quantile(0.5)

    def interval(self, width: float | Array) -> tuple[Array, Array]:
        """Lower and upper end of the central interval of mass `width`, each (R,)."""
        return self.quantile((1 - width) / 2), self.quantile((1 + width) / 2)

    def delivered_interval(self, width: float | Array) -> tuple[Array, Array]:
        """`interval`, but at least `OWN_ERROR` to either side of the median, within 0..27."""
        lower, upper = self.interval(width)
        median = self.median()
        least = np.maximum(median - OWN_ERROR, 0.0)
        most = np.minimum(median + OWN_ERROR, TOTALS - 1.0)
        return np.minimum(lower, least), np.maximum(upper, most)

    def crps(self, gold: Array) -> Array:
        """CRPS at `gold` (R,), shape (R,), in points.

        The sum over k of (P(X <= k) - [gold <= k])^2: the integral of the continuous ranked
        probability score, since both steps change at integers only (Gneiting and Raftery 2007).
        """
        step = gold[:, None] <= np.arange(TOTALS)
        return np.asarray(((self.cumulative() - step) ** 2).sum(axis=1), dtype=np.float64)


def total_probability(mean: Array, sd: Array, total: Array) -> Array:
    """The entry of `Totals.normal` at the rounded `total`, shape (R,), at a tenth the cost.

    Args:
        mean: of the unbounded normal, shape (R,).
        sd: its standard deviation, positive, shape (R,).
        total: observed totals in 0..27, shape (R,).
    """
    bins = np.rint(total).astype(int)
    below = np.where(bins == 0, 0.0, ndtr((EDGES[bins] - mean) / sd))
    upto = np.where(bins == TOTALS - 1, 1.0, ndtr((EDGES[bins + 1] - mean) / sd))
    out: Array = upto - below
    return out
