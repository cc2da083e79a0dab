"""The bootstrap over persons: all labels and all repeats of a person are drawn together.

A resample draws as many persons as there are, with replacement, and is kept as counts: the
weight of a label is how often its person was drawn. Every model is scored on the same
resamples, so the difference of two models has its own interval (paired bootstrap), which is
far narrower than the two intervals suggest. What becomes of the resampled scores is said in
`intervals`.
Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from leadline.arrays import Array
from leadline.evaluate.config import MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.intervals import Basis, interval
from leadline.evaluate.sample import Sample
from leadline.evaluate.scores import Resamples, curve_scores, scalar_scores

CELLS = 250_000  # resamples x labels held at once: small enough for the processor's cache

MOST_UNDEFINED = 0.05  # share of resamples without a value, above which no interval is given

UNSTABLE = "It is undefined in more than 5% of the resamples: no interval."

Scores = dict[str, dict[str, Array]]  # model -> name -> (resamples, ...)


def person_weights(person: np.ndarray, people: int, resamples: int, seed: int) -> Iterator[Array]:
    """Weights of the labels, in pieces of shape (some, labels), `resamples` rows in all."""
    rng = np.random.default_rng(seed)
    piece = max(1, CELLS // max(len(person), 1))
    for start in range(0, resamples, piece):
        rows = min(piece, resamples - start)
        drawn = rng.multinomial(people, np.full(people, 1 / people), size=rows)
        yield drawn[:, person].astype(np.float64)


def sample_scores(sample: Sample, config: EvaluateConfig) -> tuple[Scores, Scores]:
    """Scores of the sample itself, (scalars, curves); each array has one row."""
    unweighted = Resamples.of(sample, np.ones((1, len(sample.gold))))
    scalars = {
        name: scalar_scores(sample, model, unweighted, config)
        for name, model in sample.models.items()
    }
    curves = {
        name: curve_scores(sample, model, unweighted, config)
        for name, model in sample.models.items()
    }
    return scalars, curves


def resampled_scores(sample: Sample, config: EvaluateConfig) -> tuple[Scores, Scores]:
    """Scores in every resample, (scalars, curves): the same resamples for every model.

    Curves use the first `curve_resamples` of them. Fewer than MIN_PEOPLE persons give none.
    """
    if sample.people < MIN_PEOPLE:
        return {}, {}
    scalars: dict[str, list[Mapping[str, Array]]] = {name: [] for name in sample.models}
    curves: dict[str, list[Mapping[str, Array]]] = {name: [] for name in sample.models}
    resample_count = 0
    for weights in person_weights(sample.person, sample.people, config.resamples, config.seed):
        resamples = Resamples.of(sample, weights)
        remaining = config.curve_resamples - resample_count
        curve_resamples = (
            Resamples(resamples.weights[:remaining], resamples.gold_ranks[:remaining])
            if remaining > 0
            else None
        )
        for name, model in sample.models.items():
            scalars[name].append(scalar_scores(sample, model, resamples, config))
            if curve_resamples is not None:
                curves[name].append(curve_scores(sample, model, curve_resamples, config))
        resample_count += len(weights)
    return _join(scalars), _join(curves)


def _join(pieces: Mapping[str, list[Mapping[str, Array]]]) -> Scores:
    return {
        model: {name: np.concatenate([piece[name] for piece in parts]) for name in parts[0]}
        for model, parts in pieces.items()
    }


def summary(
    name: str,
    value: float,
    replicates: Array | None,
    basis: Basis,
    reason: str | None = None,
) -> dict[str, Any]:
    """A score for `results.json`: value with a 95% interval, or null with the reason.

    Args:
        name: the score, as `intervals.interval` takes it.
        value: the score of the sample.
        replicates: (resamples,), its values in the resamples; None if none were drawn.
        basis: what the score rests on.
        reason: why the score is withheld, if it is.
    """
    if reason is None and not np.isfinite(value):
        reason = "It is undefined for these estimates."
    if reason is not None:
        return {"value": None, "low": None, "high": None, "reason": reason}
    finite = defined(replicates)
    if replicates is not None and finite is None:
        return no_interval(value, UNSTABLE)
    ends = interval(name, float(value), finite, basis)
    if ends is None:
        return no_interval(value, f"Fewer than {MIN_PEOPLE} people: no interval.")
    return {"value": float(value), "low": ends[0], "high": ends[1]}


def defined(replicates: Array | None) -> Array | None:
    """The defined replicates; None without any, or if too many are undefined."""
    if replicates is None:
        return None
    finite: Array = replicates[np.isfinite(replicates)]
    return finite if len(finite) >= (1 - MOST_UNDEFINED) * len(replicates) else None


def no_interval(value: float, reason: str) -> dict[str, Any]:
    """A score for `results.json` that has a value and no interval."""
    return {"value": float(value), "low": None, "high": None, "reason": reason}
