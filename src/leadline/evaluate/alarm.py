"""The leakage alarm: a model that knows more than a predictor of severity can.

It rings where the whole 99.5% interval of a score lies beyond the ceiling, and only where there are
enough people for such an interval to be trusted. Scores of everybody find a leak through most
people; the sharpness of the errors finds one through some (`ceiling.sharpness_terms`). How often it
rings for nothing, and which leaks it finds, is measured by `bench/accuracy/leakage_alarm.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from leadline.evaluate.bases import basis_of, withheld
from leadline.evaluate.bootstrap import defined
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.intervals import interval
from leadline.evaluate.sample import Sample

ALARM_PEOPLE = 50

ALARM_LEVEL = 0.995

LOWER_IS_BETTER = frozenset({"mae", "rmse", "crps"})


def watched(cut: int) -> dict[str, str]:
    """Scores that the alarm watches, and what `Ceiling` calls them."""
    return {
        "pearson": "r",
        "rmse": "rmse",
        "mae": "mae",
        f"auc_{cut}": "auc_cut",
        "crps": "crps",
        "sharpness": "sharpness",
    }


def alarm_ends(
    sample: Sample,
    name: str,
    values: Mapping[str, np.ndarray],
    drawn: Mapping[str, np.ndarray] | None,
    config: EvaluateConfig,
) -> dict[str, list[float]] | None:
    """The 99.5% interval of every watched score of a model; None for too few people.

    Args:
        sample: the gold labels.
        name: of the model.
        values: its scores, one row each.
        drawn: its scores in the resamples, None without any.
        config: the cut.
    """
    if sample.people < ALARM_PEOPLE or drawn is None:
        return None
    out = {}
    for metric in watched(config.cut):
        if metric not in values or withheld(metric, sample, config):
            continue
        value, replicates = float(values[metric][0]), defined(drawn[metric])
        if not np.isfinite(value) or replicates is None:
            continue
        basis = basis_of(sample, sample.models[name], metric, config)
        ends = interval(metric, value, replicates, basis, ALARM_LEVEL)
        if ends is not None:
            out[metric] = list(ends)
    return out


def lies_beyond(metric: str, ends: list[float] | None, best: float | None) -> bool:
    """Whether a whole interval is better than the best possible."""
    if ends is None or best is None:
        return False
    return ends[1] < best if metric in LOWER_IS_BETTER else ends[0] > best


def beyond_ceiling(
    entry: Mapping[str, Any], ceiling: Mapping[str, Any] | None, cut: int
) -> list[str]:
    """Scores of a model (an entry of `models`) whose whole interval lies beyond the ceiling."""
    if ceiling is None or not entry.get("alarm"):
        return []
    return [
        metric
        for metric, key in watched(cut).items()
        if lies_beyond(metric, entry["alarm"].get(metric), ceiling[key])
    ]
