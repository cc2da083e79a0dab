"""All scores of one model in one set of resamples, averaged over its repeats.

Shares within or off by so many points are of the estimate rounded to a whole total, as a PHQ-9 is
one: else a fractional median that is off by 4.6 would pass for nearer than the 5 it rounds to.

Two families, because a distribution over 0..27 has two best summaries: errors in points
(MAE, quantiles of the error, shares far off) use the median, which minimises absolute error;
everything else (RMSE, bias, correlations, calibration, AUC, bands) uses the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Bools
from leadline.evaluate import metrics
from leadline.evaluate.ceiling import sharpness_terms
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.sample import Estimates, Sample, band_of
from leadline.phq9.distribution import Totals
from leadline.phq9.items import BANDS, TOTALS

INTERVAL_LEVELS = (50, 80, 90)  # per cent, of the central intervals

DELIVERED_LEVEL = 90  # of them, the level of the interval that is delivered with an estimate

SLACK = 1e-6  # points by which an end may miss a whole total that it was made to reach

AUC_CUTS = tuple(range(3, 25))  # totals k at which the AUC for total >= k is reported

PIT_BINS = 10

CALIBRATION_BINS = 8

RELIABILITY_BINS = 6


@dataclass(frozen=True)
class Resamples:
    """Weights of a number of resamples and what depends on the gold totals only.

    Attributes:
        weights: (resamples, labels), how often each label was drawn, times what it weighs in the
            sample.
        gold_ranks: midranks of the gold totals in each resample.
    """

    weights: Array
    gold_ranks: Array

    @classmethod
    def of(cls, sample: Sample, weights: Array) -> Resamples:
        """Resamples in which each label was drawn `weights` times, shape (resamples, labels)."""
        weights = weights * sample.weight
        return cls(weights, metrics.midranks(sample.gold, weights))


def over_repeats(compute: Callable[[int], Mapping[str, Array]], repeats: int) -> dict[str, Array]:
    """Mean over repeats of each score; undefined in one repeat is undefined in the mean."""
    each = [compute(repeat) for repeat in range(repeats)]
    return {name: np.mean([scores[name] for scores in each], axis=0) for name in each[0]}


def scalar_scores(
    sample: Sample, estimates: Estimates, resamples: Resamples, config: EvaluateConfig
) -> dict[str, Array]:
    """Every single-valued score, name -> (resamples,)."""

    def one(repeat: int) -> dict[str, Array]:
        scores = _errors(sample, estimates.median[repeat], resamples.weights)
        scores |= _agreement(sample, estimates.mean[repeat], resamples, config)
        flagged = estimates.mean[repeat] >= config.cut
        scores |= _screening(sample, flagged, "by_mean", resamples.weights, config)
        if estimates.totals is not None:
            totals = estimates.totals[repeat]
            scores |= _uncertainty(sample, (estimates, repeat), resamples.weights, config)
            scores |= _certain_half(sample, estimates.median[repeat], totals, resamples.weights)
            flagged = totals.at_least(config.cut) >= 0.5
            scores |= _screening(sample, flagged, "by_probability", resamples.weights, config)
        return scores

    return over_repeats(one, estimates.repeats)


def _errors(sample: Sample, median: Array, weights: Array) -> dict[str, Array]:
    error = np.abs(median - sample.gold)
    whole_error = np.abs(np.floor(median + 0.5) - sample.gold)
    half, ninety, ninety_five = metrics.weighted_quantiles(error, (0.5, 0.9, 0.95), weights)
    return {
        "mae": metrics.weighted_mean(error, weights),
        "median_error": half,
        "p90_error": ninety,
        "p95_error": ninety_five,
        "within_5": metrics.weighted_mean((whole_error <= 5).astype(float), weights),
        "off_by_5": metrics.weighted_mean((whole_error >= 5).astype(float), weights),
        "off_by_10": metrics.weighted_mean((whole_error >= 10).astype(float), weights),
    }


def _agreement(
    sample: Sample, mean: Array, resamples: Resamples, config: EvaluateConfig
) -> dict[str, Array]:
    weights = resamples.weights
    moments = metrics.Moments.of(sample.gold, mean, weights)
    bands = (band_of(sample.gold), band_of(mean))
    return {
        "mae_of_mean": metrics.weighted_mean(np.abs(mean - sample.gold), weights),
        "rmse": moments.rmse(),
        "bias": moments.bias(),
        "pearson": moments.pearson(),
        "spearman": metrics.spearman(
            resamples.gold_ranks, metrics.midranks(mean, weights), weights
        ),
        "ccc": moments.concordance(),
        "calibration_slope": moments.slope(),
        "calibration_intercept": moments.intercept(),
        "sd_ratio": moments.variance_ratio(),
        "variance_explained": moments.variance_explained(),
        "kappa": metrics.weighted_kappa(*bands, len(BANDS), weights),
        f"auc_{config.cut}": metrics.auc(sample.gold, mean, (config.cut,), weights)[0],
        "sharpness": metrics.weighted_mean(sharpness_terms(sample.gold, mean), weights),
    }


def _screening(
    sample: Sample, flagged: Bools, rule: str, weights: Array, config: EvaluateConfig
) -> dict[str, Array]:
    """Screening at the cut; PPV and NPV at the sample's and the stated prevalences."""
    above = sample.gold >= config.cut
    sensitivity, specificity, share = metrics.screening(above, flagged, weights)
    prevalence = metrics.weighted_mean(above.astype(float), weights)
    scores = {
        f"{rule}/sensitivity": sensitivity,
        f"{rule}/specificity": specificity,
        f"{rule}/flagged": share,
        f"{rule}/prevalence": prevalence,
    }
    stated: dict[str, Array | float] = {"sample": prevalence}
    stated |= {f"{share:g}": share for share in config.prevalences}
    for name, at in stated.items():
        ppv, npv = metrics.predictive_values(sensitivity, specificity, at)
        scores |= {f"{rule}/ppv/{name}": ppv, f"{rule}/npv/{name}": npv}
    return scores


