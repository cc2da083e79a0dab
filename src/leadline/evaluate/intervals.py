"""From a score and its values in the resamples to an interval that holds what it says.

Percentiles of a bootstrap over 15 people hold 87 to 92% where they say 95%. Instead:

- a **share** has the Clopper-Pearson interval (Biometrika 1934;26:404). Where people have several
  labels it is that of fewer labels, the effective number (Korn and Graubard, Survey Methodology
  1998;24:193): the variance of as many independent labels is the bootstrap's;
- an **AUC** has Newcombe's method 5 (Statistics in Medicine 2006;25:559), a score interval that is
  not empty at 1, with its variance enlarged by the same ratio;
- **PPV and NPV** at a stated prevalence follow from a ratio of two independent shares, whose
  interval is made of theirs (MOVER-R; Donner and Zou, Statistical Methods in Medical Research
  2012;21:347);
- a **quantile** of the error lies between two order statistics, which the binomial law finds; where
  the sample is too small to have the upper one, there is no interval (Conover, Practical
  Nonparametric Statistics, 1999, section 3.2);
- every **other** score is taken to a scale on which its error is nearly even (log for errors,
  Fisher's z for correlations), and its interval is t times the bootstrap's standard error there,
  the latter enlarged by sqrt(n / (n - 1)) (Hesterberg, The American Statistician 2015;69:371).
  Scores whose standard error itself varies most take fewer degrees of freedom.

`bench/accuracy/small_samples.py` measures how often each holds the truth from 15 people on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm, t

from leadline.arrays import Array
from leadline.evaluate.config import MIN_PEOPLE

LEVEL = 0.95

TINY = 1e-9

Ends = tuple[float, float]

Map = Callable[[Array], Array]


@dataclass(frozen=True)
class Scale:
    """Where a score's error is nearly even, and the way back."""

    there: Map
    back: Map


PLAIN = Scale(lambda x: x, lambda x: x)
LOG = Scale(np.log, np.exp)
FISHER = Scale(lambda x: np.arctanh(np.clip(x, TINY - 1, 1 - TINY)), np.tanh)
LOG_REST = Scale(lambda x: np.log(np.maximum(1 - x, TINY)), lambda x: 1 - np.exp(x))

SCALES = {
    **dict.fromkeys(("mae", "mae_of_mean", "mae_certain_half", "rmse", "crps", "sd_ratio"), LOG),
    **dict.fromkeys(("pearson", "spearman", "ccc", "kappa"), FISHER),
    "variance_explained": LOG_REST,
}

FEWER_DEGREES = {
    **dict.fromkeys(("rmse", "crps"), 4.0),
    **dict.fromkeys(("sd_ratio", "ccc", "kappa", "variance_explained"), 2.0),
    **dict.fromkeys(("calibration_slope", "calibration_intercept"), 2.0),
}
"""By what the degrees of freedom are divided for scores whose standard error itself varies most: a
few people with large errors make up much of both. Found by simulation."""

QUANTILES = {"median_error": 0.5, "p90_error": 0.9, "p95_error": 0.95}

NARROWER = ("off_by_", "coverage_")  # shares of all labels


@dataclass(frozen=True)
class Basis:
    """What a score rests on.

    Attributes:
        people: persons behind it.
        labels: of a share: labels that it is a share of; of an AUC: at or above the threshold,
            and below it. A mean over repeats where the repeats differ.
        units: the same with labels of one person taken as one; what `labels` is if nobody has two.
    """

    people: int
    labels: tuple[float, ...] = ()
    units: tuple[float, ...] = ()


def is_share(name: str) -> bool:
    """Whether a score of `scores.scalar_scores` is a share of labels."""
    if name.startswith(NARROWER):
        return True
    rule, _, what = name.partition("/")
    return rule.startswith("by_") and (not what.startswith(("ppv/", "npv/")) or "sample" in what)


