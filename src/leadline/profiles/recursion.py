"""Totals from items and items given the total, exactly, by the recursion of Lord and Wingersky.

Given the severity, the items are independent, so the distribution of their sum grows item by item
(Lord and Wingersky 1984). Leaving one item out of the sum gives the joint chance of its answer and
the total. Everything is a sum of positive numbers, so rare totals lose no digits.
"""

from __future__ import annotations

import numpy as np

from leadline.arrays import Array
from leadline.phq9.graded_response import ANSWER_LEVELS
from leadline.phq9.items import TOTALS
from leadline.profiles.response_model import ResponseModel

HIGHEST = ANSWER_LEVELS - 1


def total_chances(chances: Array) -> Array:
    """Distribution of the sum of independent items, shape ``(..., K, 4)`` to ``(..., 3 K + 1)``."""
    sums = np.ones((*chances.shape[:-2], 1))
    for item in range(chances.shape[-2]):
        sums = _plus(sums, chances[..., item, :])
    return sums


def joint_chances(chances: Array, weights: Array) -> Array:
    """P(answer of each item, total), shape ``(..., K, 4, 3 K + 1)``.

    Args:
        chances: of the answers at each severity, shape ``(..., Q, K, 4)``.
        weights: of the severities, shape (Q,).
    """
    items = chances.shape[-2]
    out = np.zeros((*chances.shape[:-3], items, ANSWER_LEVELS, HIGHEST * items + 1))
    before = np.ones((*chances.shape[:-2], 1))
    for item in range(items):
        rest = before
        for later in range(item + 1, items):
            rest = _plus(rest, chances[..., later, :])
        for answer in range(ANSWER_LEVELS):
            weight = weights * chances[..., item, answer]
            sums = np.matmul(weight[..., None, :], rest)[..., 0, :]
            out[..., item, answer, answer : answer + sums.shape[-1]] = sums
        before = _plus(before, chances[..., item, :])
    return out


def answers_given_total(model: ResponseModel, shift: Array | None = None) -> Array:
    """P(answer of each item | total), shape (K, 4, 28), or (R, K, 4, 28) with a `shift` (R, K).

    At each total t the expected answers sum to t. A total above the highest of the instrument (of
    a PHQ-8: 24) is taken as the highest.
    """
    joint = joint_chances(model.chances(shift), model.weights())
    answers = joint / joint.sum(axis=-2, keepdims=True)
    beyond = np.repeat(answers[..., -1:], TOTALS - answers.shape[-1], axis=-1)
    return np.concatenate([answers, beyond], axis=-1)


def _plus(sums: Array, item: Array) -> Array:
    """The distribution of a sum with one more item."""
    out = np.zeros((*sums.shape[:-1], sums.shape[-1] + HIGHEST))
    for answer in range(ANSWER_LEVELS):
        out[..., answer : answer + sums.shape[-1]] += sums * item[..., answer, None]
    return out
