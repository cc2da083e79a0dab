"""What a reader must know before the numbers are believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leadline.evaluate.alarm import (
    ALARM_LEVEL,
    ALARM_PEOPLE,
    LOWER_IS_BETTER,
    beyond_ceiling,
    watched,
)
from leadline.evaluate.config import MIN_CLASS, MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.limit import Gap
from leadline.evaluate.sample import Sample

SMALL = 100  # people, under which the report says how wide the intervals are

COMPRESSED = 0.85  # SD of estimates over SD of gold, below which extremes are said to shrink

SLOPE = (0.9, 1.1)  # calibration slopes that pass without a remark


def find(
    models: Mapping[str, Mapping[str, Any]],
    bests: tuple[Mapping[str, Any], Gap | None],
    shown_model: str,
    config: EvaluateConfig,
    sample: Sample,
) -> list[dict[str, Any]]:
    """Warnings of one set: `{"kind", "model" (or None), "text"}`, the gravest first.

    Args:
        models: the `models` entry of the set.
        bests: its `ceiling` entry, and the gap to the limit of simulated people if there is one.
        shown_model: the model whose compression, calibration and coverage are remarked on.
        config: the cut and the reliabilities.
        sample: the gold labels.
    """
    ceiling, gap = bests
    warnings = []
    for name, entry in models.items():
        warnings += _above(name, entry, ceiling.get("default"), config.cut)
        if gap:  # it holds for fused estimates too: a simulated teacher sees the same words
            warnings += _beyond_limit(name, gap)
    if shown_model in models:
        warnings += _shape(shown_model, models[shown_model])
    return warnings + _sample_warnings(sample, config)


def _warning(kind: str, model: str | None, text: str) -> dict[str, Any]:
    return {"kind": kind, "model": model, "text": text}


def _above(
    name: str, entry: Mapping[str, Any], ceiling: Mapping[str, Any] | None, cut: int
) -> list[dict[str, Any]]:
    beaten = beyond_ceiling(entry, ceiling, cut)
    if ceiling is None or not beaten:
        return []
    keys = watched(cut)
    against = "; ".join(_against(metric, entry, ceiling[keys[metric]]) for metric in beaten)
    return [
        _warning(
            "ceiling",
            name,
            f"{name} knows more of these PHQ-9s than a predictor of severity can, at a retest "
            f"reliability of {ceiling['reliability']:g}: {against}. This is leakage until shown "
            "otherwise: look for questionnaire answers in the text, shared people, or labels among "
            "the features. What else it may be: text of the same day that tells of that day's own "
            "ups and downs, or a questionnaire that is more reliable in these people "
            "(--reliability).",
        )
    ]


def _against(metric: str, entry: Mapping[str, Any], best: float) -> str:
    digits = 2 if metric in LOWER_IS_BETTER or metric == "sharpness" else 3
    value, (low, high) = entry["scores"][metric]["value"], entry["alarm"][metric]
    within = f"{ALARM_LEVEL:.1%} interval {low:.{digits}f} to {high:.{digits}f}"
    return f"{label(metric)} {value:.{digits}f} ({within}) against {best:.{digits}f} at best"


def _beyond_limit(name: str, gap: Gap) -> list[dict[str, Any]]:
    beaten = [
        f"{label('pearson' if key == 'r' else key)} by {abs(gap.gaps[name][key]):.3f}"
        for key in gap.beaten[name]
    ]
    if not beaten:
        return []
    return [
        _warning(
            "limit",
            name,
            f"{name} is better than the best possible predictor of these simulated people, on the "
            f"same PHQ-9s: {'; '.join(beaten)}. Something leaks, or the limit is wrong.",
        )
    ]


def _shape(name: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    scores, warnings = entry["scores"], []
    ratio, slope = scores["sd_ratio"]["value"], scores["calibration_slope"]
    if ratio is not None and ratio < COMPRESSED:
        ends = [band for band in entry["bands"] if band["bias"]["value"] is not None]
        band_text = (
            "; ".join(
                f"in the {band['band']} band the mean estimate is {band['estimate']['value']:.1f} "
                f"where the mean PHQ-9 is {band['gold']:.1f}"
                for band in (ends[0], ends[-1])
            )
            if len(ends) > 1
            else "the bands are too small to show by how much"
        )
        warnings.append(
            _warning(
                "compression",
                name,
                f"{name} compresses extremes: its estimates have {ratio:.2f} of the spread (SD) "
                f"of the gold totals; {band_text}. Do not count prevalences from raw estimates.",
            )
        )
    low, high = slope.get("low"), slope.get("high")
    outside = slope["value"] is not None and not SLOPE[0] <= slope["value"] <= SLOPE[1]
    if outside and low is not None and (high < 1 or low > 1):
        which = "too extreme" if slope["value"] < 1 else "too cautious"
        warnings.append(
            _warning(
                "calibration",
                name,
                f"{name} is {which}: the calibration slope is {slope['value']:.2f} "
                f"({low:.2f} to {high:.2f}); 1 is ideal.",
            )
        )
    return warnings + _coverage(name, entry)


def _coverage(name: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    if entry["uncertainty"] is None:
        return []
    interval = next(item for item in entry["uncertainty"]["intervals"] if item["level"] == 90)
    coverage, warnings = interval["coverage"], []
    if not interval["delivered"]:
        text = (
            f"The predictions do not hold the intervals that {name} delivers: the run was made by "
            "an earlier version. Coverage and width are of its distributions alone; train again "
            "for those of the delivered intervals."
        )
        warnings.append(_warning("interval", name, text))
    if coverage.get("high") is not None and coverage["high"] < min(0.9, interval["claimed"]):
        share = f"{coverage['value']:.0%}"
        text = f"{name} is overconfident: its 90% intervals hold {share} of the totals."
        warnings.append(_warning("coverage", name, text))
    return warnings


def _sample_warnings(sample: Sample, config: EvaluateConfig) -> list[dict[str, Any]]:
    warnings = []
    if sample.people < SMALL:
        none = sample.people < MIN_PEOPLE
        what = (
            "no correlations, and intervals of shares and AUC only"
            if none
            else "the intervals are wide"
        )
        silent = "; too few for the leakage alarm, so its silence means nothing"
        silent = silent if sample.people < ALARM_PEOPLE else ""
        warnings.append(_warning("small", None, f"Only {sample.people} people: {what}{silent}."))
    above, below = sample.people_at_or_above(config.cut)
    if min(above, below) < MIN_CLASS:
        warnings.append(
            _warning(
                "class",
                None,
                f"{above} people at or above {config.cut} and {below} below: no AUC and no "
                "screening figures.",
            )
        )
    if sample.instrument == "phq8":
        warnings.append(
            _warning(
                "instrument",
                None,
                "These labels are PHQ-8 totals (0-24, without item 9). They are evaluated by "
                "themselves and never pooled with PHQ-9 totals.",
            )
        )
    return warnings


def label(metric: str) -> str:
    """The name of a metric as people write it."""
    names = {
        "mae": "MAE",
        "rmse": "RMSE",
        "pearson": "r",
        "crps": "CRPS",
        "sharpness": "sharpness of the errors about zero",
    }
    if metric.startswith("auc_"):
        return f"AUC at {metric[4:]} or more"
    return names.get(metric, metric)
