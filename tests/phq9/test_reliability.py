"""The error of one PHQ-9, and what follows from it elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.evaluate.ceiling import noise_ceiling
from leadline.phq9.change import ChangeConfig, smallest_change
from leadline.phq9.config import ReliabilityConfig
from leadline.phq9.distribution import OWN_ERROR
from leadline.phq9.reliability import standard_error
from leadline.teacher.label_model import GOLD_SD


def test_standard_error_is_two_and_a_half_points_at_the_default() -> None:
    assert standard_error(ReliabilityConfig().reliability) == pytest.approx(2.5)
    assert pytest.approx(2.5) == OWN_ERROR == GOLD_SD
    assert standard_error(0.75, sd=10.0) == pytest.approx(5.0)


def test_a_steadier_questionnaire_moves_ceiling_and_change_together() -> None:
    gold = np.random.default_rng(0).integers(0, 28, 300).astype(float)
    for reliability in (0.84, 0.92):
        ceiling = noise_ceiling(gold, reliability, (10,), 10)
        error = gold.std() * np.sqrt(1 - reliability)
        assert ceiling.standard_error == pytest.approx(error)
        assert ceiling.rmse == pytest.approx(error, rel=1e-3)
        assert ceiling.reliable_change == pytest.approx(1.96 * np.sqrt(2) * error, rel=1e-3)
    config = ChangeConfig(reliability=0.92)
    assert smallest_change(config) == pytest.approx(1.96 * np.sqrt(2) * 6.25 * 0.08**0.5, rel=1e-3)
