"""Labels from what teachers and students said."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.selftrain.labelling import (
    LEAST_WEIGHT,
    Labels,
    believed_labels,
    evenness,
    raw_labels,
)
from leadline.selftrain.plan import POSTERIOR, TEACHER
from leadline.teacher.label_model import Observations, fit, posterior


def observed(people=400, seed=3):
    """A teacher that says 4 + .6 T with two draws, and a student; half of the people have gold."""
    random = np.random.default_rng(seed)
    truth = random.normal(11, 5, people)
    draws = (4 + 0.6 * truth + random.normal(0, 2, people))[:, None]
    draws = draws + random.normal(0, 0.5, (people, 2))
    student = 5 + 0.5 * truth + random.normal(0, 2, people)
    gold = np.where(np.arange(people) < people // 2, truth + random.normal(0, 2.5, people), np.nan)
    return Observations(gold, (draws, student[:, None]), ("teacher", "student")), truth


def test_raw_labels_are_the_teachers_mean_and_nothing_without_one():
    draws = np.array([[4.0, 6.0], [9.0, np.nan], [np.nan, np.nan]])
    rows = Observations(np.full(3, np.nan), (draws, np.full((3, 1), 2.0)), ("teacher", "student"))
    labels = raw_labels(rows)
    assert labels.mean[:2].tolist() == [5.0, 9.0]
    assert labels.kept().tolist() == [True, True, False]
    assert set(labels.weight) == {1.0}
    assert set(labels.sd) == {0.0}


def test_the_posterior_is_the_label_models_for_people_without_gold():
    rows, truth = observed()
    model = fit(rows)
    labels = believed_labels(POSTERIOR, model, rows)
    expected = posterior(model, rows, group="unlabelled")
    assert labels.mean == pytest.approx(expected.mean)
    assert np.abs(labels.mean - truth).mean() < 2.2
    assert np.all(labels.weight <= 1)


def test_the_teacher_alone_is_unbiased_and_knows_nothing_of_the_student():
    rows, truth = observed()
    model = fit(rows)
    labels = believed_labels(TEACHER, model, rows)
    assert np.polyfit(truth, labels.mean, 1)[0] == pytest.approx(1.0, abs=0.12)
    other_student = Observations(rows.gold, (rows.draws[0], rows.draws[1] + 5), rows.names)
    assert believed_labels(TEACHER, model, other_student).mean == pytest.approx(labels.mean)


def test_labels_that_hardly_count_are_left_out():
    labels = Labels(np.array([5.0, 5.0, np.nan]), np.ones(3), np.array([0.5, LEAST_WEIGHT / 2, 1]))
    assert labels.kept().tolist() == [True, False, False]


def test_evenness_lets_a_band_in_as_far_as_the_fullest():
    gold = np.array([2.0] * 10 + [7.0] * 4)
    share = evenness(np.array([1.0, 8.0, 8.0, 12.0]), gold, groups=2)
    assert share[0] == LEAST_WEIGHT  # minimal is full
    assert share[1:3].tolist() == [1.0, 1.0]  # six are missing, four come
    assert evenness(np.full(30, 8.0), gold, groups=2)[0] == pytest.approx(6 / 60)
