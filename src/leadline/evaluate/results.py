"""From predictions to the content of `results.json`: plain values, no NaN, reasons for gaps.

Layout (format 3): facts of the run at the top; `sets`, one per split and instrument, each
with the gold labels, the ceiling, every model and the comparisons with the reference. Every
score is `{"value", "low", "high"}`, or has a null and a `reason`. The page docs/evaluation.md
says how each is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from leadline.about import NOTICE, SIMULATED_NOTICE, __version__
from leadline.errors import LeadlineError
from leadline.evaluate import cautions
from leadline.evaluate.bootstrap import Scores, p_value, resampled_scores, sample_scores, summary
from leadline.evaluate.ceiling import noise_ceiling
from leadline.evaluate.config import MIN_CLASS, MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.questionnaire import questionnaire_caution, questionnaire_view
from leadline.evaluate.rounds import rounds_view
from leadline.evaluate.sample import Sample, band_of, split_samples
from leadline.evaluate.scores import (
    AUC_CUTS,
    DELIVERED_LEVEL,
    INTERVAL_LEVELS,
    dialogue_bins,
)
from leadline.phq9.items import BANDS, TOTALS

RESULTS_FORMAT = 3

CARRIED = (
    "training", "selection", "limit", "command", "settings", "inputs", "written", "questionnaire"
)  # fmt: skip

CORRELATIONS = ("pearson", "spearman", "calibration_slope", "calibration_intercept")

SPREADS = ("ccc", "sd_ratio", "variance_explained", "kappa")


def evaluate_predictions(
    predictions: pl.DataFrame,
    settings: EvaluateConfig | None = None,
    *,
    manifest: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of `results.json` for a table of `tables.PREDICTIONS`.

    Args:
        predictions: one row per gold label, model and repeat.
        settings: resamples, cuts, reliabilities; the defaults if None.
        manifest: facts of the run; `simulated`, `training`, `selection`, `limit`,
            `reference_model`, `shown_model`, `selftraining`, `notice` are used where present.

    Raises:
        LeadlineError: the table would give wrong numbers (`sample.check_predictions`).
    """
    config = settings or EvaluateConfig()
    facts = dict(manifest or {})
    reference = str(facts.get("reference_model") or config.reference)
    samples = split_samples(predictions)
    if not any(reference in sample.models for sample in samples):
        names = sorted({name for sample in samples for name in sample.models})
        raise LeadlineError(
            f"There are no predictions of the reference model {reference!r}.",
            remedy=f"Use --reference with one of: {', '.join(names)}.",
        )
    shown_model = str(facts.get("shown_model") or reference)
    simulated = bool(facts.get("simulated", False))
    sets = [
        evaluate_sample(
            sample, config, (reference, shown_model), _limit_for(sample, facts.get("limit"))
        )
        for sample in samples
    ]
    _add_questionnaires(sets, predictions, facts.get("questionnaire"), (shown_model, config))
    rounds = facts.get("selftraining")
    return {
        "kind": "results",
        "format": RESULTS_FORMAT,
        "leadline": __version__,
        "notice": facts.get("notice") or NOTICE,
        "simulated": simulated,
        "simulated_notice": SIMULATED_NOTICE if simulated else None,
        "reference_model": reference,
        "shown_model": shown_model,
        "selftraining": rounds_view(rounds, sets, reference, shown_model) if rounds else None,
        "evaluation": {**asdict(config), "min_people": MIN_PEOPLE, "min_class": MIN_CLASS},
        "warnings": [
            {"split": set_results["split"], "instrument": set_results["instrument"], **warning}
            for set_results in sets
            for warning in set_results["warnings"]
        ],
        "run": _carried(facts),
        "sets": sets,
    }


