"""The best that a predictor of severity can do against one noisy administration of the PHQ-9.

Classical test theory: a total is a true severity plus the error of one occasion, and the
retest reliability rho is the share of its variance that a second occasion shares. A predictor
that knew the true severity would still miss that error, so its r does not exceed sqrt(rho). This
assumes that the text tells nothing of the error. What moved a person on the day of the
questionnaire moves its retest reliability down, and a text of the same day may tell of it: that is
true fluctuation, and a predictor that reads it may honestly pass the ceiling.

The rest depends on the shape of the totals. Here the sample's own distribution is kept: true
severity z is standard normal, a total is the sample's quantile function at
Phi(b z + sqrt(1 - b^2) e), and b is solved so that two totals of one z correlate at rho. Then
every administration has exactly the sample's distribution, and the best predictor's scores are
sums over a fine grid of z: nothing is drawn at random.

A model can be far below the ceiling on average and still know what it should not of some people.
Then more errors lie close to zero than the questionnaire's own error allows. `sharpness_terms`
measures that: the cosine transform of the errors at one frequency, which is near 0 for errors that
spread as widely as the questionnaire's and 1 for none. For an estimate that is independent of the
questionnaire's error given z, its mean is at most the mean over z of |E exp(i w total)|, whatever
the estimate: the characteristic function of a sum is the product of those of its parts (Feller, An
Introduction to Probability Theory and Its Applications II, 1971, chapter XV). Totals near the ends
of the scale, which repeat themselves, count less.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import brentq
from scipy.stats import norm

from leadline.arrays import Array
from leadline.phq9.change import ChangeConfig, smallest_change
from leadline.phq9.reliability import standard_error

LOADINGS = (0.05, 0.99999)  # between which the weight of true severity is looked for

FREQUENCY = 1.2  # radians a point: the cosine of an error is 0 at 1.3 points, -1 at 2.6

RAMP = 6.0  # points from an end of the scale over which a total comes to count fully

TOP = 27.0

FLOOR = 1e-9  # so that no total is impossible

GRID = 801  # points of z between -6 and 6; doubling them moves no figure by 1e-4


@dataclass(frozen=True)
class Ceiling:
    """Best reachable figures at one reliability, and those of asking a second time."""

    reliability: float
    r: float
    rmse: float
    mae: float
    crps: float
    auc_cut: float | None
    auc_by_threshold: dict[int, float | None]
    sharpness: float
    standard_error: float
    reliable_change: float
    second_r: float
    second_mae: float

    def as_dict(self) -> dict[str, object]:
        """Plain values for `results.json`."""
        return asdict(self) | {
            "auc_by_threshold": [
                {"threshold": key, "value": value} for key, value in self.auc_by_threshold.items()
            ]
        }


def noise_ceiling(
    gold: Array, reliability: float, thresholds: tuple[int, ...], cut: int
) -> Ceiling | None:
    """The ceiling for the distribution of `gold` (labels,) at a retest reliability.

    None where totals of this distribution cannot correlate so highly, as where all but one or two
    of hundreds are equal.

    Args:
        gold: whole totals of the sample; they must not all be equal.
        reliability: correlation of two administrations to the same people, in (0, 1).
        thresholds: totals k at which the AUC for total >= k is wanted.
        cut: the screening cut, whose AUC is `auc_cut`.
    """
    values, counts = np.unique(gold, return_counts=True)
    marginal = np.cumsum(counts)[:-1] / len(gold)
    sd = float(gold.std())
    z = np.linspace(-6, 6, GRID)
    density = norm.pdf(z)
    density /= density.sum()
    loading = _loading(values, marginal, z, density, reliability)
    if loading is None:
        return None
    mass = _conditional(marginal, z, loading)
    mean = mass @ values
    total = density @ mass
    variance = float(total @ values**2 - (total @ values) ** 2)
    joint = mass.T @ (density[:, None] * mass)
    distance = np.abs(np.subtract.outer(values, values))
    curve = {k: _auc(mass, density, values >= k) for k in (*thresholds, cut)}
    return Ceiling(
        reliability=reliability,
        r=float(np.sqrt(reliability)),
        rmse=float(np.sqrt(density @ (mass @ values**2 - mean**2))),
        mae=_best_mae(mass, density, values),
        crps=_best_crps(mass, density, values),
        auc_cut=curve[cut],
        auc_by_threshold={k: curve[k] for k in thresholds},
        sharpness=_best_sharpness(gold, z, density, loading),
        standard_error=standard_error(reliability, sd),
        reliable_change=smallest_change(ChangeConfig(reliability=reliability, change_sd=sd)),
        second_r=float(((values @ joint @ values) - (total @ values) ** 2) / variance),
        second_mae=float((joint * distance).sum()),
    )


def sharpness_terms(gold: Array, estimate: Array) -> Array:
    """What each label adds to the sharpness of the errors, (labels,); its mean is the score."""
    return _weight(gold) * np.cos(FREQUENCY * (estimate - gold))


def _best_sharpness(gold: Array, z: Array, density: Array, loading: float) -> float:
    """The bound on the mean of `sharpness_terms`, for the smoothed distribution of the totals.

    The counts of a small sample go up and down from one total to the next, and this would pass for
    a sharpness of its own; the bandwidth is that of Silverman (Density Estimation, 1986, 3.31).
    """
    counts = np.bincount(gold.astype(int), minlength=int(TOP) + 1).astype(np.float64)
    spread = min(gold.std(), float(np.subtract(*np.quantile(gold, (0.75, 0.25)))) / 1.34)
    bandwidth = 0.9 * max(spread, 1.0) * len(gold) ** -0.2
    smooth = gaussian_filter1d(counts, bandwidth, mode="reflect") + FLOOR
    mass = _conditional(np.cumsum(smooth)[:-1] / smooth.sum(), z, loading)
    totals = np.arange(len(counts), dtype=np.float64)
    return float(density @ np.abs(mass @ (_weight(totals) * np.exp(1j * FREQUENCY * totals))))


def _weight(totals: Array) -> Array:
    """How far totals count: 1 in the middle of the scale, down to 0 at its ends."""
    inside = np.minimum(totals, TOP - totals) / RAMP
    return np.asarray(np.sin(np.pi / 2 * np.clip(inside, 0, 1)) ** 2, dtype=np.float64)


def _conditional(marginal: Array, z: Array, loading: float) -> Array:
    """P(total = value | z), shape (z, values)."""
    edges = norm.ppf(marginal)
    below = norm.cdf((edges[None, :] - loading * z[:, None]) / np.sqrt(1 - loading**2))
    padded = np.concatenate([np.zeros((len(z), 1)), below, np.ones((len(z), 1))], axis=1)
    return np.asarray(np.diff(padded, axis=1), dtype=np.float64)


def _loading(values: Array, marginal: Array, z: Array, density: Array, rho: float) -> float | None:
    """The weight b of true severity at which two administrations correlate at `rho`, if any."""

    def excess(loading: float) -> float:
        mass = _conditional(marginal, z, loading)
        mean = mass @ values
        second = density @ (mass @ values**2)
        centre = density @ mean
        return float((density @ mean**2 - centre**2) / (second - centre**2) - rho)

    if not excess(LOADINGS[0]) < 0 < excess(LOADINGS[1]):
        return None
    return float(brentq(excess, *LOADINGS, xtol=1e-7))


def _best_mae(mass: Array, density: Array, values: Array) -> float:
    median = values[(np.cumsum(mass, axis=1) >= 0.5).argmax(axis=1)]
    return float(density @ (mass * np.abs(values[None, :] - median[:, None])).sum(axis=1))


def _best_crps(mass: Array, density: Array, values: Array) -> float:
    """Expected CRPS of the true conditional: the sum of F(1 - F) over the steps."""
    cumulative = np.cumsum(mass, axis=1)[:, :-1]
    return float(density @ (cumulative * (1 - cumulative) * np.diff(values)).sum(axis=1))


def _auc(mass: Array, density: Array, above: np.ndarray) -> float | None:
    """AUC of z itself for the class `above`; None if the sample has one class only."""
    if above.all() or not above.any():
        return None
    positive = density * mass[:, above].sum(axis=1)
    negative = density * mass[:, ~above].sum(axis=1)
    lower = np.cumsum(negative) - negative / 2
    return float(positive @ lower / (positive.sum() * negative.sum()))