def _uncertainty(
    sample: Sample, source: tuple[Estimates, int], weights: Array, config: EvaluateConfig
) -> dict[str, Array]:
    """Scores of the distributions and intervals; of the interval that is delivered, if known.

    Other levels, and all in predictions without that interval, are whole-number intervals of
    the distribution.
    """
    above = (sample.gold >= config.cut).astype(float)
    estimates, repeat = source
    assert estimates.totals is not None, "asked for of models with distributions"
    totals = estimates.totals[repeat]
    columns = {
        "crps": totals.crps(sample.gold),
        f"brier_{config.cut}": (totals.at_least(config.cut) - above) ** 2,
    }
    scale = np.arange(TOTALS)
    for level in INTERVAL_LEVELS:
        lower, upper = metrics.central_interval(totals, level / 100)
        inside = (scale >= lower[:, None]) & (scale <= upper[:, None])
        columns |= {
            f"coverage_{level}": ((sample.gold >= lower) & (sample.gold <= upper)).astype(float),
            f"claimed_{level}": (totals.probabilities * inside).sum(axis=1),
            f"width_{level}": upper - lower,
        }
    if estimates.lower is not None and estimates.upper is not None:
        lower, upper = estimates.lower[repeat], estimates.upper[repeat]
        is_inside = (sample.gold >= lower - SLACK) & (sample.gold <= upper + SLACK)
        columns |= {
            f"coverage_{DELIVERED_LEVEL}": is_inside.astype(float),
            f"claimed_{DELIVERED_LEVEL}": np.full(len(is_inside), DELIVERED_LEVEL / 100),
            f"width_{DELIVERED_LEVEL}": upper - lower,
        }
    means = weights @ np.stack(list(columns.values()), axis=1)
    means = metrics.ratio(means, weights.sum(axis=1, keepdims=True))
    return dict(zip(columns, means.T, strict=True))


