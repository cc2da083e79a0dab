"""Settings of scoring."""

import pytest

from leadline.errors import LeadlineError
from leadline.scoring.config import ScoreConfig


def test_ray_settings_want_the_ray_engine():
    with pytest.raises(LeadlineError, match="--ray-address with --engine local"):
        ScoreConfig(ray_address="auto")
    with pytest.raises(LeadlineError, match="--workers with --engine local"):
        ScoreConfig(workers=2)
