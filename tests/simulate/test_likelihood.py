"""How likely a turn is at each level."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.simulate.config import preset
from leadline.simulate.item_response import ITEM_COUNT
from leadline.simulate.likelihood import GRID, tabulate
from leadline.simulate.phrase_bank import BARE, EVASIVE, LIFE, load_bank

BANK = load_bank(held_out=0.3, ambiguity=0.15)


def test_the_likelihood_of_all_turns_about_an_item_sums_to_one() -> None:
    config = preset("paper")
    tables = tabulate(BANK, config)
    for item in range(ITEM_COUNT):
        for half in range(2):
            cell = (BANK.topic == item) & (BANK.form <= EVASIVE)
            use = cell & (BANK.share[half].sum(axis=1) > 0)
            assert tables.unframed[use].sum(axis=0) == pytest.approx(np.ones((7, GRID.size)))
            bare = use & (BANK.form == BARE)
            assert tables.framed[bare].sum(axis=0) == pytest.approx(np.ones(GRID.size))
    assert (tables.item[BANK.form == LIFE] == -1).all()
