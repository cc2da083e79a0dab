"""The fit against people whose severity and items are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from leadline.arrays import Ints
from leadline.phq9.graded_response import DISCRIMINATION, ITEM_THRESHOLDS
from leadline.profiles import response_model
from leadline.profiles.response_model import (
    NOT_ANSWERED,
    ResponseModel,
    fit_response_model,
    pattern_chances,
)
from leadline.simulate.item_response import draw_items


def people(count: int, mean: float = 1.5, sd: float = 1.05, seed: int = 0) -> Ints:
    """Answers of people of known severity."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(mean, sd, count)
    return draw_items(np.repeat(theta[:, None], 9, axis=1), rng)


def test_many_people_give_back_what_they_were_drawn_from() -> None:
    model = fit_response_model(people(4000))
    assert model.mean == pytest.approx(1.5, abs=0.08)
    assert model.sd == pytest.approx(1.05, abs=0.08)
    assert np.abs(model.thresholds - ITEM_THRESHOLDS).max() < 0.2
    assert np.abs(np.log(model.discrimination / DISCRIMINATION)).max() < 0.2


def test_nobody_leaves_the_published_figures_and_thirty_stay_near_them() -> None:
    model = fit_response_model(np.zeros((0, 9), dtype=np.int64))
    assert model.thresholds == pytest.approx(ITEM_THRESHOLDS)
    model = fit_response_model(people(30))
    assert np.abs(model.thresholds - ITEM_THRESHOLDS).mean() < 0.25
    assert (np.diff(model.thresholds, axis=1) > 0).all()
    assert abs(model.mean - 1.5) < 0.6


def test_the_prior_is_outvoted_by_people_who_answer_otherwise() -> None:
    """Item 9 as common as item 4 in a population where nobody would expect it."""
    answers = people(1500)
    answers[:, 8] = answers[:, 3]
    model = fit_response_model(answers)
    assert model.thresholds[8, 0] == pytest.approx(model.thresholds[3, 0], abs=0.15)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    answers = people(40)
    answers[0, 3] = NOT_ANSWERED
    one_hot = np.stack([answers == level for level in range(4)], axis=-1)
    flags = one_hot.reshape(40, 36).astype(np.float64)
    vector = response_model._vector(ResponseModel(DISCRIMINATION, ITEM_THRESHOLDS, 0.8, 1.2))
    vector += np.random.default_rng(1).normal(0, 0.1, len(vector))
    error = check_grad(
        lambda v: response_model._likelihood(v, flags, 9)[0],
        lambda v: response_model._likelihood(v, flags, 9)[1],
        vector,
    )
    assert error < 1e-4


def test_an_item_left_out_has_no_part_in_the_likelihood() -> None:
    answers = people(200)
    answers[:, 4] = NOT_ANSWERED
    model = fit_response_model(answers)
    assert model.thresholds[4] == pytest.approx(ITEM_THRESHOLDS[4], abs=1e-4)
    published = ResponseModel.published(9)
    without = pattern_chances(published, answers)
    whole = [pattern_chances(published, np.where(answers == NOT_ANSWERED, k, answers))
             for k in range(4)]  # fmt: skip
    assert without == pytest.approx(np.sum(whole, axis=0))


def test_weights_of_severities_sum_to_one_even_for_very_like_people() -> None:
    weights = ResponseModel(DISCRIMINATION, ITEM_THRESHOLDS, 0.0, 0.05).weights()
    assert weights.sum() == pytest.approx(1.0)
    assert (weights > 0).all()
