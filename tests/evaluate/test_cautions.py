"""Warnings in words: what beats the ceiling, by how much, and whether chance may explain it."""

from __future__ import annotations

from tests.support.predictions import predictions

from leadline.evaluate.cautions import find, label
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.limit import Gap
from leadline.evaluate.sample import split_samples

CEILING = {
    "reliability": 0.84,
    "r": 0.917,
    "rmse": 2.6,
    "mae": 2.0,
    "crps": 1.4,
    "auc_cut": 0.95,
    "sharpness": 0.03,
}


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
    both = usual | scores
    alarm = {key: [one["low"], one["high"]] for key, one in both.items() if one["low"] is not None}
    return {"scores": both, "alarm": alarm, "bands": [], "uncertainty": None}


def warned(models: dict, gap: Gap | None = None, ceiling: dict | None = CEILING) -> list[dict]:
    (sample,) = split_samples(predictions(200))
    return find(models, ({"default": ceiling}, gap), "leadline", EvaluateConfig(), sample)


def gap_of(**beaten: list[str]) -> Gap:
    gaps = {name: dict.fromkeys(keys, -0.123) for name, keys in beaten.items()}
    return Gap({"labels": 9, "people": 9}, gaps, beaten, {})


def test_nothing_to_warn_of() -> None:
    assert warned({"leadline": model()}) == []
    assert warned({"leadline": model()}, ceiling=None) == []


def test_the_alarm_rings_only_where_a_whole_interval_lies_beyond() -> None:
    (one,) = warned({"leadline": model(pearson=entry(0.93, 0.9, 0.95), mae=entry(1.9, 1.8, 1.97))})
    assert one["kind"] == "ceiling"
    assert "MAE 1.90 (99.5% interval 1.80 to 1.97) against 2.00 at best" in one["text"]
    assert "r 0.930" not in one["text"]
    chance = model(pearson=entry(0.93, 0.9, 0.95), mae=entry(1.9, 1.7, 2.1), rmse=entry(2.5))
    assert warned({"leadline": chance}) == []


def test_the_alarm_says_what_else_it_may_be() -> None:
    (one,) = warned({"leadline": model(sharpness=entry(0.25, 0.12, 0.38))})
    assert "sharpness of the errors about zero 0.25 (99.5% interval 0.12 to 0.38)" in one["text"]
    assert "leakage until shown otherwise" in one["text"]
    assert "text of the same day" in one["text"]
    assert "--reliability" in one["text"]


def test_baselines_are_held_to_the_ceiling_but_not_to_calibration() -> None:
    odd = model(calibration_slope=entry(0.5, 0.4, 0.6), sd_ratio=entry(0.2))
    assert warned({"ridge": odd}) == []
    assert [one["kind"] for one in warned({"leadline": odd})] == ["compression", "calibration"]
    leaking = warned({"leadline": model(), "ridge": model(auc_10=entry(0.99, 0.97, 1.0))})
    assert [(one["kind"], one["model"]) for one in leaking] == [("ceiling", "ridge")]


def test_a_beaten_limit_is_named_also_where_a_simulated_rating_is_at_hand() -> None:
    models = {"leadline": model(), "fused": model()}
    assert warned(models, gap_of(leadline=[], fused=[])) == []
    (fused,) = warned(models, gap_of(leadline=[], fused=["mae"]))
    assert (fused["kind"], fused["model"]) == ("limit", "fused")
    (one,) = warned(models, gap_of(leadline=["mae", "r"], fused=[]))
    assert (one["kind"], one["model"]) == ("limit", "leadline")
    assert "MAE by 0.123; r by 0.123" in one["text"]


def test_slope_far_off_but_uncertain_is_no_warning() -> None:
    assert warned({"leadline": model(calibration_slope=entry(0.7, 0.4, 1.05))}) == []
    (cautious,) = warned({"leadline": model(calibration_slope=entry(1.4, 1.2, 1.6))})
    assert "too cautious" in cautious["text"]


def test_small_samples_are_named_and_that_the_alarm_is_off() -> None:
    for people, words in (
        (9, "no correlations, and intervals of shares and AUC only; too few for the leakage alarm"),
        (40, "the intervals are wide; too few for the leakage alarm"),
        (60, "the intervals are wide."),
    ):
        (few,) = split_samples(predictions(people))
        texts = [one["text"] for one in find({}, ({}, None), "leadline", EvaluateConfig(), few)]
        assert texts[0].startswith(f"Only {people} people: {words}")


def test_metrics_as_people_write_them() -> None:
    assert [label(m) for m in ("mae", "auc_10", "kappa")] == ["MAE", "AUC at 10 or more", "kappa"]
