"""The published figures and how chances of answers follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.phq9.graded_response import (
    DISCRIMINATION,
    ITEM_COUNT,
    ITEM_THRESHOLDS,
    logistic,
    steps,
)


def test_figures_are_of_nine_items_with_ascending_thresholds() -> None:
    assert DISCRIMINATION.shape == (ITEM_COUNT,)
    assert (np.diff(ITEM_THRESHOLDS, axis=1) > 0).all()


def test_chances_of_answers_are_the_steps_of_those_of_more_or_less() -> None:
    above = np.array([[0.9, 0.5, 0.2]])
    assert steps(above) == pytest.approx(np.array([[0.1, 0.4, 0.3, 0.2]]))


def test_logistic_does_not_overflow() -> None:
    assert logistic(np.array([-2000.0, 0.0, 2000.0])).tolist() == [0.0, 0.5, 1.0]
