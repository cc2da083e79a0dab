"""The graded response model of the PHQ-9 (Samejima 1969) and its published figures.

P(X >= k) = logistic(a (theta - b_k)) for k = 1, 2, 3. The figures are derived from the item
thresholds and the polychoric correlations of 8,276 US adults (NHANES 2017 to March 2020, US
government data): one factor by unweighted least squares, a = 1.702 l / sqrt(1 - l^2),
b = threshold / l. So theta is normal with mean 0 and SD 1 in US adults.
"""

from __future__ import annotations

import numpy as np

from leadline.arrays import Array

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


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)) of any shape, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def steps(above: Array) -> Array:
    """P(X = 0 .. 3) from P(X >= 1 .. 3), shape ``(..., 3)`` to ``(..., 4)``."""
    ones = np.ones((*above.shape[:-1], 1))
    padded = np.concatenate([ones, above, np.zeros_like(ones)], axis=-1)
    return np.asarray(padded[..., :-1] - padded[..., 1:])
