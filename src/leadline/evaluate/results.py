"""From predictions to the content of `results.json`: plain values, no NaN, reasons for gaps.

Layout (format 4): facts of the run at the top; `sets`, one per split and instrument, that which
leads first (`lead`), each with the gold labels, the ceiling, every model, the comparisons with the
reference and the verdict on the baselines. Every
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
from leadline.evaluate.alarm import ALARM_LEVEL, ALARM_PEOPLE, alarm_ends
from leadline.evaluate.bases import (
    auc_basis,
    basis_of,
    bin_basis,
    few_in_class,
    group_basis,
    undefined,
    withheld,
)
from leadline.evaluate.bootstrap import no_interval, resampled_scores, sample_scores, summary
from leadline.evaluate.ceiling import noise_ceiling
from leadline.evaluate.comparisons import comparisons
from leadline.evaluate.config import MIN_CLASS, MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.intervals import QUANTILES, Basis, predictive_interval, quantile_interval
from leadline.evaluate.lead import LEAD_PEOPLE, RULE, leading_first, verdict
from leadline.evaluate.limit import Gap, gap_to_limit
from leadline.evaluate.questionnaire import questionnaire_caution, questionnaire_view
from leadline.evaluate.rounds import ablation_sets, rounds_view
from leadline.evaluate.sample import Sample, band_of, split_samples
from leadline.evaluate.scores import (
    AUC_CUTS,
    DELIVERED_LEVEL,
    INTERVAL_LEVELS,
    dialogue_bins,
)
from leadline.phq9.items import BANDS, TOTALS

Curves = Mapping[str, np.ndarray]

RESULTS_FORMAT = 4

CARRIED = (
    "training", "selection", "limit", "command", "settings", "inputs", "written", "questionnaire"
)  # fmt: skip

BOUNDS = {
    "min_people": MIN_PEOPLE,
    "min_class": MIN_CLASS,
    "lead_people": LEAD_PEOPLE,
    "alarm_people": ALARM_PEOPLE,
    "alarm_level": ALARM_LEVEL,
}

NO_LIMIT = (
    "The limit of these texts is not shown: this run does not hold what the best possible "
    "predictor says of each PHQ-9, and figures of other PHQ-9s are not comparable. Evaluate with "
    "--cohort."
)


WEIGHING = {
    "label": "Each PHQ-9 weighs the same.",
    "person": "Each person weighs the same, however many PHQ-9s they gave.",
}

BY_LABEL = "It is worked out for PHQ-9s that weigh the same; see --each label."


def evaluate_predictions(
    predictions: pl.DataFrame,
    settings: EvaluateConfig | None = None,
    *,
    manifest: Mapping[str, Any] | None = None,
    limit: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """The content of `results.json` for a table of `tables.PREDICTIONS`.

    Args:
        predictions: one row per gold label, model and repeat.
        settings: resamples, cuts, reliabilities; the defaults if None.
        manifest: facts of the run; `simulated`, `training`, `selection`, `limit`,
            `reference_model`, `shown_model`, `selftraining`, `notice` are used where present.
        limit: what the best possible predictor of simulated people says of labels: columns label
            and distribution; None where it is not known.

    Raises:
        LeadlineError: the table would give wrong numbers (`sample.check_predictions`).
    """
    config = settings or EvaluateConfig()
    facts = dict(manifest or {})
    reference = str(facts.get("reference_model") or config.reference)
    samples = split_samples(predictions, config.each)
    if not any(reference in sample.models for sample in samples):
        names = sorted({name for sample in samples for name in sample.models})
        raise LeadlineError(
            f"There are no predictions of the reference model {reference!r}.",
            remedy=f"Use --reference with one of: {', '.join(names)}.",
        )
    shown_model = str(facts.get("shown_model") or reference)
    simulated = bool(facts.get("simulated", False))
    sets = [evaluate_sample(sample, config, (reference, shown_model), limit) for sample in samples]
    _add_questionnaires(sets, predictions, facts.get("questionnaire"), (shown_model, config))
    rounds = facts.get("selftraining")
    sets = leading_first(sets)
    if facts.get("limit") and simulated and all(entry["limit"] is None for entry in sets):
        sets[0]["warnings"].append({"kind": "no limit", "model": None, "text": NO_LIMIT})
    return {
        "kind": "results",
        "format": RESULTS_FORMAT,
        "leadline": __version__,
        "notice": facts.get("notice") or NOTICE,
        "simulated": simulated,
        "simulated_notice": SIMULATED_NOTICE if simulated else None,
        "reference_model": reference,
        "shown_model": shown_model,
        "lead": {"split": sets[0]["split"], "instrument": sets[0]["instrument"], "rule": RULE},
        "selftraining": (
            rounds_view(rounds, ablation_sets(sets), reference, shown_model) if rounds else None
        ),
        "weighing": WEIGHING[config.each],
        "evaluation": {**asdict(config), **BOUNDS},
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


def _labels_weigh_the_same(sample: Sample) -> bool:
    return sample.each == "label" or sample.people == len(sample.gold)


def evaluate_sample(
    sample: Sample,
    config: EvaluateConfig,
    names: tuple[str, str],
    limit: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """All results of one split and instrument.

    Args:
        sample: its gold labels and estimates.
        config: resamples, cuts, reliabilities.
        names: the model that others are compared with, and the one that remarks are about.
        limit: what the best possible predictor says of labels, where it is known.
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
    gap = gap_to_limit(sample, limit, config)
    for name, entry in models.items():
        entry["explainable"] = _explainable(name, entry["scores"], config, gap)
    warnings = cautions.find(models, (ceiling, gap), shown_model, config, sample)
    return {
        "split": sample.split,
        "instrument": sample.instrument,
        "people": sample.people,
        "labels": len(sample.gold),
        "gold": _gold(sample, config),
        "ceiling": ceiling,
        "limit": gap.figures if gap else None,
        "models": models,
        "comparisons": comparisons(sample, (scalars, drawn), reference, config),
        "verdict": verdict(sample, (scalars, drawn), names, config),
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
    if not _labels_weigh_the_same(sample):
        return {"default": None, "reason": BY_LABEL, "by_reliability": []}
    if sample.people < MIN_PEOPLE or len(np.unique(sample.gold)) < 3:
        why = f"Fewer than {MIN_PEOPLE} people, or fewer than 3 different totals."
        return {"default": None, "reason": why, "by_reliability": []}
    reliabilities = (config.reliability, *config.further_reliability)
    each = [noise_ceiling(sample.gold, rho, AUC_CUTS, config.cut) for rho in reliabilities]
    by_reliability = [ceiling.as_dict() for ceiling in each if ceiling is not None]
    if each[0] is None:
        rho = f"{config.reliability:g}"
        why = f"Totals that are nearly all equal cannot have a retest correlation of {rho}."
        return {"default": None, "reason": why, "by_reliability": by_reliability}
    return {"default": by_reliability[0], "by_reliability": by_reliability}


def _model(
    sample: Sample,
    name: str,
    config: EvaluateConfig,
    scalars: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray] | None],
    curves: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray] | None],
) -> dict[str, Any]:
    values, drawn = scalars
    scores = single_scores(sample, name, config, values, drawn)
    estimates = sample.models[name]
    if estimates.totals is None:
        why = "The model gives no distribution."
        scores["crps"] = {"value": None, "low": None, "high": None, "reason": why}
    return {
        "repeats": estimates.repeats,
        "distribution": estimates.totals is not None,
        "scores": {key: value for key, value in scores.items() if "/" not in key},
        "alarm": alarm_ends(sample, name, values, drawn, config),
        "screening": _screening(scores),
        "auc_by_threshold": _auc_curve(sample, *curves),
        "bands": _bands(sample, *curves),
        "dialogue": _dialogue(sample, config, *curves),
        "calibration": _bins("calibration", sample, *curves),
        "uncertainty": (
            None if estimates.totals is None else _uncertainty(sample, name, scores, *curves)
        ),
    }


