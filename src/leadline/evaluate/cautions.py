"""What a reader must know before the numbers are believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leadline.evaluate.config import MIN_CLASS, MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.sample import Sample

LOWER_IS_BETTER = frozenset({"mae", "rmse", "crps"})

SMALL = 100  # people, under which the report says how wide the intervals are

COMPRESSED = 0.85  # SD of estimates over SD of gold, below which extremes are said to shrink

SLOPE = (0.9, 1.1)  # calibration slopes that pass without a remark


def find(
    models: Mapping[str, Mapping[str, Any]],
    bests: tuple[Mapping[str, Any], Mapping[str, float] | None],
    shown_model: str,
    config: EvaluateConfig,
    sample: Sample,
) -> list[dict[str, Any]]:
    """Warnings of one set: `{"kind", "model" (or None), "text"}`, the gravest first.

    Args:
        models: the `models` entry of the set.
        bests: its `ceiling` entry, and the limit of simulated people if there is one.
        shown_model: the model whose compression, calibration and coverage are remarked on.
        config: the cut and the reliabilities.
        sample: the gold labels.
    """
    ceiling, limit = bests
    warnings = []
    for name, entry in models.items():
        scores = entry["scores"]
        warnings += _above(name, scores, ceiling.get("default"), config)
        if limit:  # it holds for fused estimates too: a simulated teacher sees the same words
            warnings += _beyond_limit(name, scores, limit)
    if shown_model in models:
        warnings += _shape(shown_model, models[shown_model])
    return warnings + _sample_warnings(sample, config)


def _warning(kind: str, model: str | None, text: str) -> dict[str, Any]:
    return {"kind": kind, "model": model, "text": text}


def _beats(metric: str, score: Mapping[str, Any], best: float | None) -> tuple[bool, bool]:
    """Whether the value, and whether the whole interval, lies beyond the best possible."""
    value = score.get("value")
    if value is None or best is None:
        return False, False
    end = score.get("high" if metric in LOWER_IS_BETTER else "low")
    if metric in LOWER_IS_BETTER:
        return value < best, end is not None and end < best
    return value > best, end is not None and end > best


def _above(
    name: str,
    scores: Mapping[str, Any],
    ceiling: Mapping[str, Any] | None,
    config: EvaluateConfig,
) -> list[dict[str, Any]]:
    if ceiling is None:
        return []
    cut = f"auc_{config.cut}"
    pairs = (("pearson", "r"), ("rmse", "rmse"), ("mae", "mae"), (cut, "auc_cut"), ("crps", "crps"))
    beaten = []
    for metric, key in pairs:
        beats, wholly = _beats(metric, scores.get(metric, {}), ceiling[key])
        if beats:
            end = "its whole interval lies beyond" if wholly else "its interval includes it"
            beaten.append(f"{_against(metric, scores, ceiling[key])} ({end})")
    if not beaten:
        return []
    return [
        _warning(
            "ceiling",
            name,
            f"{name} is better than a perfect predictor could be at a retest reliability of "
            f"{ceiling['reliability']:g}: {'; '.join(beaten)}. This is leakage until shown "
            "otherwise: look for questionnaire answers in the text, shared people, or labels "
            "among the features.",
        )
    ]


def _against(metric: str, scores: Mapping[str, Any], best: float) -> str:
    digits = 2 if metric in LOWER_IS_BETTER else 3
    return f"{label(metric)} {scores[metric]['value']:.{digits}f} against {best:.{digits}f}"


def _beyond_limit(
    name: str, scores: Mapping[str, Any], limit: Mapping[str, float]
) -> list[dict[str, Any]]:
    names = {"r": "pearson", "mae": "mae", "rmse": "rmse", "crps": "crps"}
    beaten = []
    for key, best in limit.items():
        if key.startswith("coverage_"):
            continue  # an interval that holds more totals than it should is no better
        metric = names.get(key, key)
        _, wholly = _beats(metric, scores.get(metric, {}), best)
        if wholly:
            beaten.append(_against(metric, scores, best))
    if not beaten:
        return []
    return [
        _warning(
            "limit",
            name,
            f"{name} is better than the best possible predictor of these simulated people: "
            f"{'; '.join(beaten)}. Something leaks, or the limit is wrong.",
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
        what = "no intervals and no correlations are given" if none else "the intervals are wide"
        warnings.append(_warning("small", None, f"Only {sample.people} people: {what}."))
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
    names = {"mae": "MAE", "rmse": "RMSE", "pearson": "r", "crps": "CRPS"}
    if metric.startswith("auc_"):
        return f"AUC at {metric[4:]} or more"
    return names.get(metric, metric)
