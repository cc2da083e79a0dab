"""When to stop, and the canary: each decision with the numbers that it rests on.

A round is kept if it makes a paired gain over the last round kept, and its estimates neither
shrink nor stretch. All figures are out-of-fold. A band of a rule is missed only by more than
one standard error (of a bootstrap over people), for with a few hundred people the slope alone
moves by .05 from one sample to the next; and only by more than the last kept round misses it,
for a round is not to blame for what it was given.

A round that changes nothing gains one standard error in 16% of cases. The default asks for 1.7,
the one-sided 5% point of Student's t with 29 degrees of freedom (a label model needs 30 people):
such a round is kept in at most 5% of cases. Rounds are tried in order and the first that fails is
the last, so the 5% hold for all of them together (fixed-sequence testing: Maurer, Hothorn and
Lehmacher 1995).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from leadline.arrays import Array
from leadline.phq9.distribution import Totals
from leadline.selftrain.config import SelftrainConfig

RESAMPLES = 400

USUAL_POWER = 0.84
"""Standard normal quantile of 80%: a gain of so many errors above the bound is found that often."""

SHUFFLES = 4000

ENOUGH_POWER = 0.8
"""Share of full leaks that the canary must notice for its silence to mean anything."""

LEAKS, SHUFFLES_OF_A_LEAK = 400, 1000

LARGER_SHARES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.49)


def label_errors(predictions: pl.DataFrame) -> pl.DataFrame:
    """One row a gold label from out-of-fold rows of `PREDICTIONS`, repeats averaged.

    Columns: label, person_id, total, mean, variance (of the predicted distribution), error.
    """
    totals = Totals.of_rows(predictions["distribution"])
    return (
        predictions.with_columns(pl.Series("variance", totals.variance()))
        .group_by("label", "person_id", "total")
        .agg(pl.col("mean").mean(), pl.col("variance").mean())
        .sort("label")
        .with_columns((pl.col("mean") - pl.col("total")).abs().alias("error"))
    )


def shape_figures(errors: pl.DataFrame, seed: int = 0) -> dict[str, float]:
    """MAE, slope of gold on estimates, variance ratio; the last two with standard errors.

    The variance ratio is that of the estimates over what the model predicts of them: the
    variance of gold less the mean predicted variance (law of total variance).
    """
    columns = _columns(errors)
    random = np.random.default_rng(seed)
    people = errors["person_id"].to_numpy()
    _, owner = np.unique(people, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    drawn = []
    for _ in range(RESAMPLES):
        picks = random.integers(0, len(groups), len(groups))
        drawn.append(_slope_and_ratio(columns[:, np.concatenate([groups[p] for p in picks])]))
    slope, ratio = _slope_and_ratio(columns)
    slope_se, ratio_se = np.std(drawn, axis=0)
    return {
        "mae": float(errors["error"].to_numpy().mean()),
        "slope": slope,
        "slope_se": float(slope_se),
        "variance_ratio": ratio,
        "variance_ratio_se": float(ratio_se),
    }


def _columns(errors: pl.DataFrame) -> Array:
    """Gold totals, estimates and predicted variances, shape (3, labels)."""
    return np.stack([errors[name].to_numpy() for name in ("total", "mean", "variance")])


def _slope_and_ratio(columns: Array) -> tuple[float, float]:
    """Slope of gold on estimates, and the variance ratio; see `shape_figures`."""
    total, mean, predicted_variance = columns
    spread = float(np.var(mean, ddof=1))
    slope = float(np.cov(mean, total)[0, 1] / max(spread, 1e-9))
    expected = float(np.var(total, ddof=1) - predicted_variance.mean())
    return slope, spread / max(expected, 1e-9)


def paired_gain(before: pl.DataFrame, after: pl.DataFrame) -> tuple[float, float]:
    """Mean fall of the absolute error per person, and its standard error."""
    both = before.select("label", "person_id", pl.col("error").alias("old")).join(
        after.select("label", pl.col("error").alias("new")), on="label"
    )
    fall = (
        both.group_by("person_id")
        .agg((pl.col("old") - pl.col("new")).mean().alias("fall"))
        .sort("person_id")["fall"]  # sums in another order differ in their last digits
        .to_numpy()
    )
    return float(fall.mean()), float(fall.std(ddof=1) / np.sqrt(len(fall)))


def is_gain(gain: float, error: float, config: SelftrainConfig) -> bool:
    """Whether a paired gain is more than chance makes of a round that changes nothing."""
    return gain > config.min_gain * error


def least_found_gain(error: float, config: SelftrainConfig) -> float:
    """The true gain that would be kept in 80% of cases, at this standard error, points."""
    return (config.min_gain + USUAL_POWER) * error


def decide(
    before: pl.DataFrame,
    after: pl.DataFrame,
    config: SelftrainConfig,
    canary: dict[str, float] | None,
) -> dict[str, Any]:
    """Whether a round is kept, with every number that the decision rests on.

    Args:
        before: `label_errors` of the last kept round.
        after: those of this one.
        config: the bounds.
        canary: of this round, if there is one.
    """
    figures: dict[str, Any] = shape_figures(after)
    gain, error = paired_gain(before, after)
    findable = least_found_gain(error, config)
    figures |= {"gain": gain, "gain_se": error, "findable_gain": findable}
    reasons = []
    if not is_gain(gain, error, config):
        errors = "error" if config.min_gain == 1 else "errors"
        reasons.append(
            f"the paired gain is under {config.min_gain:g} standard {errors} (a gain of "
            f"{findable:.3f} points would be found in 80% of cases)"
        )
    slope, ratio = _slope_and_ratio(_columns(before))
    was = {"slope": slope, "variance_ratio": ratio}
    for name, low, high, reason in (
        ("variance_ratio", config.min_variance, np.inf,
         f"the variance is below {config.min_variance:g} of what is predicted"),
        ("slope", config.min_slope, config.max_slope,
         f"the slope lies outside {config.min_slope:g} to {config.max_slope:g}"),
    ):  # fmt: skip
        missed, before_missed = (_outside(shape[name], low, high) for shape in (figures, was))
        if missed > before_missed + figures[f"{name}_se"]:
            reasons.append(reason)
    if canary is not None and canary["p"] < config.canary_level:
        reasons.append("the canary's permuted labels were fitted")
    return figures | {"canary": canary, "kept": not reasons, "reasons": reasons}


def _outside(value: float, low: float, high: float) -> float:
    """How far a value lies outside a band; 0 within."""
    return max(low - value, value - high, 0.0)


def canary_test(estimate: Array, permuted_totals: Array, seed: int = 0) -> dict[str, float]:
    """Whether estimates fit the permuted labels that people were given.

    Args:
        estimate: out-of-fold estimates of these people, shape (P,).
        permuted_totals: the permuted totals, shape (P,).
        seed: of the null.

    Returns:
        ``r``, the correlation; ``null_95``, its 95th percentile when the totals are dealt out
        again at random; ``p``, the one-sided share of such deals that correlate as much.
    """
    has_estimate = np.isfinite(estimate)
    a, b = estimate[has_estimate], permuted_totals[has_estimate]
    a, b = a - a.mean(), b - b.mean()
    scale = max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-12)
    random = np.random.default_rng(seed)
    null = np.array([a @ random.permutation(b) for _ in range(SHUFFLES)]) / scale
    r = float(a @ b) / scale
    return {
        "people": float(has_estimate.sum()),
        "r": r,
        "null_95": float(np.quantile(null, 0.95)),
        "p": float((1 + (null >= r - 1e-12).sum()) / (1 + SHUFFLES)),
    }


def canary_power(
    honest: Array, leaking: Array, gold: Array, count: int, level: float
) -> dict[str, float]:
    """How often the canary would notice a full leak, before it is believed.

    A full leak is a student that was fitted on the very people whom it estimates. How far such
    a student follows a person's own label, instead of what it would say honestly, is the slope
    of ``leaking - honest`` on ``gold - honest``. With it many leaks are played through: other
    people are drawn, their totals permuted, and the test of `canary_test` asked.

    Args:
        honest: out-of-fold estimates of everyone with gold, shape (P,).
        leaking: estimates by a student fitted on all of them, shape (P,).
        gold: their totals, shape (P,).
        count: how many of them get permuted totals.
        level: p below which the canary stops the rounds.

    Returns:
        ``power``, the share of full leaks with p below `level`; ``can_tell``, whether that is at
        least `ENOUGH_POWER`; ``leak``, the slope; and, where the canary cannot tell,
        ``enough_share``, the least of `LARGER_SHARES` with which it could, if there is one.
    """
    gap = gold - honest
    slope = float(gap @ (leaking - honest) / max(float(gap @ gap), 1e-12))
    rest = leaking - honest - slope * gap
    fixed = (1 - slope) * honest + rest
    figures = {"power": _noticed(fixed, slope, gold, (count, level)), "leak": slope}
    figures["can_tell"] = figures["power"] >= ENOUGH_POWER
    if not figures["can_tell"]:
        for share in LARGER_SHARES:
            larger = round(share * len(gold))
            if larger > count and _noticed(fixed, slope, gold, (larger, level)) >= ENOUGH_POWER:
                figures["enough_share"] = share
                break
    return figures


def _noticed(fixed: Array, slope: float, gold: Array, test: tuple[int, float]) -> float:
    """Share of leaks that are noticed: estimates are `fixed` and `slope` times the false total."""
    count, level = test
    random = np.random.default_rng([count, 0xCA9A])
    deals = np.argsort(random.random((SHUFFLES_OF_A_LEAK, count)), axis=1)
    hits = 0
    for _ in range(LEAKS):
        chosen = random.choice(len(gold), size=count, replace=False)
        false_totals = gold[random.permutation(chosen)]
        a, b = fixed[chosen] + slope * false_totals, false_totals - false_totals.mean()
        a = a - a.mean()
        reached = int(((b[deals] @ a) >= float(a @ b) - 1e-12).sum())
        hits += (1 + reached) / (1 + SHUFFLES_OF_A_LEAK) < level
    return hits / LEAKS
