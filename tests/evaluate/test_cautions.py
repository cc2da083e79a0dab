"""Warnings in words: what beats the ceiling, by how much, and whether chance may explain it."""

from __future__ import annotations

from tests.support.predictions import predictions

from leadline.evaluate.cautions import find, label
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.sample import split_samples

CEILING = {"reliability": 0.84, "r": 0.917, "rmse": 2.6, "mae": 2.0, "crps": 1.4, "auc_cut": 0.95}


def entry(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high}


def model(**scores: dict) -> dict:
    usual = {
        "mae": entry(3.0),
        "rmse": entry(4.0),
        "pearson": entry(0.8),
        "auc_10": entry(0.9),
        "crps": entry(None),
        "sd_ratio": entry(0.95),
        "calibration_slope": entry(1.0, 0.9, 1.1),
    }
    return {"scores": usual | scores, "bands": [], "uncertainty": None}


def warned(models: dict, limit: dict | None = None, ceiling: dict | None = CEILING) -> list[dict]:
    (sample,) = split_samples(predictions(200))
    bests = ({"default": ceiling}, limit)
    return find(models, bests, "leadline", EvaluateConfig(), sample)


def test_nothing_to_warn_of() -> None:
    assert warned({"leadline": model()}) == []
    assert warned({"leadline": model()}, ceiling=None) == []


def test_only_what_beats_the_ceiling_is_named_with_its_interval() -> None:
    (one,) = warned({"leadline": model(pearson=entry(0.93, 0.9, 0.95), mae=entry(1.9, 1.8, 1.97))})
    assert one["kind"] == "ceiling"
    assert "r 0.930 against 0.917 (its interval includes it)" in one["text"]
    assert "MAE 1.90 against 2.00 (its whole interval lies beyond)" in one["text"]
    assert "RMSE" not in one["text"]


def test_chance_is_allowed_for_where_the_interval_reaches_back() -> None:
    (one,) = warned({"leadline": model(mae=entry(1.9, 1.7, 2.1), rmse=entry(2.5))})
    assert "MAE 1.90 against 2.00 (its interval includes it)" in one["text"]
    assert "RMSE 2.50 against 2.60 (its interval includes it)" in one["text"]
    limit = {"mae": 3.05}
    assert warned({"leadline": model(mae=entry(3.0, 2.8, 3.2))}, limit) == []
    assert len(warned({"leadline": model(mae=entry(3.0, 2.8, 3.04))}, limit)) == 1


def test_baselines_are_held_to_the_ceiling_but_not_to_calibration() -> None:
    odd = model(calibration_slope=entry(0.5, 0.4, 0.6), sd_ratio=entry(0.2))
    assert warned({"ridge": odd}) == []
    assert [one["kind"] for one in warned({"leadline": odd})] == ["compression", "calibration"]
    leaking = warned({"leadline": model(), "ridge": model(auc_10=entry(0.99))})
    assert [(one["kind"], one["model"]) for one in leaking] == [("ceiling", "ridge")]


def test_limit_is_beaten_only_by_a_whole_interval() -> None:
    limit = {"r": 0.87, "crps": 1.8}
    assert warned({"leadline": model(pearson=entry(0.88, 0.85, 0.9))}, limit) == []
    (one,) = warned({"leadline": model(pearson=entry(0.9, 0.88, 0.91))}, limit)
    assert one["kind"] == "limit"
    assert "r 0.900 against 0.870" in one["text"]


def test_slope_far_off_but_uncertain_is_no_warning() -> None:
    assert warned({"leadline": model(calibration_slope=entry(0.7, 0.4, 1.05))}) == []
    (cautious,) = warned({"leadline": model(calibration_slope=entry(1.4, 1.2, 1.6))})
    assert "too cautious" in cautious["text"]


def test_small_samples_are_named() -> None:
    (few,) = split_samples(predictions(9))
    texts = [one["text"] for one in find({}, ({}, None), "leadline", EvaluateConfig(), few)]
    assert texts[0] == "Only 9 people: no intervals and no correlations are given."


def test_metrics_as_people_write_them() -> None:
    assert [label(m) for m in ("mae", "auc_10", "kappa")] == ["MAE", "AUC at 10 or more", "kappa"]


def test_wide_intervals_do_not_count_as_beating_the_texts_and_a_simulated_rating_does() -> None:
    limit = {"mae": 3.5, "coverage_90": 0.92}
    covers = model(mae=entry(4.0, 3.8, 4.2), coverage_90=entry(0.99, 0.97, 1.0))
    assert warned({"leadline": covers}, limit) == []
    better = model(mae=entry(3.0, 2.8, 3.2))
    (fused,) = warned({"leadline": model(mae=entry(4.0)), "fused": better}, limit)
    assert fused["kind"] == "limit"
    assert fused["model"] == "fused"
    assert [w["kind"] for w in warned({"leadline": better}, limit)] == ["limit"]
