"""Heads that are fitted on frozen states at once, without gradient training of a reader.

`gp` is the anchored Gaussian process, `ridge` the linear model that everyone knows, and
`histogram` a softmax over the totals 0..27 with Gaussian-smoothed targets (HL-Gauss, Imani and
White 2018; Farebrother et al. 2024), convex and solved by L-BFGS. All take pooled states and
anchor scores and give a mean and a deviation for each reading. `network` (in its own module) takes
turn states instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import RidgeCV

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.estimator.gp import GaussianProcess, Inputs, Scaler, join_views
from leadline.estimator.network import Network
from leadline.estimator.predictive import SMALLEST_DEVIATION, totals_distribution
from leadline.evaluate.tables import TOTALS

Tensors = dict[str, Array]

SMOOTHING = 1.5  # PHQ-9 points: deviation of the smoothed targets
HISTOGRAM_PENALTY = 0.03  # per column and row; on the check-ins .1 and .01 were no better
RIDGE_PENALTIES = np.logspace(0, 5, 21)  # on unit-variance columns, so of the order of their number


class Head(Protocol):
    """What the training, scoring and checkpoint code needs of a fitted head."""

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""


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
        cls, inputs: Inputs, target: Array, weight: Array | None = None, *, seed: int = 0
    ) -> Ridge:
        """Fit to `target` (R,) with relative precisions `weight` (R,); `seed` is not used."""
        del seed
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
        cls, inputs: Inputs, target: Array, weight: Array | None = None, *, seed: int = 0
    ) -> Histogram:
        """Fit to `target` (R,) with relative precisions `weight` (R,); `seed` is not used."""
        del seed
        views = tuple(inputs.states)
        raw = linear_inputs(inputs, views)
        scaler = Scaler.fit(raw)
        # The solution lies in the span of the rows, so it is sought there: n columns, not width.
        left, size, rotation = np.linalg.svd(scaler(raw), full_matrices=False)
        x = _with_one(left * size)
        soft = totals_distribution(target, np.full(len(target), SMOOTHING))
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
        found = best.x.reshape(start.shape)
        return cls(views, scaler, np.concatenate([rotation.T @ found[:-1], found[-1:]]))

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""
        x = _with_one(self.scaler(linear_inputs(inputs, self.views)))
        p = softmax(x @ self.coefficients, axis=1)
        k = np.arange(TOTALS)
        mean = p @ k
        return mean, np.sqrt(np.maximum(p @ k**2 - mean**2, SMALLEST_DEVIATION**2))


FITTERS: dict[str, Any] = {
    "gp": GaussianProcess,
    "ridge": Ridge,
    "histogram": Histogram,
    "network": Network,
}


def fit_head(
    name: str,
    inputs: Inputs,
    target: Array,
    weight: Array | None = None,
    *,
    seed: int = 0,
    log_scales: Array | None = None,
) -> Head:
    """Fit the head called `name`, one of `settings.HEADS`.

    A Gaussian process keeps the hyperparameters `log_scales` of an earlier fit, if given: then
    a fit is one Cholesky factorisation. Other heads choose theirs in any case.
    """
    if name == "gp":
        return GaussianProcess.fit(inputs, target, weight, seed=seed, log_scales=log_scales)
    head: Head = FITTERS[name].fit(inputs, target, weight, seed=seed)
    return head


def head_state(head: Head) -> tuple[dict[str, Any], Tensors]:
    """A fitted head as plain settings and named arrays, for a checkpoint."""
    plain: dict[str, Any] = {
        "head": next(n for n, kind in FITTERS.items() if isinstance(head, kind))
    }
    tensors: Tensors = {}
    for field in fields(head):  # type: ignore[arg-type]
        value = getattr(head, field.name)
        if isinstance(value, Scaler):
            tensors[f"{field.name}.mean"], tensors[f"{field.name}.sd"] = value.mean, value.sd
        elif isinstance(value, np.ndarray):
            tensors[field.name] = value
        else:
            plain[field.name] = list(value) if isinstance(value, tuple) else value
    return plain, tensors


def restore_head(plain: Mapping[str, Any], tensors: Mapping[str, Array]) -> Head:
    """The inverse of `head_state`.

    Raises:
        LeadlineError: the settings or arrays are not those of a head of this version.
    """
    kind = FITTERS.get(str(plain.get("head")))
    values: dict[str, Any] = {}
    for field in fields(kind) if kind else ():
        name = field.name
        if f"{name}.mean" in tensors:
            values[name] = Scaler(tensors[f"{name}.mean"], tensors[f"{name}.sd"])
        elif name in tensors:
            values[name] = tensors[name]
        elif name in plain:
            values[name] = tuple(plain[name]) if name == "views" else plain[name]
        else:
            kind = None
            break
    if kind is None:
        raise LeadlineError(
            "The checkpoint's head is not one that this version of Leadline knows.",
            remedy="Train the run again with this version.",
        )
    head: Head = kind(**values)
    return head


def linear_inputs(inputs: Inputs, views: tuple[str, ...]) -> Array:
    """Pooled states of `views` and anchor scores side by side, (R, width)."""
    return np.concatenate([join_views(inputs, views), inputs.anchors], axis=1)


def _with_one(x: Array) -> Array:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
