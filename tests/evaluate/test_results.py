"""The content of results.json: what it says, what it withholds, what it warns of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.support.predictions import normal_distribution, predictions

from leadline import NOTICE, SIMULATED_NOTICE
from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.results import evaluate_predictions
from leadline.phq9.distribution import Totals

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def evaluate(table: pl.DataFrame, **manifest: Any) -> dict[str, Any]:
    results = evaluate_predictions(table, QUICK, manifest=manifest)
    json.dumps(results, allow_nan=False)
    return results


def kinds(results: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(warning["kind"], warning["model"]) for warning in results["warnings"]]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return evaluate(predictions(200, labels=2, repeats=2))


def test_every_score_has_a_value_inside_its_interval(results) -> None:
    scores = results["sets"][0]["models"]["leadline"]["scores"]
    assert len(scores) >= 30
    for name, entry in scores.items():
        assert entry["low"] <= entry["value"] + 1e-9 <= entry["high"] + 2e-9, name


def test_top_level_and_set_facts(results) -> None:
    assert (results["kind"], results["format"]) == ("results", 4)
    assert results["notice"] == NOTICE
    assert results["simulated_notice"] is None
    (one,) = results["sets"]
    assert (one["people"], one["labels"]) == (200, 400)
    assert sum(one["gold"]["histogram"]) == sum(one["gold"]["bands"].values()) == 400
    assert one["models"]["leadline"]["repeats"] == 2
    thresholds = [point["threshold"] for point in one["models"]["ridge"]["auc_by_threshold"]]
    assert thresholds == list(range(3, 25))


def test_groups_add_up_to_the_whole(results) -> None:
    model = results["sets"][0]["models"]["leadline"]
    mae = model["scores"]["mae"]["value"]
    assert sum(b["labels"] * b["mae"]["value"] for b in model["bands"]) / 400 == pytest.approx(mae)
    for bins in model["dialogue"].values():
        total = sum(one["labels"] * one["mae"]["value"] for one in bins)
        assert total / 400 == pytest.approx(mae)
    mean_gold = results["sets"][0]["gold"]["mean"]
    binned = sum(b["share"] * b["outcome"]["value"] for b in model["calibration"])
    assert binned == pytest.approx(mean_gold)
    assert sum(model["uncertainty"]["pit"]) == pytest.approx(1)


def test_predictive_values_follow_from_bayes_rule() -> None:
    rule = evaluate(predictions(100))["sets"][0]["models"]["leadline"]["screening"]["by_mean"]
    hit, right = rule["sensitivity"]["value"], rule["specificity"]["value"]
    assert set(rule["ppv"]) == {"sample", "0.05", "0.1", "0.2", "0.4"}
    expected = hit * 0.1 / (hit * 0.1 + (1 - right) * 0.9)
    assert rule["ppv"]["0.1"]["value"] == pytest.approx(expected)


def test_constant_estimates_have_no_correlation_and_say_why() -> None:
    table = predictions(60, models={"leadline": 0.5, "constant": None}, repeats=2)
    constant = evaluate(table)["sets"][0]["models"]["constant"]
    assert constant["scores"]["pearson"]["reason"] == "The estimates are constant."
    assert constant["scores"]["spearman"]["value"] is None
    assert constant["scores"]["auc_10"]["value"] == 0.5
    assert constant["scores"]["crps"]["reason"] == "The model gives no distribution."
    assert constant["uncertainty"] is None
    assert constant["scores"]["variance_explained"]["value"] == pytest.approx(0)


def test_few_people_get_no_correlation_no_interval_no_auc() -> None:
    results = evaluate(predictions(8, labels=3))
    scores = results["sets"][0]["models"]["leadline"]["scores"]
    assert scores["mae"]["value"] > 0
    assert (scores["mae"]["low"], scores["mae"]["reason"]) == (
        None,
        "Fewer than 15 people: no interval.",
    )
    assert scores["pearson"]["reason"] == "Fewer than 15 people."
    assert "Fewer than 5 people" in scores["auc_10"]["reason"]
    assert results["sets"][0]["ceiling"]["default"] is None
    assert results["sets"][0]["comparisons"][0]["p"] is None


@pytest.mark.parametrize("people", [1, 2, 5, 11])
def test_tiny_samples_never_fail(people) -> None:
    (one,) = evaluate(predictions(people))["sets"]
    assert one["people"] == people
    assert one["models"]["leadline"]["scores"]["p95_error"]["reason"] == "Fewer than 20 labels."


def test_one_sided_sample_has_no_auc_beyond_its_range() -> None:
    table = predictions(60).with_columns(pl.col("total").clip(0, 8))
    (one,) = evaluate(table)["sets"]
    model = one["models"]["leadline"]
    assert model["scores"]["auc_10"]["reason"] == "Fewer than 5 people at or above 10."
    curve = {point["threshold"]: point["value"] for point in model["auc_by_threshold"]}
    assert curve[5] > 0.5
    assert curve[9] is None
    assert model["bands"][4]["mae"]["value"] is None
    assert ("class", None) in kinds({"warnings": one["warnings"]})


def test_all_totals_equal_is_said_not_computed() -> None:
    (one,) = evaluate(predictions(40).with_columns(total=pl.lit(7.0)))["sets"]
    assert one["models"]["leadline"]["scores"]["ccc"]["reason"] == "All gold totals are equal."
    assert one["ceiling"]["default"] is None


def leaky(people: int = 300) -> pl.DataFrame:
    table = predictions(people)
    near = table["total"].to_numpy() + np.random.default_rng(0).normal(size=table.height)
    return table.with_columns(
        mean=pl.Series(near),
        median=pl.Series(near),
        distribution=pl.Series(normal_distribution(near, 1.0).tolist(), dtype=pl.List(pl.Float64)),
    )


def test_better_than_the_ceiling_is_leakage_until_shown_otherwise() -> None:
    results = evaluate(leaky())
    warning = results["warnings"][0]
    assert (warning["kind"], warning["model"]) == ("ceiling", "leadline")
    assert "leakage until shown otherwise" in warning["text"]
    assert "MAE" in warning["text"]
    assert not [kind for kind, _ in kinds(evaluate(predictions(300))) if kind == "ceiling"]


@pytest.mark.parametrize("seed", range(6))
def test_easy_data_of_few_people_set_off_no_alarm(seed: int) -> None:
    table = predictions(40, models={"leadline": 0.05}, seed=seed)
    assert "ceiling" not in [kind for kind, _ in kinds(evaluate(table))]


def test_a_leak_through_a_third_of_the_people_is_found() -> None:
    table = predictions(200, models={"leadline": 0.7})
    leaked = pl.when(pl.col("label") % 3 == 0).then(pl.col("total")).otherwise(pl.col("mean"))
    results = evaluate(table.with_columns(mean=leaked, median=leaked))
    scores, best = results["sets"][0]["models"]["leadline"]["scores"], results["sets"][0]["ceiling"]
    assert scores["mae"]["value"] > best["default"]["mae"]  # no mean is beyond the ceiling
    assert ("ceiling", "leadline") in kinds(results)


def test_a_limit_of_other_labels_gives_no_gap_and_says_so() -> None:
    limit = {"r": 0.87, "mae": 2.6, "rmse": 3.2, "crps": 1.8, "auc_10": 0.93}
    results = evaluate(predictions(300), limit=limit, simulated=True)
    assert results["simulated_notice"] == SIMULATED_NOTICE
    (one,) = results["sets"]
    assert one["limit"] is None
    reached = one["models"]["leadline"]["explainable"]
    explained = one["models"]["leadline"]["scores"]["variance_explained"]["value"]
    assert reached["of_ceiling"] == pytest.approx(explained / 0.84)
    assert (reached["of_limit"], reached["gap_to_limit"]) == (None, {})
    assert ("no limit", None) in kinds(results)


def test_a_limit_of_the_same_labels_gives_share_gap_and_warning() -> None:
    table = predictions(300, models={"leadline": 0.5, "best": 0.2})
    limit = table.filter(pl.col("model") == "best").select("label", "distribution")
    results = evaluate_predictions(table, QUICK, manifest={"simulated": True}, limit=limit)
    (one,) = results["sets"]
    assert one["limit"]["labels"] == 300
    assert one["models"]["leadline"]["explainable"]["gap_to_limit"]["mae"] > 0
    assert "no limit" not in [kind for kind, _ in kinds(results)]
    found = evaluate_predictions(leaky(), QUICK, limit=limit)
    assert ("limit", "leadline") in kinds(found)


def test_the_set_that_can_say_something_leads() -> None:
    few = predictions(8, split="locked", seed=4).with_columns(pl.col("label") + 1000)
    many = predictions(60, split="locked", seed=4).with_columns(pl.col("label") + 1000)
    folds = predictions(120)
    for locked, first in ((few, "out-of-fold"), (many, "locked")):
        results = evaluate(folds.vstack(locked))
        assert results["sets"][0]["split"] == results["lead"]["split"] == first
        assert {one["split"] for one in results["sets"]} == {"locked", "out-of-fold"}


def test_compression_and_miscalibration_are_said() -> None:
    table = predictions(300, models={"leadline": 0.5})
    shrunk = table.with_columns(mean=10 + 0.4 * (pl.col("mean") - 10))
    found = kinds(evaluate(shrunk))
    assert ("compression", "leadline") in found
    assert ("calibration", "leadline") in found
    narrow = normal_distribution(table["mean"].to_numpy(), 0.7).tolist()
    sure = table.with_columns(distribution=pl.Series(narrow, dtype=pl.List(pl.Float64)))
    lower, upper = Totals(np.array(narrow)).interval(0.9)
    sure = sure.with_columns(lower=pl.Series(lower), upper=pl.Series(upper))
    assert ("coverage", "leadline") in kinds(evaluate(sure))
    assert ("coverage", "leadline") in kinds(evaluate(sure.drop("lower", "upper")))
    assert ("coverage", "leadline") not in kinds(evaluate(table))


def test_phq8_is_evaluated_by_itself() -> None:
    nine = predictions(60)
    eight = predictions(60, split="locked", seed=1).with_columns(
        pl.col("label") + 1000, pl.col("total").clip(0, 24), instrument=pl.lit("phq8")
    )
    results = evaluate(nine.vstack(eight))
    assert [(s["instrument"], s["labels"]) for s in results["sets"]] == [("phq8", 60), ("phq9", 60)]
    assert ("instrument", None) in kinds(results)
    alone = evaluate(nine)["sets"][0]
    assert results["sets"][1]["models"] == alone["models"]


def test_amount_of_dialogue_may_be_unknown() -> None:
    table = predictions(60).with_columns(
        user_turns=pl.lit(6, dtype=pl.Int32), user_words=pl.lit(None, dtype=pl.Int32)
    )
    assert evaluate(table)["sets"][0]["models"]["leadline"]["dialogue"] == {}


def test_other_cut_and_prevalences() -> None:
    config = EvaluateConfig(resamples=200, curve_resamples=100, cut=15, prevalences=(0.3,))
    (one,) = evaluate_predictions(predictions(200), config)["sets"]
    model = one["models"]["leadline"]
    assert model["scores"]["auc_15"]["value"] > 0.5
    assert set(model["screening"]["by_probability"]["npv"]) == {"sample", "0.3"}
    assert one["ceiling"]["default"]["auc_cut"] > model["scores"]["auc_15"]["value"]


def test_unknown_reference_is_refused() -> None:
    with pytest.raises(LeadlineError, match="reference model 'other'"):
        evaluate_predictions(predictions(20), QUICK, manifest={"reference_model": "other"})


def test_the_delivered_interval_stands_beside_that_of_the_constant_model() -> None:
    table = predictions(60, models={"leadline": 0.5, "constant": 2.0})
    ends = pl.when(pl.col("model") == "constant").then(1.0).otherwise(4.0)
    table = table.with_columns(lower=5 - ends * 0.5, upper=15 + ends * 0.5)
    (found,) = evaluate(table)["sets"]
    uncertainty = found["models"]["leadline"]["uncertainty"]
    assert [(i["level"], i["delivered"]) for i in uncertainty["intervals"]] == [
        (50, False), (80, False), (90, True),
    ]  # fmt: skip
    assert uncertainty["intervals"][-1]["width"] == pytest.approx(14)
    assert uncertainty["constant_width"] == pytest.approx(11)
    assert "interval" not in {warning["kind"] for warning in found["warnings"]}


def test_predictions_of_before_are_evaluated_and_the_results_say_what_they_lack() -> None:
    (found,) = evaluate(predictions(60).drop("lower", "upper"))["sets"]
    for item in found["models"]["leadline"]["uncertainty"]["intervals"]:
        assert not item["delivered"]
        assert item["coverage"]["value"] is not None
    (warning,) = [w for w in found["warnings"] if w["kind"] == "interval"]
    assert "do not hold the intervals that leadline delivers" in warning["text"]
    assert "train again" in warning["text"]


def test_a_ceiling_that_no_totals_can_reach_is_left_out_with_the_reason() -> None:
    table = predictions(500).with_columns(
        total=pl.when(pl.col("label") == 0)
        .then(0.0)
        .when(pl.col("label") == 1)
        .then(2.0)
        .otherwise(1.0)
    )
    config = replace(QUICK, reliability=0.99, further_reliability=(0.5,))
    ceiling = evaluate_predictions(table, config)["sets"][0]["ceiling"]
    assert ceiling["default"] is None
    assert "nearly all equal" in ceiling["reason"]
    assert [entry["reliability"] for entry in ceiling["by_reliability"]] == [0.5]


@pytest.fixture(scope="module")
def uneven() -> pl.DataFrame:
    """Two PHQ-9s of some people, one of the others."""
    table = predictions(60, labels=2)
    once = pl.col("label") % 2 == 1
    number = pl.col("person_id").rank("dense")
    return table.filter(~(once & (number > 20)))


def test_what_weighs_the_same_is_named_and_moves_value_and_interval_together(uneven) -> None:
    by_label = evaluate_predictions(uneven)
    by_person = evaluate_predictions(uneven, EvaluateConfig(each="person"))
    assert by_label["weighing"] == "Each PHQ-9 weighs the same."
    assert by_person["weighing"].startswith("Each person weighs the same")
    assert by_person["evaluation"]["each"] == "person"
    labels, people = (
        found["sets"][0]["models"]["leadline"]["scores"]["mae"] for found in (by_label, by_person)
    )
    table = uneven.filter(pl.col("model") == "leadline")
    error = table.with_columns(error=(pl.col("median") - pl.col("total")).abs())
    assert labels["value"] == pytest.approx(error["error"].mean())
    means = error.group_by("person_id").agg(pl.col("error").mean())["error"]
    assert people["value"] == pytest.approx(means.mean())
    assert people["low"] < people["value"] < people["high"]


def test_where_people_weigh_the_same_no_ceiling_of_labels_stands_beside(uneven) -> None:
    by_person = EvaluateConfig(each="person")
    (entry,) = evaluate_predictions(uneven, by_person)["sets"]
    assert "--each label" in entry["ceiling"]["reason"]
    assert entry["ceiling"]["default"] is None
    (once,) = evaluate_predictions(predictions(60), by_person)["sets"]
    assert once["ceiling"]["default"] is not None, "with one PHQ-9 each it is the same"
