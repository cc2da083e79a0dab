"""A response model of the items that a cohort's people answered: fitted, kept, checked.

One severity theta, normal among the people, and for each item a graded response (Samejima 1969):
P(X >= k) = logistic(a (theta - b_k)). It is fitted by marginal maximum likelihood (Bock and Aitkin
1981) with normal priors whose centre are the published figures, so that 30 people move it a little
and thousands decide. An item that somebody left out has no part in their likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from leadline.arrays import Array, Ints
from leadline.phq9.graded_response import (
    ANSWER_LEVELS,
    DISCRIMINATION,
    ITEM_THRESHOLDS,
    logistic,
    steps,
)

NODES: Array = np.linspace(-5.0, 7.0, 61)
"""Severities over which is summed; in US adults they have mean 0 and SD 1."""

SLOPE_SPREAD, PLACE_SPREAD, GAP_SPREAD = 0.3, 0.4, 0.3
"""Standard deviations of log discriminations, first thresholds and log distances between
thresholds about the published ones: how far another language or population is expected off."""

POPULATION_CENTRE, POPULATION_SPREAD, WIDTH_SPREAD = 1.0, 1.5, 0.5
"""Of the prior of the people's mean severity, and of the log of their SD about 1."""

NOT_ANSWERED = -1

LEAST_CHANCE = 1e-300

RARE = 1e-200
"""Weight of every severity beside its own, so that no total is impossible among any people."""


@dataclass(frozen=True, eq=False)
class ResponseModel:
    """Discriminations and thresholds of K items, and the severity of the people.

    Attributes:
        discrimination: positive, shape (K,).
        thresholds: ascending in each row, shape (K, 3).
        mean, sd: of the severity among the people.
    """

    discrimination: Array
    thresholds: Array
    mean: float
    sd: float

    @classmethod
    def published(cls, items: int) -> ResponseModel:
        """The published figures of the first `items` items, in US adults."""
        return cls(DISCRIMINATION[:items], ITEM_THRESHOLDS[:items], 0.0, 1.0)

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.discrimination)

    def weights(self) -> Array:
        """Share of the people at each of `NODES`, shape (Q,)."""
        return _weights(self.mean, self.sd)

    def chances(self, shift: Array | None = None) -> Array:
        """P(answer) of each item at each of `NODES`, shape (Q, K, 4).

        Args:
            shift: of the severity by item and reading, shape (R, K); the result is (R, Q, K, 4).
        """
        place = NODES[:, None] if shift is None else NODES[:, None] + shift[:, None, :]
        gap = place[..., None] - self.thresholds
        return steps(logistic(self.discrimination[:, None] * gap))


