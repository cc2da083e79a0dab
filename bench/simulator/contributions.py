"""How exact the contributions of single turns are, and what kinds of turns contribute.

    python -m bench run simulator.contributions

Takes every turn of six locked people out, twice with other random numbers.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from bench.protocol import run_module
from leadline.simulate.best_predictor import Effort, turn_contributions
from leadline.simulate.config import preset
from leadline.simulate.likelihood import tabulate
from leadline.simulate.phrase_bank import FORMS
from leadline.simulate.world import draw_world

TAKES = "a minute"
RESULT = "simulator_contributions"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Take turns out, twice."""
    del args
    world = draw_world(preset("paper"))
    who = np.flatnonzero(world.locked)[:6]
    tables = tabulate(world.bank, world.config)
    begun = time.perf_counter()
    first, second = (
        np.concatenate(
            turn_contributions(
                world, who, Effort(4000, 1000, every_turn=False, seed=seed), tables=tables
            )
        )
        for seed in (0, 1)
    )
    seconds = (time.perf_counter() - begun) / (2 * first.size)
    form = np.concatenate([world.talk.form[i][world.talk.session[i] >= 0] for i in who])
    return {
        "turns": int(first.size),
        "seconds_a_turn": round(seconds, 3),
        "sd_points": round(float(first.std()), 2),
        "monte_carlo_sd_points": round(float((first - second).std() / np.sqrt(2)), 2),
        "r_between_runs": round(float(np.corrcoef(first, second)[0, 1]), 3),
        "mean_size_by_form": {
            FORMS[k]: round(float(np.abs(first[form == k]).mean()), 2)
            for k in range(len(FORMS))
            if (form == k).any()
        },
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """How large contributions are, how much of that is noise, and by what kind of turn."""
    spread = (
        f"an SD of {results['sd_points']} points, of which {results['monte_carlo_sd_points']} "
        "is Monte Carlo noise"
    )
    forms = [
        (f"mean size of a turn, {form}", f"{points} points")
        for form, points in results["mean_size_by_form"].items()
    ]
    return [(f"contributions of {results['turns']} turns", spread), *forms]


if __name__ == "__main__":
    run_module()