def interval(
    name: str, value: float, replicates: Array | None, basis: Basis, level: float = LEVEL
) -> Ends | None:
    """The interval of a score that is neither a quantile nor PPV or NPV at a stated prevalence.

    Args:
        name: the score, as `scores` calls it; without its group in front.
        value: of the sample, finite.
        replicates: its finite values in the resamples, (resamples,), None if none were drawn.
        basis: what it rests on.
        level: share of samples whose interval shall hold the truth.

    Returns:
        None where it cannot be relied on: without replicates, or with fewer than `MIN_PEOPLE`
        people behind the score, but for a share or an AUC.
    """
    if is_share(name):
        return share_interval(value, replicates, basis, level)
    if name.startswith("auc"):
        return auc_interval(value, replicates, basis, level)
    if replicates is None or basis.people < MIN_PEOPLE:
        return None
    return t_interval(name, value, replicates, basis.people, level)


def t_interval(name: str, value: float, replicates: Array, people: int, level: float) -> Ends:
    """Value and t standard errors of the bootstrap to either side, on the scale of the score."""
    scale = LOG if name.startswith("brier_") else SCALES.get(name, PLAIN)
    if scale is LOG and min(value, float(replicates.min())) <= 0:
        scale = PLAIN
    centre = float(scale.there(np.array(value)))
    divisor = FEWER_DEGREES.get(name, 1.0)
    reach = _quantile(divisor, people, level) * _deviation(scale.there(replicates), people)
    ends = scale.back(np.array([centre - reach, centre + reach]))
    return float(min(ends.min(), value)), float(max(ends.max(), value))


def difference_interval(
    name: str, value: float, replicates: Array, people: int, level: float = LEVEL
) -> Ends:
    """The interval of a paired difference in the score `name`."""
    divisor = _divisor_of_difference(name)
    reach = _quantile(divisor, people, level) * _deviation(replicates, people)
    return value - reach, value + reach


def p_value(name: str, value: float, replicates: Array, people: int) -> float:
    """Two-sided p-value of no difference; below .05 where `difference_interval` excludes zero."""
    deviation = _deviation(replicates, people)
    if deviation < TINY:
        return 1.0 if abs(value) < TINY else 0.0
    degrees = (people - 1) / _divisor_of_difference(name)
    return float(2 * t.sf(abs(value) / deviation, degrees))


def _divisor_of_difference(name: str) -> float:
    """Differences lie more evenly than the scores that they are of."""
    return min(FEWER_DEGREES.get(name, 1.0), 2.0)


def _quantile(divisor: float, people: int, level: float) -> float:
    return float(t.ppf((1 + level) / 2, (people - 1) / divisor))


def _deviation(replicates: Array, people: int) -> float:
    return float(np.std(replicates) * np.sqrt(people / (people - 1)))


def share_interval(share: float, replicates: Array | None, basis: Basis, level: float) -> Ends:
    """Clopper-Pearson for the effective number of labels.

    The number is between that of labels that are all independent and that of labels of a person
    that all say the same; without replicates, or at a share of 0 or 1, it is the latter.
    """
    (labels,), (units,) = basis.labels, basis.units
    number = units
    if units < labels and replicates is not None and 0 < share < 1:
        variance = max(float(np.var(replicates)), TINY)
        fewer = t.ppf((1 + level) / 2, labels - 1) / t.ppf((1 + level) / 2, basis.people - 1)
        number = float(np.clip(share * (1 - share) / variance * fewer**2, units, labels))
    hits, tail = share * number, (1 - level) / 2
    low = 0.0 if share <= 0 else float(beta.ppf(tail, hits, number - hits + 1))
    high = 1.0 if share >= 1 else float(beta.ppf(1 - tail, hits + 1, number - hits))
    return low, high


