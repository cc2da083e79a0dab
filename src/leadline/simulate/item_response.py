"""Answers to items drawn from the graded response model with its published figures."""

from __future__ import annotations

import numpy as np

from leadline.arrays import Array, Ints
from leadline.phq9.graded_response import (
    ANSWER_LEVELS,
    DISCRIMINATION,
    ITEM_COUNT,
    ITEM_THRESHOLDS,
    logistic,
    steps,
)

__all__ = ["ANSWER_LEVELS", "ITEM_COUNT", "draw_items", "draw_level", "level_probabilities"]


def level_probabilities(theta: Array, item: int, slope: float = 1.0) -> Array:
    """P(level) of one item, shape ``theta.shape + (4,)``; `slope` scales the discrimination."""
    above = logistic(slope * DISCRIMINATION[item] * (theta[..., None] - ITEM_THRESHOLDS[item]))
    return steps(above)


def draw_items(theta: Array, rng: np.random.Generator) -> Ints:
    """Answers to the nine items given severity per item, both of shape ``(..., 9)``."""
    above = logistic(DISCRIMINATION[:, None] * (theta[..., None] - ITEM_THRESHOLDS))
    uniform = rng.random(theta.shape)[..., None]
    return np.asarray((uniform < above).sum(axis=-1), dtype=np.int64)


def draw_level(theta: Array, item: Ints, rng: np.random.Generator, slope: float = 1.0) -> Ints:
    """One level each for severity `theta` and item `item`, both of shape ``(n,)``."""
    gap = theta[:, None] - ITEM_THRESHOLDS[item]
    above = logistic(slope * DISCRIMINATION[item][:, None] * gap)
    return np.asarray((rng.random(theta.shape)[:, None] < above).sum(axis=1), dtype=np.int64)
