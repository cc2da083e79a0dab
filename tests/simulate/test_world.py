"""Moments of a simulated population."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.simulate.config import preset
from leadline.simulate.truth import phq9_truth
from leadline.simulate.world import World, draw_world


def test_the_number_of_user_turns_is_about_what_was_asked() -> None:
    for wanted in (9.0, 33.0):
        world = draw_world(preset("small", people=1500, user_turns=wanted))
        assert world.schedule.total_turns.mean() == pytest.approx(wanted, rel=0.08)


def test_the_population_is_like_the_one_asked_for(world: World) -> None:
    total = world.answers[:, :, -1].sum(axis=2)
    assert 10 <= total[0].mean() <= 12
    assert 6.3 <= total[0].std() <= 7.6
    assert 0.84 <= np.corrcoef(total)[0, 1] <= 0.92


def test_completion_is_not_at_random(world: World) -> None:
    theta, completes = world.severity.label[:, -1], world.gold | world.locked
    assert theta[completes].mean() < theta[~completes].mean() - 0.1
    assert world.schedule.sessions[completes].mean() > world.schedule.sessions[~completes].mean()
    truth = phq9_truth(world)
    assert truth.filter("given")["repeat"].max() == 0