def single_scores(
    sample: Sample,
    name: str,
    config: EvaluateConfig,
    values: Curves,
    drawn: Curves | None,
) -> dict[str, Any]:
    """Every single-valued score with its interval."""
    scores: dict[str, Any] = {}
    for key, value in values.items():
        reason = withheld(key, sample, config)
        if reason is None and not np.isfinite(value[0]):
            reason = undefined(key)
        basis = basis_of(sample, sample.models[name], key, config)
        replicates = None if drawn is None else drawn[key]
        rule, _, rest = key.partition("/")
        what, _, at = rest.partition("/")
        if key in QUANTILES and reason is None:
            scores[key] = _quantile(sample, name, key, float(value[0]), basis)
        elif at in ("", "sample") or reason is not None:
            scores[key] = summary(key, float(value[0]), replicates, basis, reason)
        else:
            shares = (scores[f"{rule}/sensitivity"], scores[f"{rule}/specificity"])
            scores[key] = _predictive(float(value[0]), float(at), shares, what)
    return scores


def _quantile(sample: Sample, name: str, key: str, value: float, basis: Basis) -> dict[str, Any]:
    """A quantile of the absolute error."""
    errors = np.abs(sample.models[name].median - sample.gold)
    ends = quantile_interval(errors, QUANTILES[key], basis)
    if ends is None:
        return no_interval(value, "Too few people for the upper end of an interval.")
    return {"value": value, "low": ends[0], "high": ends[1]}


