"""A reader on this machine."""

from __future__ import annotations

import pytest
from tests.support.readers import tiny_reader

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.runs.config import TrainConfig
from leadline.selftrain.machine import machine_of, people_of
from leadline.selftrain.roster import open_roster


def test_everyone_open_is_counted_and_a_step_is_timed(people, tmp_path):
    folder, *_ = people
    train = TrainConfig(reader=str(tiny_reader(tmp_path)), adapt="lora", layers=("0.5",), folds=5)
    roster, _ = open_roster(read_cohort(folder / "cohort"), None, None, train, WindowConfig())
    machine, tokens = machine_of(train, roster, None)
    assert len(tokens) == 400
    counted = people_of(roster, tokens)
    assert (counted.gold, counted.free) == (200, 200)
    assert counted.tokens == pytest.approx(sum(tokens) / 400)
    assert machine.shape.depth == 2
    assert machine.shares_lower
    assert "timed here" in machine.basis
    assert machine.memory_gib > 1.0
