"""The leakage alarm: silent for clean models, loud for a leak through a third of the people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench.accuracy.leakage_alarm import CLEAN, CONFIG, MODEL, draw, share_of_alarms

from leadline.evaluate.alarm import alarm_ends, beyond_ceiling, lies_beyond, watched
from leadline.evaluate.bootstrap import resampled_scores, sample_scores

CEILING = {"r": 0.9, "rmse": 2.6, "mae": 2, "auc_cut": 0.95, "crps": 1.4, "sharpness": 0.03}


@pytest.mark.parametrize("noise", [CLEAN["r about .75"], CLEAN["knows the severity"]])
def test_clean_models_set_off_no_alarm(noise: float) -> None:
    assert share_of_alarms(100, noise, None, low=False, sets=40) <= 1 / 40


@pytest.mark.parametrize("low", [False, True])
def test_a_leak_through_a_third_of_the_people_is_found(low: bool) -> None:
    assert share_of_alarms(300, CLEAN["r about .75"], 0.25, low=low, sets=20) >= 0.9


def test_easy_data_that_are_few_set_off_no_alarm() -> None:
    sample = draw(20, 0.05, None, False, 0)
    exact = replace(sample.models[MODEL], mean=sample.gold[None, :], median=sample.gold[None, :])
    few = replace(sample, models={MODEL: exact})
    values, drawn = sample_scores(few, CONFIG)[0], resampled_scores(few, CONFIG)[0]
    assert alarm_ends(few, MODEL, values[MODEL], drawn[MODEL], CONFIG) is None
    assert beyond_ceiling({"alarm": None}, CEILING, 10) == []


def test_a_whole_interval_has_to_lie_beyond() -> None:
    assert lies_beyond("mae", [1.0, 1.9], 2.0)
    assert not lies_beyond("mae", [1.0, 2.1], 2.0)
    assert lies_beyond("pearson", [0.92, 0.95], 0.9)
    assert not lies_beyond("pearson", [0.89, 0.95], 0.9)
    assert not lies_beyond("auc_10", [0.99, 1.0], None)
    alarm = {"mae": [1.0, 1.9], "pearson": [0.8, 0.95], "sharpness": [0.1, 0.3]}
    assert beyond_ceiling({"alarm": alarm}, CEILING, 10) == ["mae", "sharpness"]
    assert beyond_ceiling({"alarm": alarm}, None, 10) == []


def test_every_watched_score_has_an_interval_and_a_ceiling() -> None:
    sample = draw(200, 0.7, None, False, 0)
    values, drawn = sample_scores(sample, CONFIG)[0], resampled_scores(sample, CONFIG)[0]
    ends = alarm_ends(sample, MODEL, values[MODEL], drawn[MODEL], CONFIG)
    assert set(ends) == set(watched(10))
    assert all(low < values[MODEL][metric][0] < high for metric, (low, high) in ends.items())
    assert np.isfinite(list(ends.values())).all()
