"""What a model would reach that understands every phrase, on templates it never saw.

    python -m bench run simulator.meaning

Each user turn is reduced to its form and the level that its phrase mostly expresses, with or
without knowing whether a frame holds; their shares over a person's turns go into a ridge
regression on the 3,111 gold people and are tested on the locked ones. So it has perfect
semantics but no model of the person: between a bag of words and the limit.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

from bench.protocol import run_module
from leadline.simulate.config import preset
from leadline.simulate.phrase_bank import FORMS, TONES
from leadline.simulate.world import World, draw_world

Array = npt.NDArray[Any]
TAKES = "a minute"
RESULT = "simulator_meaning"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure three seeds."""
    del args
    seeds = []
    for seed in range(3):
        world = draw_world(preset("paper", seed=seed))
        seeds.append(
            {
                "seed": seed,
                "with_frames_r": locked_r(world, shares(world, frames=True)),
                "without_frames_r": locked_r(world, shares(world, frames=False)),
            }
        )
    return {"rows": seeds}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """What perfect semantics reach, by seed."""
    titles = {
        "with_frames_r": "knows which sentences stand in a frame",
        "without_frames_r": "does not know it",
    }
    return [
        (title, "r " + ", ".join(str(row[key]) for row in results["rows"]))
        for key, title in titles.items()
    ]


def shares(world: World, *, frames: bool) -> Array:
    """Share of a person's turns by form, anchor level, frame and tone."""
    talk = world.talk
    spoken = talk.session >= 0
    anchor = np.where(spoken, world.bank.anchor[np.maximum(talk.template, 0)], -1) + 1
    framed = (talk.frame > 0) & frames
    kind = np.where(spoken, (talk.form * 5 + anchor) * 2 + framed, -1)
    counts = [(kind == k).sum(axis=1) for k in range(len(FORMS) * 10)]
    counts += [(talk.tone == k).sum(axis=1) for k in range(len(TONES))]
    table = np.stack(counts, axis=1) / spoken.sum(axis=1, keepdims=True)
    return np.asarray(table[:, table.std(axis=0) > 0])


def locked_r(world: World, features: Array) -> float:
    """Pearson r on the locked people of a ridge trained on the gold people."""
    total = world.answers[0, :, -1].sum(axis=1).astype(float)
    model = RidgeCV(np.logspace(-4, 2, 13)).fit(features[world.gold], total[world.gold])
    predicted = model.predict(features[world.locked])
    return round(float(np.corrcoef(predicted, total[world.locked])[0, 1]), 3)


if __name__ == "__main__":
    run_module()
