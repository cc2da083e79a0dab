"""Every metric once, over a matrix of person weights.

Each function takes `weights` of shape (resamples, labels) and returns one value per row. A
row of ones gives the metric of the sample itself; a row that counts how often each label was
drawn gives the metric of that bootstrap resample, exactly as if the sample had been rebuilt.
So the number and its interval come from the same lines of code. What is undefined in a row
(a class without members, constant estimates) is NaN there and becomes null with a reason
in `results.json`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Bools
from leadline.phq9.distribution import Totals

FLAT = 1e-9  # a variance below this is that of a constant


def ratio(numerator: Array, denominator: Array) -> Array:
    """`numerator / denominator`, NaN where the denominator is not above zero."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def weighted_mean(values: Array, weights: Array) -> Array:
    """Mean of `values` (labels,) in each row of `weights`."""
    return ratio(weights @ values, weights.sum(axis=1))


@dataclass(frozen=True)
class Moments:
    """First and second moments of gold totals and estimates in each resample.

    All attributes have shape (resamples,). Variances divide by n.
    """

    gold: Array
    estimate: Array
    gold_variance: Array
    estimate_variance: Array
    covariance: Array
    squared_error: Array

    @classmethod
    def of(cls, gold: Array, estimate: Array, weights: Array) -> Moments:
        """Moments of `gold` and `estimate` (labels,) under `weights`."""
        # centring first keeps the differences of large sums exact
        gold_centre, estimate_centre = gold.mean(), estimate.mean()
        x, y = gold - gold_centre, estimate - estimate_centre
        columns = np.stack([x, y, x * x, y * y, x * y, (gold - estimate) ** 2], axis=1)
        sums = ratio(weights @ columns, weights.sum(axis=1, keepdims=True))
        mean_x, mean_y, xx, yy, xy, squared = sums.T
        return cls(
            gold=mean_x + gold_centre,
            estimate=mean_y + estimate_centre,
            gold_variance=xx - mean_x**2,
            estimate_variance=yy - mean_y**2,
            covariance=xy - mean_x * mean_y,
            squared_error=squared,
        )

    def rmse(self) -> Array:
        """Root mean squared error."""
        return np.sqrt(self.squared_error)

    def bias(self) -> Array:
        """Mean of estimate minus gold: above zero, the model overestimates."""
        return self.estimate - self.gold

    def pearson(self) -> Array:
        """Pearson correlation; NaN if gold or estimate is constant."""
        flat = (self.gold_variance < FLAT) | (self.estimate_variance < FLAT)
        product = np.where(flat, 0.0, self.gold_variance * self.estimate_variance)
        return ratio(self.covariance, np.sqrt(product))

    def concordance(self) -> Array:
        """Lin's concordance correlation coefficient (Biometrics 1989;45:255), variances by n."""
        spread = self.gold_variance + self.estimate_variance + self.bias() ** 2
        return ratio(2 * self.covariance, np.where(spread < FLAT, 0.0, spread))

    def slope(self) -> Array:
        """Calibration slope: least squares of gold on estimate; 1 is ideal."""
        variance = np.where(self.estimate_variance < FLAT, 0.0, self.estimate_variance)
        return ratio(self.covariance, variance)

    def intercept(self) -> Array:
        """Calibration intercept that belongs to `slope`; 0 is ideal."""
        return self.gold - self.slope() * self.estimate

    def variance_ratio(self) -> Array:
        """SD of the estimates over SD of the gold totals: below 1, extremes are compressed."""
        variance = np.where(self.gold_variance < FLAT, 0.0, self.gold_variance)
        return np.sqrt(np.maximum(ratio(self.estimate_variance, variance), 0.0))

    def variance_explained(self) -> Array:
        """1 - MSE / variance of gold: below 0, worse than the mean of the sample."""
        variance = np.where(self.gold_variance < FLAT, 0.0, self.gold_variance)
        return 1.0 - ratio(self.squared_error, variance)