def _carried(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the run that results repeat; which labels were asked is left in the run."""
    carried = {key: facts[key] for key in CARRIED if facts.get(key) is not None}
    if "questionnaire" in carried:
        record = carried["questionnaire"]
        carried["questionnaire"] = {k: v for k, v in record.items() if k != "asked_labels"}
    return carried


def _add_questionnaires(
    sets: list[dict[str, Any]],
    predictions: pl.DataFrame,
    record: Mapping[str, Any] | None,
    settings: tuple[str, EvaluateConfig],
) -> None:
    """Add to each set what a questionnaire in the chat does to its scores, and a warning."""
    shown_model, config = settings
    views = questionnaire_view(predictions, record, [shown_model], config)
    for set_results in sets:
        set_results["questionnaire"] = views.get((set_results["split"], set_results["instrument"]))
        warnings = questionnaire_caution(record, set_results["models"], shown_model)
        set_results["warnings"] = warnings + set_results["warnings"]


def _limit_for(sample: Sample, limit: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The best possible predictor's figures, if they are of the same people."""
    return limit if limit and limit.get("split", sample.split) == sample.split else None


def evaluate_sample(
    sample: Sample,
    config: EvaluateConfig,
    names: tuple[str, str],
    limit: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """All results of one split and instrument.

    Args:
        sample: its gold labels and estimates.
        config: resamples, cuts, reliabilities.
        names: the model that others are compared with, and the one that remarks are about.
        limit: figures of the best possible predictor, where it is known.
    """
    reference, shown_model = names
    scalars, curves = sample_scores(sample, config)
    drawn, drawn_curves = resampled_scores(sample, config)
    ceiling = _ceiling(sample, config)
    models = {
        name: _model(
            sample,
            name,
            config,
            (scalars[name], drawn.get(name)),
            (curves[name], drawn_curves.get(name)),
        )
        for name in sample.models
    }
    constant = models.get("constant", {"scores": {}})["scores"].get(f"width_{DELIVERED_LEVEL}")
    for entry in models.values():
        if entry["uncertainty"] is not None:
            entry["uncertainty"]["constant_width"] = constant["value"] if constant else None
        entry["explainable"] = _explainable(entry["scores"], config, limit)
    warnings = cautions.find(models, (ceiling, limit), shown_model, config, sample)
    return {
        "split": sample.split,
        "instrument": sample.instrument,
        "people": sample.people,
        "labels": len(sample.gold),
        "gold": _gold(sample, config),
        "ceiling": ceiling,
        "limit": dict(limit) if limit else None,
        "models": models,
        "comparisons": _comparisons(sample, scalars, drawn, reference, config),
        "warnings": warnings,
    }


def _gold(sample: Sample, config: EvaluateConfig) -> dict[str, Any]:
    bands = np.bincount(band_of(sample.gold), minlength=len(BANDS))
    above, below = sample.people_at_or_above(config.cut)
    return {
        "mean": float(sample.gold.mean()),
        "sd": float(sample.gold.std(ddof=1)) if len(sample.gold) > 1 else None,
        "min": float(sample.gold.min()),
        "max": float(sample.gold.max()),
        "histogram": np.bincount(sample.gold.astype(int), minlength=TOTALS).tolist(),
        "bands": {name: int(n) for (name, _, _), n in zip(BANDS, bands, strict=True)},
        "share_at_cut": float((sample.gold >= config.cut).mean()),
        "people_at_cut": above,
        "people_below_cut": below,
    }


def _ceiling(sample: Sample, config: EvaluateConfig) -> dict[str, Any]:
    if sample.people < MIN_PEOPLE or len(np.unique(sample.gold)) < 3:
        why = f"Fewer than {MIN_PEOPLE} people, or fewer than 3 different totals."
        return {"default": None, "reason": why, "by_reliability": []}
    each = [noise_ceiling(sample.gold, rho, AUC_CUTS, config.cut) for rho in config.reliability]
    by_reliability = [ceiling.as_dict() for ceiling in each if ceiling is not None]
    if each[0] is None:
        rho = f"{config.reliability[0]:g}"
        why = f"Totals that are nearly all equal cannot have a retest correlation of {rho}."
        return {"default": None, "reason": why, "by_reliability": by_reliability}
    return {"default": by_reliability[0], "by_reliability": by_reliability}


def withheld(name: str, sample: Sample, config: EvaluateConfig) -> str | None:
    """Why a score is not printed for this sample, or None."""
    too_few = f"Fewer than {MIN_PEOPLE} people."
    if name in CORRELATIONS + SPREADS:
        if sample.people < MIN_PEOPLE:
            return too_few
        if np.ptp(sample.gold) == 0:
            return "All gold totals are equal."
    if name in ("p90_error", "p95_error") and len(sample.gold) < 20:
        return "Fewer than 20 labels."
    if name.startswith(("auc_", "by_mean/", "by_probability/", "brier_")):
        return _few_in_class(sample, config.cut)
    if name.startswith(("coverage_", "mae_certain")) and sample.people < MIN_PEOPLE:
        return too_few
    return None


def _few_in_class(sample: Sample, threshold: int) -> str | None:
    above, below = sample.people_at_or_above(threshold)
    if min(above, below) >= MIN_CLASS:
        return None
    side = f"at or above {threshold}" if above < below else f"below {threshold}"
    return f"Fewer than {MIN_CLASS} people {side}."


def _undefined(name: str) -> str:
    """What a NaN of the sample itself means."""
    if name in CORRELATIONS:
        return "The estimates are constant."
    if "/ppv/" in name:
        return "Nobody is flagged."
    if "/npv/" in name:
        return "Everybody is flagged."
    return "It is undefined for this sample."


def _model(
    sample: Sample,
    name: str,
    config: EvaluateConfig,
    scalars: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray] | None],
    curves: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray] | None],
) -> dict[str, Any]:
    values, drawn = scalars
    scores: dict[str, Any] = {}
    for key, value in values.items():
        reason = withheld(key, sample, config)
        if reason is None and not np.isfinite(value[0]):
            reason = _undefined(key)
        scores[key] = summary(float(value[0]), None if drawn is None else drawn[key], reason)
    estimates = sample.models[name]
    if estimates.totals is None:
        why = "The model gives no distribution."
        scores["crps"] = {"value": None, "low": None, "high": None, "reason": why}
    return {
        "repeats": estimates.repeats,
        "distribution": estimates.totals is not None,
        "scores": {key: value for key, value in scores.items() if "/" not in key},
        "screening": _screening(scores),
        "auc_by_threshold": _auc_curve(sample, *curves),
        "bands": _bands(sample, *curves),
        "dialogue": _dialogue(sample, config, *curves),
        "calibration": _bins("calibration", sample, *curves),
        "uncertainty": (
            None if estimates.totals is None else _uncertainty(sample, name, scores, *curves)
        ),
    }


