"""A direction of the text that moves the profile at a given total, where it earns that.

Anchor scores of a symptom, less those of the others, say which items a person speaks of more than
of the rest. They shift the severity of each item by a common weight. What the text says of an item
beyond the total is weak: the weight is chosen by the log score of whole profiles given their total,
and stays 0 unless it gains more than twice its standard error over the training people.

Item 9 takes no part: nothing in the text moves it but the total.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Ints
from leadline.phq9.items import SELF_HARM
from leadline.profiles.recursion import total_chances
from leadline.profiles.response_model import (
    LEAST_CHANCE,
    NOT_ANSWERED,
    ResponseModel,
    pattern_chances,
)

WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)
"""Compared weights: severity, in SDs of US adults, by SD of a symptom's score."""

STANDARD_ERRORS = 2.0
"""Of the gain over 0 that a weight has to have."""

MOST_PEOPLE = 600  # among whom weights are compared; more settle nothing

CHUNK = 256  # people at a time: some MB


@dataclass(frozen=True, eq=False)
class TextDirection:
    """How scores of symptoms shift the severity of items.

    Attributes:
        weight: common to the items; 0 leaves them as the total says.
        mean, sd: of the scores among the training people, shape (K, C).
        spread: SD of what a symptom has beyond the others, shape (K,).
    """

    weight: float
    mean: Array
    sd: Array
    spread: Array

    @classmethod
    def of(cls, scores: Array) -> TextDirection:
        """The scale of scores (N, K, C) of training people; its weight is 0."""
        sd = scores.std(axis=0)
        sd = np.where(sd > 1e-9, sd, np.inf)
        unscaled = cls(1.0, scores.mean(axis=0), sd, np.ones(scores.shape[1]))
        spread = unscaled.shift(scores).std(axis=0)
        spread = np.where(spread > 1e-9, spread, np.inf)
        return cls(0.0, unscaled.mean, sd, spread)

    def shift(self, scores: Array) -> Array:
        """The shift of each item's severity by scores (R, K, C), shape (R, K)."""
        symptom = ((scores - self.mean) / self.sd).mean(axis=2)
        beyond = symptom - symptom[:, :SELF_HARM].mean(axis=1, keepdims=True)
        beyond[:, SELF_HARM:] = 0.0
        return np.asarray(self.weight * beyond / self.spread)


def fit_direction(model: ResponseModel, answers: Ints, scores: Array) -> TextDirection:
    """The direction with its weight, from people who answered every item.

    Args:
        model: fitted to the same people, without their text.
        answers: shape (N, K), `NOT_ANSWERED` where an item was left out.
        scores: of each item's symptom in the text of each person, shape (N, K, C).
    """
    direction = TextDirection.of(scores)
    complete = np.flatnonzero((answers != NOT_ANSWERED).all(axis=1))
    if not len(complete):
        return direction
    step = -(-len(complete) // MOST_PEOPLE)
    answers, scores = answers[complete[::step]], scores[complete[::step]]
    best, most = 0.0, 0.0
    alone = profile_scores(model, answers)
    for weight in WEIGHTS[1:]:
        shift = _weighted(direction, weight).shift(scores)
        gain = profile_scores(model, answers, shift) - alone
        if gain.mean() <= most:  # it only falls from here on
            break
        most = float(gain.mean())
        if most > STANDARD_ERRORS * float(gain.std()) / np.sqrt(len(gain)):
            best = weight
    return _weighted(direction, best)


def _weighted(direction: TextDirection, weight: float) -> TextDirection:
    return TextDirection(weight, direction.mean, direction.sd, direction.spread)


def profile_scores(model: ResponseModel, answers: Ints, shift: Array | None = None) -> Array:
    """Log chance of each complete profile given its total, shape (N,).

    Args:
        model: the response model.
        answers: whole profiles, shape (N, K).
        shift: of the severity by item and person, shape (N, K).
    """
    scores = np.zeros(len(answers))
    for start in range(0, len(answers), CHUNK):
        rows = slice(start, start + CHUNK)
        part = answers[rows]
        of_part = None if shift is None else shift[rows]
        sums = _at_people(model, of_part)
        sums = np.broadcast_to(sums, (len(part), sums.shape[-1]))
        of_total = np.maximum(sums[np.arange(len(part)), part.sum(axis=1)], LEAST_CHANCE)
        scores[rows] = np.log(pattern_chances(model, part, of_part)) - np.log(of_total)
    return scores


def _at_people(model: ResponseModel, shift: Array | None) -> Array:
    """Distribution of the total among people, shape ``(..., 3 K + 1)``."""
    sums = total_chances(model.chances(shift))
    return np.asarray(np.matmul(model.weights()[None, :], sums)[..., 0, :])
