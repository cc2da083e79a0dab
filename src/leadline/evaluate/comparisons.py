"""Differences of two models on the same resamples."""

from __future__ import annotations

from typing import Any

import numpy as np

from leadline.evaluate.bases import undefined, withheld
from leadline.evaluate.bootstrap import UNSTABLE, Scores, defined, no_interval
from leadline.evaluate.config import MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.intervals import difference_interval, p_value
from leadline.evaluate.sample import Sample

NOT_GIVEN = "One of the two models gives no distribution."

BOTH_PERFECT = "Both models rank everybody rightly here: these people cannot tell them apart."


def comparisons(
    sample: Sample, scores: tuple[Scores, Scores], reference: str, config: EvaluateConfig
) -> list[dict[str, Any]]:
    """Each model minus the reference on identical resamples, metric by metric.

    Args:
        sample: the gold labels.
        scores: every model's scores of the sample, and in the resamples (empty if none).
        reference: the model that is subtracted.
        config: the cut.
    """
    if reference not in sample.models:
        return []
    return [
        {"model": name, "reference": reference, "metric": metric}
        | difference(sample, scores, (name, reference), metric, config)
        for name in sample.models
        if name != reference
        for metric in ("mae", "rmse", "pearson", f"auc_{config.cut}", "crps")
    ]


def difference(
    sample: Sample,
    scores: tuple[Scores, Scores],
    models: tuple[str, str],
    metric: str,
    config: EvaluateConfig,
) -> dict[str, Any]:
    """The score of the first model minus that of the second: value, interval, p-value."""
    values, drawn = scores
    first, second = models
    reason = withheld(metric, sample, config)
    if not (metric in values[first] and metric in values[second]):
        reason = NOT_GIVEN
    if reason is not None:
        return {"value": None, "low": None, "high": None, "reason": reason, "p": None}
    value = float(values[first][metric][0] - values[second][metric][0])
    if not np.isfinite(value):
        reason = undefined(metric)
        return {"value": None, "low": None, "high": None, "reason": reason, "p": None}
    if not drawn:
        why = f"Fewer than {MIN_PEOPLE} people: no interval."
        return no_interval(value, why) | {"p": None}
    replicates = defined(drawn[first][metric] - drawn[second][metric])
    if replicates is None:
        return no_interval(value, UNSTABLE) | {"p": None}
    if metric.startswith("auc") and min(values[name][metric][0] for name in models) >= 1:
        return no_interval(value, BOTH_PERFECT) | {"p": None}
    low, high = difference_interval(metric, value, replicates, sample.people)
    p = p_value(metric, value, replicates, sample.people)
    return {"value": value, "low": low, "high": high, "p": p}