def _screening(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Nest the flat names ``rule/what`` and ``rule/ppv/prevalence``."""
    out: dict[str, Any] = {}
    for key, value in scores.items():
        if key.startswith("by_"):
            rule, what, *rest = key.split("/")
            place = out.setdefault(rule, {})
            if rest:
                place.setdefault(what, {})[rest[0]] = value
            else:
                place[what] = value
    return out


Curves = Mapping[str, np.ndarray]


def _points(key: str, values: Curves, drawn: Curves | None, index: int) -> dict[str, Any]:
    replicates = None if drawn is None else drawn[key][:, index]
    return summary(float(values[key][0, index]), replicates)


def _auc_curve(sample: Sample, values: Curves, drawn: Curves | None) -> list[dict[str, Any]]:
    out = []
    for index, threshold in enumerate(AUC_CUTS):
        above, below = sample.people_at_or_above(threshold)
        replicates = None if drawn is None else drawn["auc"][:, index]
        reason = _few_in_class(sample, threshold)
        score = summary(float(values["auc"][0, index]), replicates, reason)
        out.append({"threshold": threshold, "people_above": above, "people_below": below, **score})
    return out


def _bands(sample: Sample, values: Curves, drawn: Curves | None) -> list[dict[str, Any]]:
    membership = band_of(sample.gold)
    out = []
    for index, (name, low, high) in enumerate(BANDS):
        members = membership == index
        entry: dict[str, Any] = {
            "band": name,
            "low": low,
            "high": min(high, sample.maximum),
            "labels": int(members.sum()),
            "people": len(np.unique(sample.person[members])),
            "gold": float(sample.gold[members].mean()) if members.any() else None,
        }
        for key in ("mae", "bias", "estimate"):
            is_small = entry["people"] < MIN_CLASS
            entry[key] = (
                summary(np.nan, None, f"Fewer than {MIN_CLASS} people in the band.")
                if is_small
                else _points(f"bands/{key}", values, drawn, index)
            )
        out.append(entry)
    return out


def _dialogue(
    sample: Sample, config: EvaluateConfig, values: Curves, drawn: Curves | None
) -> dict[str, list[dict[str, Any]]]:
    out = {}
    for name, (mask, edges) in dialogue_bins(sample, config.bins).items():
        amount = getattr(sample, name)
        out[name] = [
            {
                "from": float(amount[mask[:, index]].min()),
                "to": float(amount[mask[:, index]].max()),
                "labels": int(mask[:, index].sum()),
                "mae": _points(f"{name}/mae", values, drawn, index),
            }
            for index in range(len(edges) - 1)
        ]
    return out


def _bins(name: str, sample: Sample, values: Curves, drawn: Curves | None) -> list[dict[str, Any]]:
    """Binned means of outcome against forecast; none for fewer than 4 people a bin."""
    bins = values[f"{name}/outcome"].shape[1]
    if sample.people < 4 * bins:
        return []
    return [
        {
            "forecast": float(values[f"{name}/forecast"][0, index]),
            "share": float(values[f"{name}/share"][0, index]),
            "outcome": _points(f"{name}/outcome", values, drawn, index),
        }
        for index in range(bins)
    ]


def _uncertainty(
    sample: Sample, name: str, scores: Mapping[str, Any], values: Curves, drawn: Curves | None
) -> dict[str, Any]:
    has_interval = sample.models[name].lower is not None
    return {
        "intervals": [
            {
                "level": level,
                "delivered": has_interval and level == DELIVERED_LEVEL,
                "coverage": scores[f"coverage_{level}"],
                "claimed": scores[f"claimed_{level}"]["value"],
                "width": scores[f"width_{level}"]["value"],
            }
            for level in INTERVAL_LEVELS
        ],
        "pit": values["pit"][0].tolist() if sample.people >= MIN_PEOPLE else [],
        "reliability": _bins("reliability", sample, values, drawn),
    }


def _explainable(
    scores: Mapping[str, Any], config: EvaluateConfig, limit: Mapping[str, float] | None
) -> dict[str, Any]:
    """Share of the explainable variance reached, and gaps to a known limit.

    Variance explained, 1 - MSE / variance(gold), over what a perfect predictor explains: the
    retest reliability, or the squared r of the best possible predictor of simulated people.
    """
    reached = scores["variance_explained"]["value"]
    out: dict[str, Any] = {
        "of_ceiling": None if reached is None else reached / config.reliability[0],
        "of_limit": None,
        "gap_to_limit": {},
    }
    if not limit:
        return out
    if reached is not None and limit.get("r"):
        out["of_limit"] = reached / limit["r"] ** 2
    names = {"r": "pearson", "mae": "mae", "rmse": "rmse", "crps": "crps"}
    for key, best in limit.items():
        if key.startswith("coverage_"):
            continue  # nearer to nominal is better, so a gap says nothing
        value = scores.get(names.get(key, key), {}).get("value")
        if value is not None and best is not None:
            out["gap_to_limit"][key] = value - best
    return out


def _comparisons(
    sample: Sample, values: Scores, drawn: Scores, reference: str, config: EvaluateConfig
) -> list[dict[str, Any]]:
    """Each model minus the reference on identical resamples."""
    if reference not in sample.models:
        return []
    out = []
    for name in sample.models:
        if name == reference:
            continue
        for metric in ("mae", "rmse", "pearson", f"auc_{config.cut}", "crps"):
            entry: dict[str, Any] = {"model": name, "reference": reference, "metric": metric}
            reason = withheld(metric, sample, config)
            if not (metric in values[name] and metric in values[reference]):
                reason = "One of the two models gives no distribution."
            if reason is None:
                difference = float(values[name][metric][0] - values[reference][metric][0])
                replicates = drawn[name][metric] - drawn[reference][metric] if drawn else None
                if not np.isfinite(difference):
                    reason = _undefined(metric)
                entry |= summary(difference, replicates, reason)
                has_interval = replicates is not None and entry["low"] is not None
                entry["p"] = (
                    p_value(replicates) if has_interval and replicates is not None else None
                )
            else:
                entry |= {**summary(np.nan, None, reason), "p": None}
            out.append(entry)
    return out
