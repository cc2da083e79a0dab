"""From a mean and a deviation to a distribution over the totals 0..27 that keeps its promises.

The total is a rounded, bounded reading of a normal variable: the probability of k is the
normal mass between k - 1/2 and k + 1/2, with all mass below 0 on 0 and above 27 on 27 (a
two-limit Tobit likelihood, Tobin 1958). Four numbers are fitted on estimates for people
whom the head never saw: how much it shrinks too far, how much an estimate from few words is
pulled to the mean, how much wider it is than the head says, and how much wider still with few
words. The central intervals are then conformalised on the same people (distributional
conformal prediction, Chernozhukov, Wuethrich and Zhu 2021): fit, conformalise, interval.

A head that gives a histogram of its own keeps its form: the histogram is moved and stretched
as the estimate is, and blurred by a normal until its deviation is the calibrated one. So a
head that is too sure of itself is widened by what it was wrong about people whom it never saw,
and the likelihood that fits the four numbers is that of the distribution that is delivered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar

from leadline.arrays import Array
from leadline.phq9.distribution import Totals, total_probability
from leadline.phq9.items import TOTALS

WIDTH_LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))

NUMBERS = ("centre", "stretch", "half_words", "widen", "few_words", "shift")
"""Fields of a `Calibration` that are one number, as they are written."""

SMALLEST = 1e-12
START = np.log([1.0, 2.0, 1.0, 5.0])  # stretch, half_words, widen, few_words
START_SD = np.array([0.3, 2.0, 0.5, 2.0])
MOST_RESTRETCHED = 0.25  # log factor between the stretch of all readings and that of whole ones


@dataclass(frozen=True)
class Calibration:
    """How raw estimates become distributions, fitted on people whom the head never saw.

    Attributes:
        centre: mean total of the training people, the estimate from no words at all.
        stretch: factor on the distance of an estimate from the centre.
        half_words: words at which an estimate keeps half of that distance.
        widen: factor on the head's standard deviation.
        few_words: extra relative variance at one word; it falls as one over the words.
        shift: points by which the head's estimates lie above the totals of the people with gold;
            0 unless others were trained on as well.
        levels, widths: nominal levels of central intervals and the nominal level that in fact
            covers that share of unseen people.
    """

    centre: float
    stretch: float
    half_words: float
    widen: float
    few_words: float
    levels: tuple[float, ...] = WIDTH_LEVELS
    widths: tuple[float, ...] = WIDTH_LEVELS
    shift: float = 0.0

    @classmethod
    def from_plain(cls, entry: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_plain`."""
        values = {name: float(entry[name]) for name in NUMBERS}
        widths = tuple(float(width) for width in entry["widths"])
        return cls(**values, levels=WIDTH_LEVELS, widths=widths)

    def to_plain(self) -> dict[str, Any]:
        """The calibration as JSON values, for a checkpoint; `levels` are those of this version."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return {**numbers, "widths": list(self.widths)}

    def location_scale(self, mean: Array, sd: Array, words: Array) -> tuple[Array, Array]:
        """Calibrated mean and deviation of the unbounded normal, each (R,)."""
        words = np.maximum(words, 1.0)
        keep = self.stretch * words / (words + self.half_words)
        spread = sd * self.widen * np.sqrt(1.0 + self.few_words / words)
        return self.centre + keep * (mean - self.shift - self.centre), spread

    def distribution(self, mean: Array, sd: Array, words: Array) -> Totals:
        """Calibrated distributions of the total from a head without a histogram, R of them."""
        return self.calibrated(mean, sd, words).totals()

    def calibrated(
        self, mean: Array, sd: Array, words: Array, histograms: Totals | None = None
    ) -> Calibrated:
        """Calibrated estimates, R of them.

        Args:
            mean: raw estimates, shape (R,).
            sd: their deviations, shape (R,).
            words: of the person in each reading, shape (R,).
            histograms: whose moments these are, R of them, from a head that gives any.
        """
        location, spread = self.location_scale(mean, sd, words)
        return Calibrated(location, spread, histograms, self.stretch)

    def width(self, level: float) -> float:
        """The nominal level whose central interval covers a share `level` of people."""
        return width_at(level, self.widths, self.levels)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Calibrated estimates of one model, not yet rounded to totals.

    Attributes:
        location, spread: mean and deviation of the unbounded estimates, shape (R,).
        histograms: what the head gave, whose form the distributions keep; None for a normal.
        stretch: how far apart the totals of a histogram come to lie, at most.
        fixed: the distributions themselves, of a model whose run was made by an earlier version.
    """

    location: Array
    spread: Array
    histograms: Totals | None = None
    stretch: float = 1.0
    fixed: Totals | None = None

    def narrowed(self, variance: Array) -> Calibrated:
        """The same with `variance` (R,) taken off, which halves a deviation at the most."""
        spread = np.sqrt(np.maximum(self.spread**2 - variance, self.spread**2 / 4))
        return replace(self, spread=spread)

    def totals(self) -> Totals:
        """Distributions of the total, R of them."""
        if self.fixed is not None:
            return self.fixed
        if self.histograms is None:
            return Totals.normal(self.location, self.spread)
        return Totals.mixture(self.histograms.probabilities, *self._atoms(self.histograms))

    def likelihood(self, total: Array) -> Array:
        """The entry of `totals` at each `total` (R,), shape (R,), at a fraction of the cost."""
        if self.histograms is None:
            return total_probability(self.location, self.spread, total)
        places, blur = self._atoms(self.histograms)
        each = total_probability(places, blur[:, None], total[:, None])
        return np.asarray((self.histograms.probabilities * each).sum(axis=1), dtype=np.float64)

    def _atoms(self, histograms: Totals) -> tuple[Array, Array]:
        """Places (R, 28) of the totals of each histogram, and the deviation of the blur (R,).

        The blurred histogram has the mean `location` and the deviation `spread`. Its totals lie
        as far apart as estimates are stretched, or closer where the head is less sure than it
        need be: so close that the blur is half a step or more, else the steps would show.
        """
        variance = histograms.variance()
        step = np.minimum(self.stretch, self.spread / np.sqrt(variance + 0.25))
        distance = np.arange(TOTALS) - histograms.mean()[:, None]
        places = self.location[:, None] + step[:, None] * distance
        return places, np.sqrt(self.spread**2 - step**2 * variance)


