"""A small simulated cohort and a larger simulated world; no test may change them."""

from __future__ import annotations

import pytest

from leadline.cohort.store import Cohort
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.simulate.world import World, draw_world


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A cohort of the preset that tests use."""
    return simulate_cohort(tmp_path_factory.mktemp("simulate") / "cohort", preset("small"))


@pytest.fixture(scope="session")
def world() -> World:
    """A world large enough for its moments to be checked."""
    return draw_world(preset("paper", people=4000, gold=1500, locked=500, user_turns=9.0))
