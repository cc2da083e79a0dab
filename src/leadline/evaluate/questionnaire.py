"""What a questionnaire that was given in the chat does to the scores.

People who were asked and people who were not are scored apart, and where the questionnaire was
read, the same models on the text without it. A score that lives on the questionnaire is high among
those who were asked and falls where it is blanked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from leadline.evaluate.bases import basis_of
from leadline.evaluate.bootstrap import resampled_scores, sample_scores, summary
from leadline.evaluate.config import MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.sample import Sample, split_samples
from leadline.tables import MASKED_ARM

SCORES = ("mae", "rmse", "pearson", "bias")

GROUPS = ("asked", "not asked")


def questionnaire_view(
    predictions: pl.DataFrame,
    facts: Mapping[str, Any] | None,
    models: Sequence[str],
    config: EvaluateConfig,
) -> dict[tuple[str, str], dict[str, Any]]:
    """The scores of a run among people who were asked in the chat, and among the others.

    Args:
        predictions: one row per gold label, model and repeat.
        facts: the run's record of questionnaires in its readings; None for a run of a version
            that did not look.
        models: those to show; the masked arm is shown where there is one.
        config: resamples.

    Returns:
        (split, instrument) -> ``arm`` and per group ``people``, ``labels`` and ``models``: name ->
        `SCORES`. Empty where nobody was asked.
    """
    if not facts or not facts["asked_labels"]:
        return {}
    names = [*dict.fromkeys(models), MASKED_ARM]
    table = predictions.filter(pl.col("model").is_in(names))
    is_asked = pl.col("label").is_in(facts["asked_labels"])
    views: dict[tuple[str, str], dict[str, Any]] = {}
    for group, part in zip(GROUPS, (table.filter(is_asked), table.filter(~is_asked)), strict=True):
        for sample in split_samples(part) if part.height else ():
            view = views.setdefault((sample.split, sample.instrument), {"arm": facts["arm"]})
            view[group] = _scores(sample, config)
    return views


def _scores(sample: Sample, config: EvaluateConfig) -> dict[str, Any]:
    reason = f"Fewer than {MIN_PEOPLE} people." if sample.people < MIN_PEOPLE else None
    values, drawn = sample_scores(sample, config)[0], resampled_scores(sample, config)[0]
    models = {}
    for name, estimates in sample.models.items():
        models[name] = {
            score: summary(
                score,
                float(values[name][score][0]),
                drawn[name][score] if name in drawn else None,
                basis_of(sample, estimates, score, config),
                reason if score == "pearson" else None,
            )
            for score in SCORES
        }
    return {"people": sample.people, "labels": len(sample.gold), "models": models}


def questionnaire_caution(
    facts: Mapping[str, Any] | None, models: Mapping[str, Mapping[str, Any]], shown_model: str
) -> list[dict[str, Any]]:
    """The warning of a set whose questionnaires were read; empty where they were not."""
    if not facts or facts["arm"] != "kept":
        return []
    with_it, without = (_r_and_mae(models, name) for name in (shown_model, MASKED_ARM))
    text = (
        f"A questionnaire was given or quoted in the chats of {facts['people']:,} of "
        f"{facts['people_read']:,} people, and its answers were read (--keep-questionnaire). "
        f"{shown_model}: {with_it}. The same models with it blanked: {without}. What is lost was "
        "read off the answers and is not there for people who are not asked."
    )
    return [{"kind": "questionnaire", "model": shown_model, "text": text}]


def _r_and_mae(models: Mapping[str, Mapping[str, Any]], name: str) -> str:
    if name not in models:
        return "not estimated"
    scores = models[name]["scores"]
    r, mae = scores["pearson"]["value"], scores["mae"]["value"]
    return f"{'no r' if r is None else f'r {r:.2f}'}, MAE {mae:.2f}"
