"""Settings and presets of the simulation."""

from __future__ import annotations

import dataclasses

import pytest

from leadline.errors import LeadlineError
from leadline.simulate.config import PRESETS, SimulateConfig, preset


def test_every_setting_says_what_it_is_and_presets_are_valid() -> None:
    for item in dataclasses.fields(SimulateConfig):
        assert item.metadata["help"].endswith(".")
        assert item.type in ("int", "float", "str", "bool")
    assert set(PRESETS) == {"paper", "small", "easy"}
    assert {preset(name).people for name in PRESETS} == {7125, 240, 1200}


@pytest.mark.parametrize(
    "wrong",
    [
        {"gold": 9000},
        {"life_share": 1.2},
        {"teacher_r": 0.0},
        {"user_turns": 1.0},
        {"user_turns": 60.0},
        {"people": 3, "gold": 1, "locked": 1},
        {"ou_days": 0.0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LeadlineError):
        preset("paper", **wrong)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LeadlineError, match="paper, small, easy"):
        preset("hard")
