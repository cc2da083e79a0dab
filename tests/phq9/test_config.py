"""There is one setting of the reliability of a PHQ-9."""

from __future__ import annotations

import pytest

from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.phq9.change import ChangeConfig
from leadline.phq9.config import ReliabilityConfig
from leadline.selftrain.config import SelftrainConfig


@pytest.mark.parametrize("reliability", [0.0, 1.0, float("nan")])
def test_what_is_no_reliability_is_refused(reliability: float) -> None:
    with pytest.raises(LeadlineError, match="--reliability"):
        ReliabilityConfig(reliability=reliability)


@pytest.mark.parametrize("config", [EvaluateConfig, ChangeConfig, SelftrainConfig])
def test_ceiling_label_model_and_change_share_one_setting(config: type) -> None:
    declared = config.__dataclass_fields__["reliability"]
    assert declared.metadata["declared_in"] is ReliabilityConfig
    assert declared.default == ReliabilityConfig().reliability