def fit_response_model(answers: Ints) -> ResponseModel:
    """Fit to the answers of people, shape (N, K), `NOT_ANSWERED` where an item was left out.

    The estimate is the mode of the posterior; with nobody it is the published figures.
    """
    items = answers.shape[1]
    centre = _vector(ResponseModel(DISCRIMINATION[:items], ITEM_THRESHOLDS[:items], 1.0, 1.0))
    centre[-2:] = POPULATION_CENTRE, 0.0
    spread = np.concatenate(
        [
            np.full(items, SLOPE_SPREAD),
            np.full(items, PLACE_SPREAD),
            np.full(2 * items, GAP_SPREAD),
            [POPULATION_SPREAD, WIDTH_SPREAD],
        ]
    )
    one_hot = np.stack([answers == level for level in range(ANSWER_LEVELS)], axis=-1)
    flags = one_hot.reshape(len(answers), items * ANSWER_LEVELS).astype(np.float64)

    def loss(vector: Array) -> tuple[float, Array]:
        value, gradient = _likelihood(vector, flags, items)
        off = (vector - centre) / spread
        return 0.5 * float(off @ off) - value, off / spread - gradient

    best = minimize(loss, centre, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return _model(best.x, items)


def pattern_chances(model: ResponseModel, answers: Ints, shift: Array | None = None) -> Array:
    """P(these answers | people of this model), shape (N,), over the items that were answered.

    Args:
        model: the response model.
        answers: shape (N, K), `NOT_ANSWERED` where an item was left out.
        shift: of the severity by item and person, shape (N, K).
    """
    chances = model.chances(shift)
    if shift is None:
        chances = np.broadcast_to(chances, (len(answers), *chances.shape))
    place = np.maximum(answers, 0)[:, None, :, None]
    each = np.take_along_axis(chances, place, axis=-1)[..., 0]  # (N, Q, K)
    each = np.where((answers == NOT_ANSWERED)[:, None, :], 1.0, each)
    out: Array = each.prod(axis=-1) @ model.weights()
    return np.maximum(out, LEAST_CHANCE)


def _weights(mean: float, sd: float) -> Array:
    density = np.exp(-0.5 * ((NODES - mean) / sd) ** 2) + RARE
    return np.asarray(density / density.sum())


def _vector(model: ResponseModel) -> Array:
    """Parameters without bounds: log slopes, first thresholds, log distances, mean, log SD."""
    gaps = np.log(np.diff(model.thresholds, axis=1))
    return np.concatenate(
        [
            np.log(model.discrimination),
            model.thresholds[:, 0],
            gaps.ravel(),
            [model.mean, np.log(model.sd)],
        ]
    )


def _model(vector: Array, items: int) -> ResponseModel:
    """The inverse of `_vector`."""
    slopes, places, gaps = np.split(vector[:-2], [items, 2 * items])
    distances = np.concatenate([places[:, None], np.exp(gaps.reshape(items, 2))], axis=1)
    return ResponseModel(
        np.exp(slopes), distances.cumsum(axis=1), float(vector[-2]), float(np.exp(vector[-1]))
    )


def _likelihood(vector: Array, flags: Array, items: int) -> tuple[float, Array]:
    """Log likelihood of answers in 0 and 1, (N, 4 K), and its gradient by Fisher's identity."""
    model = _model(vector, items)
    chances, weights = np.maximum(model.chances(), LEAST_CHANCE), model.weights()
    log_joint = flags @ np.log(chances).reshape(len(NODES), -1).T + np.log(weights)
    top = log_joint.max(axis=1, keepdims=True)
    joint = np.exp(log_joint - top)
    total = joint.sum(axis=1, keepdims=True)
    posterior = joint / total  # (N, Q)
    counts = (posterior.T @ flags).reshape(chances.shape)  # expected answers at each node
    gradient = np.concatenate(
        [*_item_gradients(model, counts / chances), _people_gradient(model, posterior)]
    )
    return float((top + np.log(total)).sum()), gradient


def _item_gradients(model: ResponseModel, pull: Array) -> tuple[Array, Array, Array]:
    """Gradients by log slope (K,), first threshold (K,) and log distances (2 K,).

    `pull` is the gradient by the chance of each answer, (Q, K, 4).
    """
    gap = NODES[:, None, None] - model.thresholds
    slope = model.discrimination[:, None]
    above = logistic(slope * gap)
    by_above = (pull[..., 1:] - pull[..., :-1]) * above * (1.0 - above)  # (Q, K, 3)
    by_slope = (by_above * gap * slope).sum(axis=(0, 2))
    by_threshold = -(by_above * slope).sum(axis=0)  # (K, 3)
    later = np.stack([by_threshold[:, 1:].sum(axis=1), by_threshold[:, 2]], axis=1)
    by_distance = later * np.diff(model.thresholds, axis=1)
    return by_slope, by_threshold.sum(axis=1), by_distance.ravel()


def _people_gradient(model: ResponseModel, posterior: Array) -> Array:
    """Gradient by the mean and the log SD of the severity, (2,)."""
    z = (NODES - model.mean) / model.sd
    weights, mass = model.weights(), posterior.sum(axis=0)
    off = mass - mass.sum() * weights
    return np.array([off @ z / model.sd, off @ z**2])
