"""From severity to answers."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.simulate.item_response import level_probabilities


def test_response_curves_are_those_of_the_published_thresholds() -> None:
    halfway = level_probabilities(np.array([0.756, 1.618, 2.119]), item=1)
    for k in range(3):
        assert halfway[k, k + 1 :].sum() == pytest.approx(0.5)
