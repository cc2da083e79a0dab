"""What one fold's training people tell of items: fitted, applied to totals, kept as plain values.

P(items | text) is the mixture over the delivered distribution of the total of P(items | total), so
the profile and the total cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.arrays import Array, Ints
from leadline.errors import LeadlineError
from leadline.phq9.distribution import Totals
from leadline.phq9.graded_response import ANSWER_LEVELS
from leadline.profiles.recursion import answers_given_total
from leadline.profiles.response_model import NOT_ANSWERED, ResponseModel, fit_response_model
from leadline.profiles.text_direction import CHUNK, TextDirection, fit_direction


@dataclass(frozen=True, eq=False)
class ItemModel:
    """The response model of some people, and what their text adds to it.

    Attributes:
        response: the response model.
        direction: None where the text was not looked at.
        marginal: chance of each answer whoever is asked, shape (K, 4): what a profile has to beat.
        people: PHQ-9s with items that it was fitted to.
    """

    response: ResponseModel
    direction: TextDirection | None
    marginal: Array
    people: int

    @classmethod
    def fit(cls, answers: Ints, scores: Array | None = None) -> ItemModel:
        """Fit to answers (N, K), `NOT_ANSWERED` where there is none, and scores (N, K, C)."""
        response = fit_response_model(answers)
        direction = None if scores is None else fit_direction(response, answers, scores)
        counts = np.stack([(answers == k).sum(axis=0) for k in range(ANSWER_LEVELS)], axis=1) + 0.5
        marginal = counts / counts.sum(axis=1, keepdims=True)
        return cls(response, direction, marginal, int((answers != NOT_ANSWERED).any(axis=1).sum()))

    @property
    def weight(self) -> float:
        """Of the text beyond the total; 0 where it moves nothing."""
        return 0.0 if self.direction is None else self.direction.weight

    def chances(self, totals: Totals, scores: Array | None = None) -> Array:
        """P(answer of each item) at R readings, shape (R, K, 4).

        Args:
            totals: the delivered distributions, R of them.
            scores: of the symptoms in the text, shape (R, K, C); without them the total decides.
        """
        if scores is None or self.direction is None or self.weight == 0.0:
            table = answers_given_total(self.response)
            return np.asarray(np.einsum("rt,kat->rka", totals.probabilities, table))
        shift = self.direction.shift(scores)
        out = np.zeros((len(totals), self.response.items, ANSWER_LEVELS))
        for start in range(0, len(totals), CHUNK):
            rows = slice(start, start + CHUNK)
            table = answers_given_total(self.response, shift[rows])
            out[rows] = np.einsum("rt,rkat->rka", totals.probabilities[rows], table)
        return out

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        response, direction = self.response, self.direction
        values: dict[str, Any] = {
            "people": self.people,
            "discrimination": response.discrimination.tolist(),
            "thresholds": response.thresholds.tolist(),
            "mean": response.mean,
            "sd": response.sd,
            "marginal": self.marginal.tolist(),
        }
        if direction is not None and direction.weight > 0.0:
            values["direction"] = {
                "weight": direction.weight,
                "mean": direction.mean.tolist(),
                "sd": np.where(np.isfinite(direction.sd), direction.sd, 0.0).tolist(),
                "spread": np.where(np.isfinite(direction.spread), direction.spread, 0.0).tolist(),
            }
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> ItemModel:
        """The inverse of `to_plain`; a direction without weight comes back as none.

        Raises:
            LeadlineError: the values are not those of an item model.
        """
        try:
            model = _from_plain(values)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged() from error
        if not _is_sound(model):
            raise _damaged()
        return model


def _damaged() -> LeadlineError:
    return LeadlineError(
        "The item model of this run is not as training writes it.",
        remedy="Restore the run from a copy, or train it again.",
    )


def _from_plain(values: Mapping[str, Any]) -> ItemModel:
    response = ResponseModel(
        np.array(values["discrimination"], dtype=np.float64),
        np.array(values["thresholds"], dtype=np.float64),
        float(values["mean"]),
        float(values["sd"]),
    )
    entry, direction = values.get("direction"), None
    if entry is not None:
        scales = {name: np.array(entry[name], dtype=np.float64) for name in ("sd", "spread")}
        infinite = {name: np.where(x == 0.0, np.inf, x) for name, x in scales.items()}
        mean = np.array(entry["mean"], dtype=np.float64)
        direction = TextDirection(float(entry["weight"]), mean, **infinite)
    marginal = np.array(values["marginal"], dtype=np.float64)
    return ItemModel(response, direction, marginal, int(values["people"]))


def _is_sound(model: ItemModel) -> bool:
    """Whether shapes fit together and numbers are in the range that training gives them."""
    response, items = model.response, model.response.items
    shapes = [
        response.thresholds.shape == (items, ANSWER_LEVELS - 1),
        model.marginal.shape == (items, ANSWER_LEVELS),
        items in (8, 9),
    ]
    if not all(shapes) or not _is_sound_direction(model.direction, items):
        return False
    numbers = np.concatenate(
        [response.discrimination, response.thresholds.ravel(), model.marginal.ravel()]
    )
    return (
        bool(np.isfinite(numbers).all())
        and bool((response.discrimination > 0).all())
        and bool((np.diff(response.thresholds, axis=1) > 0).all())
        and bool(np.abs(model.marginal.sum(axis=1) - 1.0).max() < 1e-6)
        and bool((model.marginal > 0).all())
        and math.isfinite(response.mean)
        and 0.0 < response.sd < math.inf
    )


def _is_sound_direction(direction: TextDirection | None, items: int) -> bool:
    if direction is None:
        return True
    mean, sd, spread = direction.mean, direction.sd, direction.spread
    return (
        mean.ndim == 2
        and mean.shape == sd.shape
        and mean.shape[0] == items == len(spread)
        and bool(np.isfinite(mean).all())
        and bool((sd > 0).all())
        and bool((spread > 0).all())
        and 0.0 < direction.weight <= 10.0
    )
