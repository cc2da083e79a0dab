"""Settings of self-training."""

from __future__ import annotations

import pytest
from tests.support.rounds import go

from leadline.errors import LeadlineError
from leadline.runs.config import TrainConfig
from leadline.selftrain.config import SelftrainConfig


def test_settings_that_cannot_work_are_refused(data, tmp_path):
    for change in ({"rounds": 4}, {"canary": 0.6}, {"min_slope": 2.0, "max_slope": 1.0}):
        with pytest.raises(LeadlineError):
            SelftrainConfig(**change)
    with pytest.raises(LeadlineError, match="--folds 3"):
        go(data, tmp_path / "run", train=TrainConfig(folds=3))
    assert not (tmp_path / "run").exists()