def weighted_quantiles(values: Array, quantiles: tuple[float, ...], weights: Array) -> Array:
    """Quantiles by the inverted distribution function, shape (quantiles, resamples)."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[:, order], axis=1)
    total = cumulative[:, -1:]
    # the small slack keeps q * n from missing its own step by rounding
    first = [np.argmax(cumulative >= q * total - 1e-9, axis=1) for q in quantiles]
    return np.asarray(values[order][np.stack(first)], dtype=np.float64)


def midranks(values: Array, weights: Array) -> Array:
    """Midranks of `values` within each resample, shape (resamples, labels)."""
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(mass, axis=1) - mass / 2
    return np.asarray(ranks[:, group], dtype=np.float64)


def spearman(gold_ranks: Array, estimate_ranks: Array, weights: Array) -> Array:
    """Pearson correlation of midranks (both of shape (resamples, labels)) in each resample."""
    total = weights.sum(axis=1)
    x = gold_ranks - ratio((weights * gold_ranks).sum(axis=1), total)[:, None]
    y = estimate_ranks - ratio((weights * estimate_ranks).sum(axis=1), total)[:, None]
    covariance = np.einsum("bl,bl,bl->b", weights, x, y)
    xx = np.einsum("bl,bl,bl->b", weights, x, x)
    yy = np.einsum("bl,bl,bl->b", weights, y, y)
    flat = (xx < FLAT) | (yy < FLAT)
    return ratio(covariance, np.sqrt(np.where(flat, 0.0, xx * yy)))


def auc(gold: Array, score: Array, thresholds: tuple[int, ...], weights: Array) -> Array:
    """AUC of `score` for gold >= each threshold, shape (thresholds, resamples).

    The share of pairs (one person at or above the threshold, one below) in which the score
    orders them rightly, ties counting half: the Mann-Whitney statistic over weights.
    """
    distinct, group = np.unique(score, return_inverse=True)
    order = np.argsort(group, kind="stable")
    sorted_weights, sorted_gold = weights[:, order], gold[order]
    tied = len(distinct) < len(score)
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    out = np.empty((len(thresholds), len(weights)))
    for index, threshold in enumerate(thresholds):
        above = sorted_weights * (sorted_gold >= threshold)
        below = sorted_weights - above
        if tied:
            above = np.add.reduceat(above, starts, axis=1)
            below = np.add.reduceat(below, starts, axis=1)
        lower = np.cumsum(below, axis=1) - below / 2
        wins = np.einsum("bg,bg->b", above, lower)
        out[index] = ratio(wins, above.sum(axis=1) * below.sum(axis=1))
    return out


def screening(above: Bools, flagged: Bools, weights: Array) -> tuple[Array, Array, Array]:
    """Sensitivity, specificity and the share flagged, each (resamples,)."""
    at, under = above.astype(float), (~above).astype(float)
    sensitivity = ratio(weights @ (at * flagged), weights @ at)
    specificity = ratio(weights @ (under * ~flagged), weights @ under)
    return sensitivity, specificity, weighted_mean(flagged.astype(float), weights)


def predictive_values(
    sensitivity: Array, specificity: Array, prevalence: Array | float
) -> tuple[Array, Array]:
    """PPV and NPV at a prevalence by Bayes' rule."""
    share = np.asarray(prevalence, dtype=np.float64)
    hit, false_alarm = sensitivity * share, (1 - specificity) * (1 - share)
    miss, quiet = (1 - sensitivity) * share, specificity * (1 - share)
    return ratio(hit, hit + false_alarm), ratio(quiet, quiet + miss)


def weighted_kappa(gold_band: Array, estimate_band: Array, bands: int, weights: Array) -> Array:
    """Cohen's kappa of ordered bands with quadratic weights, (resamples,)."""
    cell = (gold_band * bands + estimate_band).astype(int)
    counts = weights @ np.eye(bands * bands)[cell]
    table = ratio(counts, counts.sum(axis=1, keepdims=True)).reshape(-1, bands, bands)
    distance = np.subtract.outer(np.arange(bands), np.arange(bands)) ** 2 / (bands - 1) ** 2
    observed = np.einsum("bij,ij->b", table, distance)
    expected = np.einsum("bi,bj,ij->b", table.sum(axis=2), table.sum(axis=1), distance)
    return 1.0 - ratio(observed, np.where(expected < FLAT, 0.0, expected))


def central_interval(totals: Totals, level: float) -> tuple[Array, Array]:
    """Bounds (lower, upper) of the central interval on whole totals, each (labels,).

    They are the quantiles at (1 - level)/2 and (1 + level)/2, both included.
    """
    cumulative = totals.cumulative()
    cumulative /= cumulative[:, -1:]
    tail = (1 - level) / 2
    lower = (cumulative >= tail - 1e-9).argmax(axis=1)
    upper = (cumulative >= 1 - tail - 1e-9).argmax(axis=1)
    return lower.astype(float), upper.astype(float)


def pit_histogram(totals: Totals, gold: Array, bins: int, weights: Array) -> Array:
    """Mass of the PIT in equal bins of 0..1, shape (resamples, bins); flat is calibrated.

    Non-randomised PIT for counts (Czado, Gneiting and Held, Biometrics 2009;65:1254): each
    label spreads its mass evenly between P(X < gold) and P(X <= gold).
    """
    rows, index = np.arange(len(gold)), gold.astype(int)
    high = totals.cumulative()[rows, index]
    low = high - totals.probabilities[rows, index]
    edges = np.linspace(0, 1, bins + 1)
    width = np.maximum(high - low, 1e-12)
    filled = np.clip((edges[None, :] - low[:, None]) / width[:, None], 0, 1)
    filled[:, 0], filled[:, -1] = 0.0, 1.0
    return ratio(weights @ np.diff(filled, axis=1), weights.sum(axis=1, keepdims=True))


def grouped_means(values: Array, groups: Bools, weights: Array) -> Array:
    """Mean of `values` (labels,) in each of `groups` (labels, groups), (resamples, groups)."""
    members = groups.astype(float)
    return ratio(weights @ (values[:, None] * members), weights @ members)
