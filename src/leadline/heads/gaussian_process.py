"""A Gaussian process on pooled turn states, anchored by statements of known severity.

With a few hundred labels a strongly regularised closed-form fit on frozen states does as well
as training the reader, in seconds. The prior over functions is a sum of a linear part and a
radial basis function of each of two things:

- the *anchor scores* (see `anchors`): where the text lies between statements of absence and
  of presence of each symptom. Their direction is known before any label, so few labels do;
- the pooled states themselves, for what the anchors miss.

The amplitudes, the length scales and the noise maximise the log marginal likelihood under weak
log-normal priors (Rasmussen and Williams 2006, ch. 5), on at most `ROWS_FOR_SCALES` rows. A
row's noise variance is divided by its weight, so that a pseudolabel of half the precision
counts half.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from leadline.arrays import Array
from leadline.heads.inputs import Inputs, Scaler, join_views

ROWS_FOR_SCALES = 700
"""Rows on which the hyperparameters are chosen: a cubic cost, and more adds little."""

JITTER = 1e-8

HYPERPARAMETERS = (
    "anchors",
    "anchors_rbf",
    "states",
    "states_rbf",
    "anchors_length",
    "states_length",
    "noise",
)

# Variances are relative to that of the targets, lengths to the root of the median squared
# distance. One deviation is a factor of 4.5 for a variance and of 1.6 for a length.
PRIOR_MEAN = np.log([0.3, 0.3, 0.1, 0.1, 1.0, 1.0, 0.4])

PRIOR_SD = np.array([1.5, 1.5, 1.5, 1.5, 0.5, 0.5, 1.0])


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted anchored Gaussian process.

    Attributes:
        views: names of the state views, in the order in which they are concatenated.
        states, anchors: standardised training inputs, (R, D) and (R, A).
        state_scaler, anchor_scaler: how inputs are standardised.
        log_scales: the hyperparameters named in `HYPERPARAMETERS`.
        centre, spread: weighted mean and deviation of the training targets.
        medians: median squared distance between training rows, of anchors and of states.
        dual: K^-1 (y - centre) / spread, shape (R,).
        noise: relative noise variance of each training row, shape (R,).
    """

    views: tuple[str, ...]
    states: Array
    anchors: Array
    state_scaler: Scaler
    anchor_scaler: Scaler
    log_scales: Array
    centre: float
    spread: float
    medians: Array
    dual: Array
    noise: Array

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
        """Fit to `target`, shape (R,), with relative precisions `weight`, shape (R,).

        A PHQ-9 has the weight 1; a row of weight w counts like w rows of weight 1. `seed`
        draws the rows on which the hyperparameters are chosen; `log_scales` gives them instead,
        as found by an earlier fit.
        """
        views = tuple(inputs.states)
        joined = join_views(inputs, views)
        state_scaler, anchor_scaler = Scaler.fit(joined), Scaler.fit(inputs.anchors)
        states = _unit_scale(state_scaler(joined))
        anchors = _unit_scale(anchor_scaler(inputs.anchors))
        precision = np.ones(len(target)) if weight is None else np.asarray(weight, np.float64)
        centre = float(np.average(target, weights=precision))
        spread = float(np.sqrt(np.average((target - centre) ** 2, weights=precision))) or 1.0
        y = (target - centre) / spread
        noise = 1.0 / precision
        sample = np.sort(np.random.default_rng(seed).permutation(len(y))[:ROWS_FOR_SCALES])
        medians = np.array([_median_square(anchors[sample]), _median_square(states[sample])])
        if log_scales is None:
            log_scales = _choose_scales(
                Gram.of(anchors[sample], anchors[sample], states[sample], states[sample], medians),
                y[sample],
                noise[sample],
            )
        factor = _factor(anchors, states, medians, log_scales, noise)
        return cls(
            views=views,
            states=states,
            anchors=anchors,
            state_scaler=state_scaler,
            anchor_scaler=anchor_scaler,
            log_scales=log_scales,
            centre=centre,
            spread=spread,
            medians=medians,
            dual=cho_solve((factor, True), y),
            noise=noise,
        )

    @cached_property
    def factor(self) -> Array:
        """Lower Cholesky factor of the covariance of the training rows, shape (R, R).

        Not part of a checkpoint: it is large and follows from the rest.
        """
        return _factor(self.anchors, self.states, self.medians, self.log_scales, self.noise)

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the PHQ-9 total of new readings, each (R,).

        The deviation holds the noise of one PHQ-9 of weight 1.
        """
        states = _unit_scale(self.state_scaler(join_views(inputs, self.views)))
        anchors = _unit_scale(self.anchor_scaler(inputs.anchors))
        cross = Gram.of(anchors, self.anchors, states, self.states, self.medians).covariance(
            self.log_scales
        )
        scales = np.exp(self.log_scales)
        prior = (
            scales[0] * (anchors**2).sum(1) + scales[1] + scales[2] * (states**2).sum(1) + scales[3]
        )
        half = solve_triangular(self.factor, cross.T, lower=True)
        variance = np.maximum(prior - (half**2).sum(axis=0), 0.0) + scales[-1]
        return self.centre + self.spread * (cross @ self.dual), self.spread * np.sqrt(variance)

    def covariance(self, inputs: Inputs) -> Array:
        """What is not known of each reading's severity, and of two together, (R, R).

        In squared points, without the noise of a PHQ-9, whose variance is `label_noise`.
        """
        states = _unit_scale(self.state_scaler(join_views(inputs, self.views)))
        anchors = _unit_scale(self.anchor_scaler(inputs.anchors))
        between, cross = (
            Gram.of(anchors, a, states, s, self.medians).covariance(self.log_scales)
            for a, s in ((anchors, states), (self.anchors, self.states))
        )
        half = solve_triangular(self.factor, cross.T, lower=True)
        return np.asarray(self.spread**2 * (between - half.T @ half), dtype=np.float64)

    @property
    def label_noise(self) -> float:
        """Variance of a PHQ-9 of weight 1 about the severity, in squared points."""
        return float(self.spread**2 * np.exp(self.log_scales[-1]))


@dataclass(frozen=True)
class Gram:
    """Inner products and relative squared distances of anchors and of states."""

    anchors: Array
    anchor_squares: Array
    states: Array
    state_squares: Array

    @classmethod
    def of(cls, a: Array, b: Array, s: Array, t: Array, medians: Array) -> Gram:
        """Between rows with anchors `a` and states `s`, and rows with `b` and `t`."""
        return cls(
            a @ b.T,
            squared_distances(a, b) / medians[0],
            s @ t.T,
            squared_distances(s, t) / medians[1],
        )

    def parts(self, log_scales: Array) -> tuple[Array, Array, Array, Array]:
        """The four parts of the prior covariance, in the order of `HYPERPARAMETERS`."""
        scales = np.exp(log_scales)
        return (
            scales[0] * self.anchors,
            scales[1] * np.exp(-0.5 * self.anchor_squares / scales[4] ** 2),
            scales[2] * self.states,
            scales[3] * np.exp(-0.5 * self.state_squares / scales[5] ** 2),
        )

    def covariance(self, log_scales: Array) -> Array:
        """Prior covariance without noise."""
        first, *others = self.parts(log_scales)
        for part in others:
            first += part
        return first


def _factor(
    anchors: Array, states: Array, medians: Array, log_scales: Array, noise: Array
) -> Array:
    covariance = Gram.of(anchors, anchors, states, states, medians).covariance(log_scales)
    covariance[np.diag_indices_from(covariance)] += noise * np.exp(log_scales[-1]) + JITTER
    return np.asarray(cholesky(covariance, lower=True), dtype=np.float64)


def _choose_scales(gram: Gram, y: Array, noise: Array) -> Array:
    """Maximise the log posterior of the log hyperparameters by L-BFGS with exact gradients."""

    def loss(log_scales: Array) -> tuple[float, Array]:
        scales = np.exp(log_scales)
        parts = gram.parts(log_scales)
        covariance = parts[0] + parts[1] + parts[2] + parts[3]
        covariance[np.diag_indices_from(covariance)] += scales[-1] * noise + JITTER
        factor = cho_factor(covariance, lower=True)
        dual = cho_solve(factor, y)
        # d(-log p)/dK = (K^-1 - a a') / 2; each term below is its inner product with dK.
        slope = 0.5 * (cho_solve(factor, np.eye(len(y))) - np.outer(dual, dual))
        gradient = np.array(
            [
                *(np.sum(slope * part) for part in parts),
                np.sum(slope * parts[1] * gram.anchor_squares) / scales[4] ** 2,
                np.sum(slope * parts[3] * gram.state_squares) / scales[5] ** 2,
                scales[-1] * np.sum(np.diag(slope) * noise),
            ]
        )
        off = (log_scales - PRIOR_MEAN) / PRIOR_SD
        value = 0.5 * y @ dual + np.log(np.diag(factor[0])).sum() + 0.5 * (off**2).sum()
        return float(value), gradient + off / PRIOR_SD

    bounds = list(zip(PRIOR_MEAN - 5, PRIOR_MEAN + 5, strict=True))
    best = minimize(loss, PRIOR_MEAN, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(best.x, dtype=np.float64)


def _unit_scale(x: Array) -> Array:
    """Divide by the root of the width, so that a typical row has length 1."""
    return np.asarray(x / np.sqrt(max(x.shape[1], 1)), dtype=np.float64)


def squared_distances(a: Array, b: Array) -> Array:
    """Between the rows of `a` and those of `b`, (R, S)."""
    out = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(out, 0.0), dtype=np.float64)


def _median_square(x: Array) -> float:
    """Median squared distance between rows; 1 if there is nothing to compare."""
    upper = squared_distances(x, x)[np.triu_indices(len(x), 1)]
    return float(np.median(upper)) if len(upper) and np.median(upper) > 0 else 1.0
