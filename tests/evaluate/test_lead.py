"""Which set leads, and the first sentence."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.predictions import predictions

from leadline.evaluate.bootstrap import resampled_scores, sample_scores
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.lead import (
    LEAD_PEOPLE,
    can_lead,
    leading,
    leading_first,
    simple_baselines,
    verdict,
)
from leadline.evaluate.sample import split_samples

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def entry(split: str, people: int, above: int | None = None) -> dict[str, Any]:
    above = people // 2 if above is None else above
    return {
        "split": split,
        "people": people,
        "gold": {"people_at_cut": above, "people_below_cut": people - above},
    }


def said(people: int, models: dict[str, float | None]) -> dict[str, Any]:
    (sample,) = split_samples(predictions(people, models=models))
    scores = sample_scores(sample, QUICK)[0], resampled_scores(sample, QUICK)[0]
    return verdict(sample, scores, ("leadline", "leadline"), QUICK)


@pytest.mark.parametrize(
    ("locked", "above", "first"),
    [
        (8, None, "out-of-fold"),
        (LEAD_PEOPLE - 1, None, "out-of-fold"),
        (LEAD_PEOPLE, None, "locked"),
        (LEAD_PEOPLE, 4, "out-of-fold"),  # nobody can tell an AUC by four people
    ],
)
def test_a_locked_test_leads_if_it_can_say_something(locked, above, first) -> None:
    sets = [entry("locked", locked, above), entry("out-of-fold", 100)]
    assert can_lead(sets[0]) == (first == "locked")
    assert sets[leading(sets)]["split"] == first
    ordered = leading_first(sets)
    assert ordered[0]["split"] == first
    assert len(ordered) == 2


def test_alone_a_small_set_leads() -> None:
    assert leading([entry("locked", 8)]) == 0
    assert leading([entry("locked", 8), entry("locked", 12)]) == 1


def test_a_model_that_beats_every_baseline_says_so_and_by_how_much() -> None:
    told = said(200, {"leadline": 0.4, "tf-idf": 1.2, "constant": None})
    assert told["beats"] is True
    assert told["against"] == "tf-idf"
    gap = told["difference"]
    assert told["sentence"].startswith("On these 200 people leadline beats every simple baseline")
    assert f"{gap['value']:.2f} points less than tf-idf, the best of them" in told["sentence"]
    assert f"{gap['low']:.2f} to {gap['high']:.2f}" in told["sentence"]


def test_a_model_that_one_baseline_may_equal_does_not_beat_them() -> None:
    told = said(60, {"leadline": 0.6, "tf-idf": 0.62, "constant": None})
    assert told["beats"] is False
    assert told["against"] == "tf-idf"
    assert "it is not shown that leadline beats the simple baselines" in told["sentence"]


def test_a_worse_model_is_called_worse() -> None:
    told = said(200, {"leadline": 1.5, "tf-idf": 0.4})
    assert told["beats"] is False
    assert "leadline is worse than tf-idf" in told["sentence"]
    assert "points more than tf-idf" in told["sentence"]


def test_too_few_people_and_no_baseline_are_said() -> None:
    few = said(8, {"leadline": 0.4, "tf-idf": 1.2})
    assert few["beats"] is None
    assert few["sentence"].startswith("These 8 people are too few to tell whether leadline beats")
    alone = said(40, {"leadline": 0.4})
    assert (alone["beats"], alone["against"]) == (None, None)
    assert "no simple baseline stands beside it" in alone["sentence"]


def test_steps_of_self_training_are_no_baselines() -> None:
    names = ["leadline", "gold only", "raw teacher", "label model, teacher alone", "round 1",
             "fused", "teacher alone, recalibrated", "gold only, head of the rounds",
             "true labels", "ensemble of 3", "questionnaire masked",
             "constant", "tf-idf"]  # fmt: skip
    assert simple_baselines(names, "gold only", "leadline") == ["constant", "tf-idf"]
