"""What each part of the network head is worth, on wordings that nobody in training uses.

The network was designed on this cohort and on no other. Its unseen wordings are drawn from the
bank's *training* half, so the wordings of the locked people of every other benchmark had no say
in the design. Gold labels alone; four fifths of the people with gold train, the rest and the
locked people are estimated. Each variant is fitted with several seeds. MAE is taken after a
straight line fitted to the people who were left out: the calibration of a run does as much.

    python bench/network_head.py [--seeds 3]

Reading takes about half an hour the first time. Writes bench/results/network_head.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from checkins import save
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort
from leadline.heads import network
from leadline.heads.design import Design
from leadline.heads.head import fit_head
from leadline.runs.checkpoint import open_source
from leadline.runs.config import TrainConfig
from leadline.runs.labelled import draw_folds, labelled_people, training_rows
from leadline.simulate import phrase_bank
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import PRESETS, SimulateConfig

SEED = 7
VARIANTS: dict[str, dict[str, Any]] = {
    "network": {"WIDTH": network.WIDTH},
    "without noise": {"NOISE": 0.0},
    "with half the noise": {"NOISE": 0.5},
    "with all turns in every step": {"TURNS_LEFT_OUT": 0.0},
    "without attention (a deep set)": {"LOUDEST": 0.0},
}


@contextmanager
def other_wordings() -> Iterator[None]:
    """Hold out wordings of the bank's training half instead of its held-out half."""
    hold, share = phrase_bank._hold_out, phrase_bank._shares
    shut: list[Any] = []

    def hold_out(form: Any, topic: Any, anchor: Any, held_out: float) -> Any:
        official = hold(form, topic, anchor, held_out)
        shut.append(official)
        held, random = np.zeros_like(official), np.random.default_rng(777)
        cells = (form * 100 + topic) * 10 + anchor
        for cell in np.unique(cells):
            mine = np.flatnonzero((cells == cell) & ~official)
            count = 0
            if mine.size > 1:
                count = int(np.clip(round(held_out * mine.size), 1, mine.size - 1))
            held[random.permutation(mine)[:count]] = True
        return held

    def shares(form: Any, topic: Any, anchor: Any, used: Any, ambiguity: float) -> Any:
        free, used = ~shut[-1], used & ~shut[-1]
        cells = form * 100 + topic
        for cell in np.unique(cells):
            if not (used & (cells == cell)).any():  # a cell with one template serves both halves
                used = used | ((cells == cell) & free)
        return share(form, topic, anchor, used, ambiguity)

    with (
        patch.object(phrase_bank, "_hold_out", hold_out),
        patch.object(phrase_bank, "_shares", shares),
    ):
        yield


def simulated() -> Cohort:
    """The preset `paper` with those wordings."""
    with tempfile.TemporaryDirectory() as folder, other_wordings():
        path = Path(folder) / "cohort"
        simulate_cohort(path, SimulateConfig(**{**PRESETS["paper"], "seed": SEED}))
        return read_cohort(path)


def figures(mean: np.ndarray, total: np.ndarray, line: np.ndarray) -> dict[str, float]:
    """Correlation, and MAE after the line."""
    error = np.abs(np.polyval(line, mean) - total)
    return {"r": float(np.corrcoef(mean, total)[0, 1]), "mae": float(error.mean())}


def main() -> None:
    """Fit every variant with every seed and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    cohort, config = simulated(), TrainConfig(reader="minilm", seed=SEED)
    labelled, source = labelled_people(cohort, config, WindowConfig()), open_source(config)
    left_out = draw_folds(cohort, labelled, config)
    states = source.read(labelled.people)
    rows, _ = training_rows(labelled, states, source, WindowConfig(), config)
    fold = np.array([left_out.get(p.person_id, {0: -1})[0] for p in labelled.people])[rows.person]
    whole = rows.final
    train, out, locked = (np.flatnonzero(whole & mine) for mine in (fold > 0, fold == 0, fold < 0))

    def tried(head: str, seed: int) -> dict[str, Any]:
        def seen(at: Any) -> Any:
            design: Design = rows.design.take(at)
            return design.inputs(tuple(source.views), ())

        start = time.process_time()
        fitted = fit_head(head, seen(train), rows.total[train], seed=seed)
        seconds = time.process_time() - start
        mean = fitted.predict(seen(out))[0]
        line = np.polyfit(mean, rows.total[out], 1)
        return {
            "seed": seed,
            "processor_seconds": round(seconds, 1),
            "known wordings": figures(mean, rows.total[out], line),
            "unseen wordings": figures(fitted.predict(seen(locked))[0], rows.total[locked], line),
        }

    found: dict[str, Any] = {"ridge on the mean": [tried("ridge", 0)]}
    for name, constants in VARIANTS.items():
        with patch.multiple(network, **constants):
            found[name] = [tried("network", seed) for seed in range(args.seeds)]
        print(name, found[name], flush=True)
    counts = {"train": len(train), "left out": len(out), "locked": len(locked)}
    save("network_head", {"labels": counts, "variants": found})


if __name__ == "__main__":
    main()
