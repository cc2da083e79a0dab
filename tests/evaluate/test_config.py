"""Settings of the evaluation."""

from __future__ import annotations

import pytest

from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"resamples": 10},
        {"curve_resamples": 5000},
        {"reliability": 1.0},
        {"further_reliability": (0.9, 1.0)},
        {"prevalences": (0.0,)},
        {"cut": 30},
        {"bins": 1},
    ],
)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(LeadlineError, match="--"):
        EvaluateConfig(**wrong)
