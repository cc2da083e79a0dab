"""A head before any label: the ranking by anchor scores, put on a population's scale by assumption.

Anchor scores say who writes more like statements of a symptom's presence, not how many points that
is. The scale is assumed, in three steps. The *ranking* of a reading is the mean of its
standardised anchor scores. Its quantiles among people whose totals nobody knows (`knots`) are given
their normal scores, so that the ranking z is standard normal among them. The total of a person is
then Normal(centre + agreement * spread * z, spread^2 (1 - agreement^2)), rounded and cut at 0 and
27, whose mixture over the people is the population that the user assumed, whatever `agreement` (the
correlation of ranking and severity) is taken to be. Normal scores: van der Waerden 1952; equating
by quantiles: Kolen and Brennan 2014.

`StartedProcess` begins with that estimate and learns from labels what it misses: a Gaussian process
on the residuals, with an offset, a slope, anchor scores and states as its covariance (Rasmussen and
Williams 2006, 2.7). With no label it is the prior, with many it is the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import least_squares
from scipy.stats import norm

from leadline.arrays import Array
from leadline.heads.gaussian_process import squared_distances
from leadline.heads.inputs import Inputs, Scaler, join_views
from leadline.phq9.distribution import Totals

KNOTS = 41
"""Quantiles of the ranking that are kept, of some hundreds of people."""

AGREEMENT = 0.55
"""Assumed correlation of ranking and total: between what was measured on everyday conversations of
simulated people (.49 to .53) and on check-ins about mood (.71 to .74); docs/cold-start.md."""

OFFSET, SLOPE, PARTS = 0.3, 0.25, (0.15, 0.15)
"""How far the assumptions may be wrong, as shares of the population's spread (offset, slope) and of
its variance (what anchor scores by themselves, and states, know beyond the ranking)."""

FACTORS = (0.1, 0.3, 1.0, 3.0)
"""Factors on `PARTS` among which the labels choose, by marginal likelihood."""

NOISES = (0.6, 0.8, 1.0, 1.2)
"""Factors on the assumed residual variance among which they choose."""


def latent_population(mean: float, sd: float) -> tuple[float, float]:
    """Mean and deviation of the normal that, rounded and cut at 0 and 27, has this mean and SD.

    Args:
        mean: of the population's totals, within 0 and 27.
        sd: their deviation in points.
    """

    def miss(theta: Array) -> Array:
        totals = Totals.normal(theta[:1], np.exp(theta[1:]))
        return np.array([totals.mean()[0] - mean, np.sqrt(totals.variance()[0]) - sd])

    best = least_squares(miss, np.array([mean, np.log(sd)]))
    return float(best.x[0]), float(np.exp(best.x[1]))


@dataclass(frozen=True, eq=False)
class AnchorPrior:
    """Estimates by ranking and assumption.

    Attributes:
        views: state views whose anchor scores are ranked.
        anchor_scaler: standardises anchor scores, by people without labels.
        state_scaler: the same of the joined states, for labels to come.
        knots: quantiles of the ranking among these people, ascending, (K,).
        normal_scores: of the knots, (K,).
        centre, spread: of the normal whose rounded and cut form is the assumed population.
        agreement: assumed correlation of ranking and severity, 0 to 1.
    """

    views: tuple[str, ...]
    anchor_scaler: Scaler
    state_scaler: Scaler
    knots: Array
    normal_scores: Array
    centre: float
    spread: float
    agreement: float

    @classmethod
    def of_people(
        cls, inputs: Inputs, population: tuple[float, float], agreement: float = AGREEMENT
    ) -> Self:
        """The prior whose scale comes from readings without labels.

        Args:
            inputs: their anchor scores and states, (R, ...).
            population: mean and SD of the totals that are assumed.
            agreement: assumed correlation of ranking and severity.
        """
        views = tuple(inputs.states)
        scaler = Scaler.fit(inputs.anchors)
        ranking = scaler(inputs.anchors).mean(axis=1)
        levels = (np.arange(KNOTS) + 0.5) / KNOTS
        centre, spread = latent_population(*population)
        return cls(
            views,
            scaler,
            Scaler.fit(join_views(inputs, views)),
            np.quantile(ranking, levels),
            norm.ppf(levels),
            centre,
            spread,
            agreement,
        )

    @classmethod
    def fit(
        cls,
        inputs: Inputs,
        target: Array,
        weight: Array | None = None,
        *,
        seed: int = 0,
        log_scales: Array | None = None,
    ) -> Self:
        """As `head.Head.fit`: the labels give the population and nothing else."""
        del seed, log_scales
        mean = float(np.average(target, weights=weight))
        sd = float(np.sqrt(np.average((target - mean) ** 2, weights=weight)))
        return cls.of_people(inputs, (float(np.clip(mean, 0.5, 26.5)), max(sd, 1.0)))

    def rank(self, inputs: Inputs) -> Array:
        """The ranking z of readings, standard normal among the people of the scale, (R,).

        Beyond the outermost knots it goes on as a straight line through the whole of them.
        """
        ranking = self.anchor_scaler(inputs.anchors).mean(axis=1)
        low, high = self.knots[0], self.knots[-1]
        rise = (self.normal_scores[-1] - self.normal_scores[0]) / max(high - low, 1e-9)
        inside = np.interp(ranking, self.knots, self.normal_scores)
        beyond = np.maximum(ranking - high, 0.0) + np.minimum(ranking - low, 0.0)
        return np.asarray(inside + rise * beyond, dtype=np.float64)

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and deviation of the total before it is rounded and cut, each (R,)."""
        mean = self.centre + self.agreement * self.spread * self.rank(inputs)
        sd = self.spread * np.sqrt(1.0 - self.agreement**2)
        return mean, np.full(len(mean), sd)

    def started(self) -> StartedProcess:
        """The process that has seen no label."""
        none = Inputs({}, np.zeros((0, len(self.anchor_scaler.mean))))
        return StartedProcess.start(self, none, np.zeros(0))