def _certain_half(
    sample: Sample, median: Array, totals: Totals, weights: Array
) -> dict[str, Array]:
    """MAE in the half with the narrowest distributions, the half fixed across resamples."""
    order = np.argsort(np.sqrt(totals.variance()), kind="stable")
    half = np.zeros((len(order), 1), dtype=bool)
    half[order[: (len(order) + 1) // 2]] = True
    error = np.abs(median - sample.gold)
    return {"mae_certain_half": metrics.grouped_means(error, half, weights)[:, 0]}


def curve_scores(
    sample: Sample, estimates: Estimates, resamples: Resamples, config: EvaluateConfig
) -> dict[str, Array]:
    """Scores along an axis, name -> (resamples, points): AUC curve, bands, bins."""
    weights = resamples.weights
    bands = band_of(sample.gold)[:, None] == np.arange(len(BANDS))
    groups = {name: mask for name, (mask, _) in dialogue_bins(sample, config.bins).items()}

    def one(repeat: int) -> dict[str, Array]:
        mean, median = estimates.mean[repeat], estimates.median[repeat]
        error = np.abs(median - sample.gold)
        curve = metrics.auc(sample.gold, mean, AUC_CUTS, weights)
        scores = {
            "auc": curve.T,
            "bands/mae": metrics.grouped_means(error, bands, weights),
            "bands/bias": metrics.grouped_means(mean - sample.gold, bands, weights),
            "bands/estimate": metrics.grouped_means(mean, bands, weights),
        }
        for name, mask in groups.items():
            scores[f"{name}/mae"] = metrics.grouped_means(error, mask, weights)
        if estimates.totals is not None:
            scores["pit"] = metrics.pit_histogram(
                estimates.totals[repeat], sample.gold, PIT_BINS, weights
            )
        return scores

    scores = over_repeats(one, estimates.repeats)
    scores |= _binned("calibration", sample.gold, estimates.mean, CALIBRATION_BINS, weights)
    if estimates.totals is not None:
        above = (sample.gold >= config.cut).astype(float)
        probability = np.stack([totals.at_least(config.cut) for totals in estimates.totals])
        scores |= _binned("reliability", above, probability, RELIABILITY_BINS, weights)
    return scores


def _binned(
    name: str, outcome: Array, forecast: Array, bins: int, weights: Array
) -> dict[str, Array]:
    """Mean outcome and mean forecast in quantile bins of the forecast, repeats pooled.

    Bins of one forecast alone would differ from repeat to repeat, so one set of edges is
    used and the sums of the repeats are added: still person weights, (resamples, bins).
    """
    _, index = quantile_bins(forecast.ravel(), bins)
    masks = (index.reshape(forecast.shape)[:, :, None] == np.arange(index.max() + 1)).astype(float)
    count = weights @ masks.sum(axis=0)
    return {
        f"{name}/outcome": metrics.ratio(weights @ (masks * outcome[None, :, None]).sum(0), count),
        f"{name}/forecast": metrics.ratio(
            weights @ (masks * forecast[:, :, None]).sum(axis=0), count
        ),
        f"{name}/share": metrics.ratio(count, count.sum(axis=1, keepdims=True)),
    }


def quantile_bins(values: Array, bins: int) -> tuple[Array, np.ndarray]:
    """Edges (bins + 1,) and the bin of each value, with equal shares as far as ties allow."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    index = np.searchsorted(edges[1:-1], values, side="right")
    filled, index = np.unique(index, return_inverse=True)
    return np.append(edges[filled], edges[-1]), index


def dialogue_bins(sample: Sample, bins: int) -> dict[str, tuple[Bools, Array]]:
    """Bins of the amount of dialogue: name -> (mask (labels, bins), edges).

    A measure that is missing for a label, or the same for all, is left out.
    """
    measures = {}
    for name, values in (("user_turns", sample.user_turns), ("user_words", sample.user_words)):
        if np.isnan(values).any() or np.ptp(values) == 0:
            continue
        edges, index = quantile_bins(values, bins)
        measures[name] = (index[:, None] == np.arange(index.max() + 1), edges)
    return measures