def quantile_interval(
    errors: Array, share: float, basis: Basis, level: float = LEVEL
) -> Ends | None:
    """The interval of a quantile between two order statistics; None without an upper one.

    Labels of one person are taken as one: positions among as many independent labels as there are
    units are those of the same shares of all labels.

    Args:
        errors: (repeats, labels); the ends are means over the repeats.
        share: of the labels that the quantile reaches, in (0, 1).
        basis: the labels and units.
        level: share of samples whose interval shall hold the truth.
    """
    (labels,), (units,) = basis.labels, basis.units
    number, tail = int(units), (1 - level) / 2
    first = int(binom.ppf(tail, number, share))
    last = int(binom.ppf(1 - tail, number, share)) + 1
    if last > number:
        return None
    ordered = np.sort(errors, axis=1)
    low = ordered[:, int(first * labels / number) - 1] if first else np.zeros(len(errors))
    high = ordered[:, int(np.ceil(last * labels / number)) - 1]
    return float(low.mean()), float(high.mean())


def auc_interval(area: float, replicates: Array | None, basis: Basis, level: float) -> Ends:
    """Newcombe's method 5: the areas that lie no further than z of their own deviations away."""
    least = min(units / labels for units, labels in zip(basis.units, basis.labels, strict=True))
    ratio = least
    if least < 1 and replicates is not None and 0 < area < 1:
        variance = max(float(np.var(replicates)), TINY)
        ratio = float(np.clip(_auc_variance(area, *basis.labels) / variance, least, 1))
    above, below = (max(labels * ratio, 1.0) for labels in basis.labels)
    z = norm.ppf((1 + level) / 2)

    def excess(candidate: float) -> float:
        gap: float = (area - candidate) ** 2 - z**2 * _auc_variance(candidate, above, below)
        return gap

    low = float(brentq(excess, TINY, min(area, 1 - TINY))) if area > TINY else 0.0
    high = float(brentq(excess, max(area, TINY), 1 - TINY)) if area < 1 - TINY else 1.0
    return low, high


def _auc_variance(area: float, above: float, below: float) -> float:
    """Hanley and McNeil's, of two exponential classes, with both sizes replaced by their mean."""
    rest = (above + below) / 2 - 1
    pairs = rest * (1 - area) / (2 - area) + rest * area / (1 + area)
    return area * (1 - area) * (1 + pairs) / (above * below)


def predictive_interval(
    prevalence: float,
    ends: tuple[tuple[float, Ends], tuple[float, Ends]],
    *,
    positive: bool,
) -> Ends | None:
    """PPV (or NPV) at a prevalence, from the intervals of sensitivity and specificity.

    Args:
        prevalence: share of people at or above the cut, above 0 and below 1.
        ends: value and interval of the sensitivity, and of the specificity.
        positive: PPV; else NPV.

    Returns:
        None if nobody could be right: the rate in the denominator is 0 even at its upper end.
    """
    sensitivity, specificity = ends
    right, against = (sensitivity, specificity) if positive else (specificity, sensitivity)
    odds = (1 - prevalence) / prevalence if positive else prevalence / (1 - prevalence)
    wrong = (1 - against[0], (1 - against[1][1], 1 - against[1][0]))
    ratio = _ratio_interval(wrong, right)
    if ratio is None:
        return None
    return 1 / (1 + odds * ratio[1]), 1 / (1 + odds * ratio[0])


def _ratio_interval(first: tuple[float, Ends], second: tuple[float, Ends]) -> Ends | None:
    """MOVER-R for first / second, two independent shares; an upper end may be infinite."""
    (a, (a_low, a_high)), (b, (b_low, b_high)) = first, second
    if b_high <= 0:
        return None
    product = a * b

    def root(end: float, against: float) -> tuple[float, float]:
        rise, width = end * (2 * a - end), against * (2 * b - against)
        return rise, float(np.sqrt(max(product**2 - rise * width, 0.0)))

    rise, square = root(a_low, b_high)
    low = rise / (product + square) if product + square > TINY else 0.0
    _, square = root(a_high, b_low)
    width = b_low * (2 * b - b_low)
    high = (product + square) / width if width > TINY else np.inf
    return max(low, 0.0), float(high)
