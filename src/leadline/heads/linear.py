"""Linear heads: ridge regression, and a histogram over totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import RidgeCV

from leadline.arrays import Array
from leadline.heads.inputs import Inputs, Scaler, join_views
from leadline.phq9.distribution import SMALLEST_DEVIATION, Totals
from leadline.phq9.items import TOTALS

SMOOTHING = 1.5  # PHQ-9 points: deviation of the smoothed targets

HISTOGRAM_PENALTY = 0.03  # per column and row; on the check-ins .1 and .01 were no better

RIDGE_PENALTIES = np.logspace(0, 5, 21)  # on unit-variance columns, so of the order of their number


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on standardised states and anchor scores; penalty by leave-one-out."""

    views: tuple[str, ...]
    scaler: Scaler
    coefficients: Array
    intercept: float
    deviation: float

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
        """As `head.Head.fit`; `seed` and `log_scales` are not used."""
        del seed, log_scales
        views = tuple(inputs.states)
        x = linear_inputs(inputs, views)
        scaler = Scaler.fit(x)
        # One decomposition serves all penalties; the default pays a product a penalty.
        model = RidgeCV(alphas=RIDGE_PENALTIES, gcv_mode="svd")
        model.fit(scaler(x), target, sample_weight=weight)
        # best_score_ is minus the leave-one-out squared error at the chosen penalty.
        deviation = max(float(np.sqrt(-model.best_score_)), SMALLEST_DEVIATION)
        return cls(views, scaler, np.asarray(model.coef_), float(model.intercept_), deviation)

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""
        mean = self.scaler(linear_inputs(inputs, self.views)) @ self.coefficients + self.intercept
        return mean, np.full(len(mean), self.deviation)


@dataclass(frozen=True)
class Histogram:
    """Softmax regression on the totals with Gaussian-smoothed targets."""

    views: tuple[str, ...]
    scaler: Scaler
    coefficients: Array  # (width + 1, 28), the last row is the intercept

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
        """As `head.Head.fit`; `seed` and `log_scales` are not used."""
        del seed, log_scales
        views = tuple(inputs.states)
        raw = linear_inputs(inputs, views)
        scaler = Scaler.fit(raw)
        # The solution lies in the span of the rows, so it is sought there: n columns, not width.
        basis, size, rotation = np.linalg.svd(scaler(raw), full_matrices=False)
        x = _with_one(basis * size)
        soft = Totals.normal(target, np.full(len(target), SMOOTHING)).probabilities
        share = np.ones(len(x)) if weight is None else weight / weight.mean()
        prior = np.log(np.maximum((share[:, None] * soft).mean(0), 1e-6))
        start = np.zeros((x.shape[1], TOTALS))
        start[-1] = prior
        penalty = HISTOGRAM_PENALTY * raw.shape[1] / len(x)

        def loss(flat: Array) -> tuple[float, Array]:
            w = flat.reshape(start.shape)
            logits = x @ w
            value = -(share[:, None] * soft * log_softmax(logits, axis=1)).sum() / len(x)
            slope = x.T @ (share[:, None] * (softmax(logits, axis=1) - soft)) / len(x)
            slope[:-1] += penalty * w[:-1]
            return float(value + 0.5 * penalty * (w[:-1] ** 2).sum()), slope.ravel()

        best = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300})
        solution = best.x.reshape(start.shape)
        return cls(views, scaler, np.concatenate([rotation.T @ solution[:-1], solution[-1:]]))

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""
        x = _with_one(self.scaler(linear_inputs(inputs, self.views)))
        totals = Totals(softmax(x @ self.coefficients, axis=1))
        return totals.mean(), np.sqrt(np.maximum(totals.variance(), SMALLEST_DEVIATION**2))


def linear_inputs(inputs: Inputs, views: tuple[str, ...]) -> Array:
    """Pooled states of `views` and anchor scores side by side, (R, width)."""
    return np.concatenate([join_views(inputs, views), inputs.anchors], axis=1)


def _with_one(x: Array) -> Array:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