def _predictive(
    value: float, prevalence: float, shares: tuple[dict[str, Any], dict[str, Any]], what: str
) -> dict[str, Any]:
    """PPV or NPV at a stated prevalence."""
    sensitivity, specificity = ((share["value"], (share["low"], share["high"])) for share in shares)
    ends = predictive_interval(prevalence, (sensitivity, specificity), positive=what == "ppv")
    if ends is None:
        return no_interval(value, "It is undefined for these people.")
    return {"value": value, "low": min(ends[0], value), "high": max(ends[1], value)}


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


def _points(
    key: str, values: Curves, drawn: Curves | None, index: int, basis: Basis
) -> dict[str, Any]:
    replicates = None if drawn is None else drawn[key][:, index]
    name = "coverage_" if key == "reliability/outcome" else key.partition("/")[2]
    return summary(name, float(values[key][0, index]), replicates, basis)


def _auc_curve(sample: Sample, values: Curves, drawn: Curves | None) -> list[dict[str, Any]]:
    out = []
    for index, threshold in enumerate(AUC_CUTS):
        above, below = sample.people_at_or_above(threshold)
        replicates = None if drawn is None else drawn["auc"][:, index]
        reason = few_in_class(sample, threshold)
        basis = auc_basis(sample, threshold)
        score = summary("auc", float(values["auc"][0, index]), replicates, basis, reason)
        out.append({"threshold": threshold, "people_above": above, "people_below": below, **score})
    return out


def _bands(sample: Sample, values: Curves, drawn: Curves | None) -> list[dict[str, Any]]:
    membership = band_of(sample.gold)
    out = []
    for index, (name, low, high) in enumerate(BANDS):
        members = membership == index
        basis = group_basis(sample, members)
        entry: dict[str, Any] = {
            "band": name,
            "low": low,
            "high": min(high, sample.maximum),
            "labels": int(members.sum()),
            "people": basis.people,
            "gold": float(sample.gold[members].mean()) if members.any() else None,
        }
        for key in ("mae", "bias", "estimate"):
            is_small = entry["people"] < MIN_CLASS
            entry[key] = (
                summary(key, np.nan, None, basis, f"Fewer than {MIN_CLASS} people in the band.")
                if is_small
                else _points(f"bands/{key}", values, drawn, index, basis)
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
                "mae": _points(
                    f"{name}/mae", values, drawn, index, group_basis(sample, mask[:, index])
                ),
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
            "outcome": _points(
                f"{name}/outcome",
                values,
                drawn,
                index,
                bin_basis(sample, float(values[f"{name}/share"][0, index])),
            ),
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
    name: str, scores: Mapping[str, Any], config: EvaluateConfig, gap: Gap | None
) -> dict[str, Any]:
    """Share of the explainable variance reached, and gaps to a known limit.

    Variance explained, 1 - MSE / variance(gold), over what a perfect predictor explains: the
    retest reliability; or over what the best possible predictor of simulated people explains on
    the same labels.
    """
    reached = scores["variance_explained"]["value"]
    return {
        "of_ceiling": None if reached is None else reached / config.reliability,
        "of_limit": gap.explained[name] if gap else None,
        "gap_to_limit": gap.gaps[name] if gap else {},
    }
