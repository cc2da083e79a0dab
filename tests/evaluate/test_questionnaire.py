"""Scores of people who were asked the questionnaire in their chat, and of the others."""

from __future__ import annotations

import polars as pl
from tests.support.predictions import predictions

from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.questionnaire import questionnaire_view
from leadline.evaluate.results import evaluate_predictions
from leadline.tables import MASKED_ARM

QUICK = EvaluateConfig(resamples=100, curve_resamples=100)
RECORD = {
    "arm": "kept", "people": 30, "people_read": 100, "turns": 540, "turns_read": 2000,
    "reasons": {}, "words": "30 of 100 people", "languages": ["en"],
    "asked_labels": list(range(30)),
}  # fmt: skip


def leaking() -> pl.DataFrame:
    """The first 30 labels are read off the answers; the same models without them are poor."""
    table = predictions(100, models={"leadline": 1.5, MASKED_ARM: 1.5, "constant": None})
    leaks = (pl.col("model") == "leadline") & (pl.col("label") < 30)
    return table.with_columns(
        pl.when(leaks).then("total").otherwise(name).alias(name) for name in ("mean", "median")
    )


def test_people_who_were_asked_are_scored_apart_and_in_both_arms() -> None:
    view = questionnaire_view(leaking(), RECORD, ["leadline"], QUICK)["out-of-fold", "phq9"]
    asked, others = view["asked"], view["not asked"]
    assert (asked["people"], asked["labels"], others["people"]) == (30, 30, 70)
    assert set(asked["models"]) == {"leadline", MASKED_ARM}
    assert asked["models"]["leadline"]["mae"]["value"] == 0
    assert asked["models"][MASKED_ARM]["mae"]["value"] > 2
    assert others["models"]["leadline"]["mae"]["value"] > 2
    assert asked["models"][MASKED_ARM]["pearson"]["low"] is not None


def test_the_warning_names_both_arms_and_comes_first() -> None:
    results = evaluate_predictions(leaking(), QUICK, manifest={"questionnaire": RECORD})
    (first, *_) = results["sets"][0]["warnings"]
    assert first["kind"] == "questionnaire"
    scores = {name: m["scores"] for name, m in results["sets"][0]["models"].items()}
    for name in ("leadline", MASKED_ARM):
        assert f"r {scores[name]['pearson']['value']:.2f}" in first["text"]
    assert "asked_labels" not in results["run"]["questionnaire"]
    assert results["run"]["questionnaire"]["people"] == 30


def test_where_it_was_masked_people_are_split_and_nobody_is_warned() -> None:
    table = leaking().filter(pl.col("model") != MASKED_ARM)
    record = RECORD | {"arm": "masked"}
    (part,) = evaluate_predictions(table, QUICK, manifest={"questionnaire": record})["sets"]
    assert part["questionnaire"]["arm"] == "masked"
    assert not [w for w in part["warnings"] if w["kind"] == "questionnaire"]


def test_a_run_of_before_and_a_run_without_any_have_no_split() -> None:
    for record in (None, RECORD | {"arm": "none found", "asked_labels": []}):
        manifest = {} if record is None else {"questionnaire": record}
        (part,) = evaluate_predictions(leaking(), QUICK, manifest=manifest)["sets"]
        assert part["questionnaire"] is None


def test_very_few_have_errors_and_no_correlation() -> None:
    record = RECORD | {"asked_labels": [0, 1]}
    view = questionnaire_view(leaking(), record, ["leadline"], QUICK)["out-of-fold", "phq9"]
    scores = view["asked"]["models"]["leadline"]
    assert scores["pearson"]["value"] is None
    assert scores["mae"]["value"] == 0


def test_everybody_was_asked() -> None:
    record = RECORD | {"asked_labels": list(range(100))}
    view = questionnaire_view(leaking(), record, ["leadline"], QUICK)["out-of-fold", "phq9"]
    assert "not asked" not in view
