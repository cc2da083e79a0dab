"""The graded response model of the PHQ-9 (Samejima, 1969) and its figures.

P(X >= k) = logistic(a (theta - b_k)) for k = 1, 2, 3. The figures are derived from the item
thresholds and the polychoric correlations of 8,276 US adults (NHANES 2017 to March 2020, US
government data): one factor by unweighted least squares, a = 1.702 l / sqrt(1 - l^2),
b = threshold / l. So theta is normal with mean 0 and SD 1 in US adults.
"""

from __future__ import annotations

import numpy as np

from leadline.arrays import Array, Ints

ITEM_COUNT = 9

ANSWER_LEVELS = 4

DISCRIMINATION: Array = np.array([1.953, 3.062, 1.619, 1.896, 1.646, 2.444, 1.868, 1.810, 1.929])

ITEM_THRESHOLDS: Array = np.array(
    [
        [0.868, 1.769, 2.368],
        [0.756, 1.618, 2.119],
        [0.389, 1.404, 1.927],
        [0.007, 1.257, 1.852],
        [0.939, 1.835, 2.434],
        [1.160, 1.962, 2.393],
        [1.276, 2.047, 2.454],
        [1.720, 2.382, 2.890],
        [2.358, 3.083, 3.512],
    ]
)


def level_probabilities(theta: Array, item: int, slope: float = 1.0) -> Array:
    """P(level) of one item, shape ``theta.shape + (4,)``; `slope` scales the discrimination."""
    above = _logistic(slope * DISCRIMINATION[item] * (theta[..., None] - ITEM_THRESHOLDS[item]))
    return _differences(above)


def draw_items(theta: Array, rng: np.random.Generator) -> Ints:
    """Answers to the nine items given severity per item, both of shape ``(..., 9)``."""
    above = _logistic(DISCRIMINATION[:, None] * (theta[..., None] - ITEM_THRESHOLDS))
    uniform = rng.random(theta.shape)[..., None]
    return np.asarray((uniform < above).sum(axis=-1), dtype=np.int64)


def draw_level(theta: Array, item: Ints, rng: np.random.Generator, slope: float = 1.0) -> Ints:
    """One level each for severity `theta` and item `item`, both of shape ``(n,)``."""
    gap = theta[:, None] - ITEM_THRESHOLDS[item]
    above = _logistic(slope * DISCRIMINATION[item][:, None] * gap)
    return np.asarray((rng.random(theta.shape)[:, None] < above).sum(axis=1), dtype=np.int64)


def _logistic(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _differences(above: Array) -> Array:
    ones = np.ones((*above.shape[:-1], 1))
    padded = np.concatenate([ones, above, np.zeros_like(ones)], axis=-1)
    return np.asarray(padded[..., :-1] - padded[..., 1:])