@dataclass(frozen=True, eq=False)
class StartedProcess:
    """A Gaussian process on what the prior misses; the attributes of `AnchorPrior`, and these.

    Attributes:
        rank_rows, anchor_rows, state_rows: features of the labelled readings, (R,), (R, A), (R, D).
        factor: on `PARTS`, chosen by the labels.
        noise: variance of a label of weight 1 about the process, in points squared.
        dual: K^-1 (y - prior estimate), shape (R,).
        row_noise: variance of each labelled reading, shape (R,).
    """

    views: tuple[str, ...]
    anchor_scaler: Scaler
    state_scaler: Scaler
    knots: Array
    normal_scores: Array
    centre: float
    spread: float
    agreement: float
    rank_rows: Array
    anchor_rows: Array
    state_rows: Array
    factor: float
    noise: float
    dual: Array
    row_noise: Array

    @classmethod
    def start(
        cls, prior: AnchorPrior, inputs: Inputs, target: Array, weight: Array | None = None
    ) -> StartedProcess:
        """Learn from totals `target` (R,) of relative precision `weight` (R,) what `prior` misses.

        R may be 0: then it is the prior, with the covariance that it would begin with.
        """
        features = _features(prior, inputs)
        residual = target - prior.predict(inputs)[0] if len(target) else np.zeros(0)
        inverse = 1.0 / weight if weight is not None else np.ones(len(target))
        assumed = prior.spread**2 * (1.0 - prior.agreement**2)
        best: tuple[float, float, float, Array] | None = None
        for factor in FACTORS if len(target) else (1.0,):
            covariance = _covariance(prior.spread, factor, features, features)
            for share in NOISES if len(target) else (0.8,):
                noise = share * assumed
                root = cholesky(covariance + np.diag(noise * inverse), lower=True)
                dual = cho_solve((root, True), residual)
                surprise = float(0.5 * residual @ dual + np.log(np.diag(root)).sum())
                surprise += 0.5 * (np.log(factor) / 1.5) ** 2 + 0.5 * (np.log(share) / 0.5) ** 2
                if best is None or surprise < best[0]:
                    best = (surprise, factor, noise, dual)
        assert best is not None, "factors and noises are there"
        _, factor, noise, dual = best
        return cls(
            prior.views, prior.anchor_scaler, prior.state_scaler, prior.knots,
            prior.normal_scores, prior.centre, prior.spread, prior.agreement,
            *features, factor, noise, dual, noise * inverse,
        )  # fmt: skip

    @classmethod
    def fit(
        cls,
        inputs: Inputs,
        target: Array,
        weight: Array | None = None,
        *,
        seed: int = 0,
        log_scales: Array | None = None,
    ) -> Self:
        """As `head.Head.fit`, from a prior whose population is that of the labels."""
        prior = AnchorPrior.fit(inputs, target, weight, seed=seed, log_scales=log_scales)
        started = cls.start(prior, inputs, target, weight)
        assert isinstance(started, cls), "the class has no further kinds"
        return started

    def prior(self) -> AnchorPrior:
        """What it began with."""
        return AnchorPrior(
            self.views, self.anchor_scaler, self.state_scaler, self.knots, self.normal_scores,
            self.centre, self.spread, self.agreement,
        )  # fmt: skip

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""
        features = _features(self.prior(), inputs)
        cross = _covariance(self.spread, self.factor, features, self._rows())
        half = self._half(cross)
        alone = _variance(self.spread, self.factor, features)
        variance = np.maximum(alone - (half**2).sum(axis=0), 0.0) + self.noise
        mean = self.prior().predict(inputs)[0] + cross @ self.dual
        return mean, np.sqrt(variance)

    def covariance(self, inputs: Inputs) -> Array:
        """What is not known yet of each reading's severity, and of two together, (R, R)."""
        features = _features(self.prior(), inputs)
        half = self._half(_covariance(self.spread, self.factor, features, self._rows()))
        between = _covariance(self.spread, self.factor, features, features)
        return np.asarray(between - half.T @ half, dtype=np.float64)

    @property
    def label_noise(self) -> float:
        """Variance of a PHQ-9 of weight 1 about the severity, in squared points."""
        return self.noise

    def _rows(self) -> tuple[Array, Array, Array]:
        return self.rank_rows, self.anchor_rows, self.state_rows

    def _half(self, cross: Array) -> Array:
        rows = self._rows()
        if not len(self.dual):
            return np.zeros((0, len(cross)))
        covariance = _covariance(self.spread, self.factor, rows, rows) + np.diag(self.row_noise)
        root = cholesky(covariance, lower=True)
        return np.asarray(solve_triangular(root, cross.T, lower=True), dtype=np.float64)


