"""Distributions over the totals 0..27."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from leadline.arrays import Array
from leadline.phq9.items import TOTALS

EDGES = np.arange(TOTALS + 1) - 0.5  # of the bins of the totals 0..27
SMALLEST_DEVIATION = 0.5  # PHQ-9 points; people who all score alike would otherwise give 0


def crps(distribution: Array, gold: Array) -> Array:
    """CRPS of each distribution over 0..27 (labels, totals) at `gold`, (labels,), in points.

    The sum over k of (P(X <= k) - [gold <= k])^2: the integral of the continuous ranked
    probability score, since both steps change at integers only (Gneiting and Raftery 2007).
    """
    cumulative = np.cumsum(distribution, axis=1)
    step = gold[:, None] <= np.arange(distribution.shape[1])
    return np.asarray(((cumulative - step) ** 2).sum(axis=1), dtype=np.float64)


def totals_distribution(mean: Array, sd: Array) -> Array:
    """Probabilities of the totals 0..27, shape (R, 28), of a rounded and bounded normal.

    Args:
        mean: of the unbounded normal, shape (R,).
        sd: its standard deviation, positive, shape (R,).
    """
    cdf = ndtr((EDGES[None, 1:-1] - mean[:, None]) / sd[:, None])
    closed = np.concatenate([np.zeros((len(mean), 1)), cdf, np.ones((len(mean), 1))], axis=1)
    out: Array = np.diff(closed, axis=1)
    return out


def total_probability(mean: Array, sd: Array, total: Array) -> Array:
    """The entry of `totals_distribution` at the rounded `total`, shape (R,), at a tenth the cost.

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


def distribution_mean(distribution: Array) -> Array:
    """Expected total, shape (R,), of distributions (R, 28)."""
    out: Array = distribution @ np.arange(TOTALS)
    return out


def distribution_quantile(distribution: Array, level: float | Array) -> Array:
    """Quantiles on the scale 0..27, shape (R,), linear within the bin of each total."""
    levels = np.broadcast_to(np.asarray(level, dtype=np.float64), (len(distribution),))
    cdf = np.concatenate([np.zeros((len(distribution), 1)), distribution.cumsum(axis=1)], axis=1)
    out = np.array(
        [np.interp(p, row, EDGES) for p, row in zip(levels, cdf, strict=True)], dtype=np.float64
    )
    return np.clip(out, 0.0, TOTALS - 1.0)


def at_least(distribution: Array, threshold: int) -> Array:
    """P(total >= threshold), shape (R,)."""
    out: Array = distribution[:, threshold:].sum(axis=1)
    return np.clip(out, 0.0, 1.0)
