"""How exact the contributions of single turns are, and what kinds of turns contribute.

    python bench/simulator_contributions.py

Takes every turn of six locked people out, twice with other random numbers. Writes
bench/results/simulator_contributions.json.
"""

from __future__ import annotations

import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from leadline.simulate.best_predictor import Effort, turn_contributions
from leadline.simulate.config import preset
from leadline.simulate.likelihood import tabulate
from leadline.simulate.phrase_bank import FORMS
from leadline.simulate.world import draw_world


def main() -> None:
    """Measure and write."""
    world = draw_world(preset("paper"))
    who = np.flatnonzero(world.locked)[:6]
    tables = tabulate(world.bank, world.config)
    begun = time.perf_counter()
    one, two = (
        np.concatenate(
            turn_contributions(
                world, who, Effort(4000, 1000, every_turn=False, seed=seed), tables=tables
            )
        )
        for seed in (0, 1)
    )
    seconds = (time.perf_counter() - begun) / (2 * one.size)
    form = np.concatenate([world.talk.form[i][world.talk.session[i] >= 0] for i in who])
    result = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{platform.machine()}, 2 cores shared, Python {platform.python_version()}",
        "command": "python bench/simulator_contributions.py",
        "turns": int(one.size),
        "seconds_a_turn": round(seconds, 3),
        "sd_points": round(float(one.std()), 2),
        "monte_carlo_sd_points": round(float((one - two).std() / np.sqrt(2)), 2),
        "r_between_runs": round(float(np.corrcoef(one, two)[0, 1]), 3),
        "mean_size_by_form": {
            FORMS[k]: round(float(np.abs(one[form == k]).mean()), 2)
            for k in range(len(FORMS))
            if (form == k).any()
        },
    }
    text = json.dumps(result, indent=2)
    print(text)
    target = Path(__file__).parent / "results" / "simulator_contributions.json"
    target.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