def fit_calibration(
    mean: Array,
    sd: Array,
    words: Array,
    total: Array,
    weight: Array,
    final: npt.NDArray[np.bool_],
    *,
    histograms: Totals | None = None,
    recentre: bool = False,
) -> Calibration:
    """Fit a `Calibration` on estimates for unseen people.

    Args:
        mean: raw estimates of readings of every length, shape (R,).
        sd: their deviations, shape (R,).
        words: of the person in each reading, shape (R,).
        total: gold total of the label that the reading leads to, shape (R,).
        weight: of each reading, shape (R,).
        final: True where the reading is the whole window of its label, shape (R,); the
            intervals are conformalised on these alone.
        histograms: of which `mean` and `sd` are the moments, if the head gives any.
        recentre: whether the head was trained on other people too, whose mean is another one.
    """
    centre = float(np.average(total[final]))
    shift = float(np.average(mean[final] - total[final])) if recentre else 0.0

    def at(theta: Array) -> Calibration:
        stretch, half_words, widen, few_words = (float(value) for value in np.exp(theta))
        return Calibration(centre, stretch, half_words, widen, few_words, shift=shift)

    def loss(theta: Array) -> float:
        hit = at(theta).calibrated(mean, sd, words, histograms).likelihood(total)
        # A prior keeps the numbers sane where the data do not speak of them.
        surprise = float(-(weight * np.log(np.maximum(hit, SMALLEST))).sum())
        return surprise + 0.5 * float((((theta - START) / START_SD) ** 2).sum())

    best = minimize(loss, START, method="Nelder-Mead", options={"maxiter": 400, "xatol": 1e-3})
    shapes = None if histograms is None else histograms.take(np.flatnonzero(final))

    def whole_loss(log_stretch: float) -> float:
        theta = np.append(log_stretch, best.x[1:])
        estimates = at(theta).calibrated(mean[final], sd[final], words[final], shapes)
        hit = estimates.likelihood(total[final])
        surprise = float(-(weight[final] * np.log(np.maximum(hit, SMALLEST))).sum())
        return surprise + 0.5 * float(((log_stretch - START[0]) / START_SD[0]) ** 2)

    # How few words pull is told by short readings; how far a head shrinks is said of whole ones.
    near = (best.x[0] - MOST_RESTRETCHED, best.x[0] + MOST_RESTRETCHED)
    again = minimize_scalar(whole_loss, bounds=near, method="bounded", options={"xatol": 1e-3})
    fitted = at(np.append(again.x, best.x[1:]))
    delivered = fitted.calibrated(mean[final], sd[final], words[final], shapes).totals()
    centrality = central_ranks(delivered, total[final])
    return Calibration(
        centre=fitted.centre,
        stretch=fitted.stretch,
        half_words=fitted.half_words,
        widen=fitted.widen,
        few_words=fitted.few_words,
        widths=conformal_widths(centrality),
        shift=shift,
    )


def central_ranks(totals: Totals, total: Array) -> Array:
    """The level of the smallest central interval that holds each total, shape (R,).

    Within the bin of a total the mass is taken as even, as `Totals.quantile` does, and
    the total lies in the middle of its bin: an interval of the returned level ends there.
    """
    rows, k = np.arange(len(total)), np.rint(total).astype(int)
    upto = totals.cumulative()[rows, k]
    below = upto - totals.probabilities[rows, k]
    middle = 0.5 * (upto + below)
    out: Array = np.abs(2.0 * middle - 1.0)
    return out


def width_at(
    level: float, widths: Sequence[float], levels: Sequence[float] = WIDTH_LEVELS
) -> float:
    """The nominal level that covers a share `level`, between those of `conformal_widths`."""
    return float(np.interp(level, (0.0, *levels, 1.0), (0.0, *widths, 1.0)))


def conformal_widths(centrality: Array) -> tuple[float, ...]:
    """For each of `WIDTH_LEVELS` the conformal quantile of n ranks, with (n + 1) for n.

    Where there are too few people to vouch for a level, its interval is the whole scale.
    """
    n = len(centrality)
    ordered = np.append(np.sort(centrality), 1.0)
    ranks = [min(int(np.ceil((n + 1) * level)), n + 1) - 1 for level in WIDTH_LEVELS]
    return tuple(float(min(ordered[rank], 1.0)) for rank in ranks)