def _features(prior: AnchorPrior, inputs: Inputs) -> tuple[Array, Array, Array]:
    """The ranking, anchor scores and states of readings, each row of about length 1."""
    if not len(inputs):
        width = len(prior.state_scaler.mean), len(prior.anchor_scaler.mean)
        return np.zeros(0), np.zeros((0, width[1])), np.zeros((0, width[0]))
    anchors = prior.anchor_scaler(inputs.anchors)
    states = prior.state_scaler(join_views(inputs, prior.views))
    return (
        prior.rank(inputs),
        anchors / np.sqrt(anchors.shape[1]),
        states / np.sqrt(states.shape[1]),
    )


Features = tuple[Array, Array, Array]


def _covariance(spread: float, factor: float, first: Features, second: Features) -> Array:
    """Covariance of what the prior misses at two sets of readings, (R, S), in points squared."""
    offset = OFFSET**2 + SLOPE**2 * np.outer(first[0], second[0])
    parts = sum(
        share * 0.5 * (a @ b.T + np.exp(-0.25 * squared_distances(a, b)))
        for share, a, b in zip(PARTS, first[1:], second[1:], strict=True)
    )
    return np.asarray(spread**2 * (offset + factor * parts), dtype=np.float64)


def _variance(spread: float, factor: float, features: Features) -> Array:
    """The diagonal of `_covariance` of readings with themselves, (R,)."""
    offset = OFFSET**2 + SLOPE**2 * features[0] ** 2
    parts = sum(
        share * 0.5 * ((x**2).sum(axis=1) + 1.0)
        for share, x in zip(PARTS, features[1:], strict=True)
    )
    return np.asarray(spread**2 * (offset + factor * parts), dtype=np.float64)


def most_informative(covariance: Array, noise: float, count: int) -> list[int]:
    """Rows whose labels would lower the summed variance of all rows most, one after the other.

    The label of row i has the noise variance `noise`, so it lowers the sum by
    sum_j C_ij^2 / (C_ii + noise); the covariance is then what is left (Cohn, Ghahramani and Jordan
    1996: active learning by expected variance).

    Args:
        covariance: what is not known yet, (R, R).
        noise: variance of a label.
        count: how many rows, R at the most.
    """
    unknown = np.array(covariance, dtype=np.float64)
    chosen: list[int] = []
    for _ in range(min(count, len(unknown))):
        gain = (unknown**2).sum(axis=0) / (np.diag(unknown) + noise)
        gain[chosen] = -np.inf
        row = int(np.argmax(gain))
        chosen.append(row)
        column = unknown[:, row].copy()
        unknown -= np.outer(column, column) / (column[row] + noise)
    return chosen
