"""Settings of a store: one place, checked together."""

import pytest

from leadline.errors import LeadlineError
from leadline.monitor.asks import AskRule
from leadline.monitor.config import MonitorConfig, StandingConfig, read_config, write_config


def test_settings_come_back_from_the_store(live):
    assert live.database.read(read_config) == MonitorConfig()
    wanted = MonitorConfig(cut=(10.0, 20.0), points=4.0, silent_days=30.0)
    live.database.write(lambda c: write_config(c, wanted))
    live.database.write(lambda c: write_config(c, wanted))
    assert live.database.read(read_config) == wanted


def test_the_defaults_are_those_of_the_rules():
    config = MonitorConfig()
    assert config.standing == StandingConfig()
    rule, plain = config.ask_rule(2.5), AskRule()
    assert (rule.cooldown, rule.floor, rule.random_share) == (
        plain.cooldown, plain.floor, plain.random_share,
    )  # fmt: skip
    assert MonitorConfig(cut=(5.0, 10.0)).ask_rule(2.0).weights == (1.0, 1.0)


@pytest.mark.parametrize(
    "wrong", [{"cut": ()}, {"cut": (40.0,)}, {"cooldown_days": 100.0}, {"turning_until": 0.9},
              {"ask_share": 2.0}],
)  # fmt: skip
def test_settings_that_contradict_each_other_name_their_flag(wrong):
    with pytest.raises(LeadlineError, match="--"):
        MonitorConfig(**wrong)
