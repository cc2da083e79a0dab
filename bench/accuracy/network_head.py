"""What each part of the network head is worth, on wordings that nobody in training uses.

The network was designed on this cohort and on no other. Its unseen wordings are drawn from the
bank's *training* half, so the wordings of the locked people of every other benchmark had no say
in the design. Gold labels alone; four fifths of the people with gold train, the rest and the
locked people are estimated. Each variant is fitted with several seeds. MAE is taken after a
straight line fitted to the people who were left out: the calibration of a run does as much.

    python -m bench run accuracy.network_head [--seeds 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from bench.common import tell
from bench.protocol import run_module
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

TAKES = "reader minilm; half an hour the first time, to read, then minutes"
RESULT = "network_head"
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
        held_back, random = np.zeros_like(official), np.random.default_rng(777)
        cells = (form * 100 + topic) * 10 + anchor
        for cell in np.unique(cells):
            rows_of = np.flatnonzero((cells == cell) & ~official)
            count = 0
            if rows_of.size > 1:
                count = int(np.clip(round(held_out * rows_of.size), 1, rows_of.size - 1))
            held_back[random.permutation(rows_of)[:count]] = True
        return held_back

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


def options(parser: argparse.ArgumentParser) -> None:
    """How many seeds."""
    parser.add_argument("--seeds", type=int, default=3)


class Trial(NamedTuple):
    """Labelled readings of people who train, of people left out, and of locked people."""

    design: Design
    views: tuple[str, ...]
    total: np.ndarray
    train: np.ndarray
    left_out: np.ndarray
    locked: np.ndarray

    def fit(self, head: str, seed: int) -> dict[str, Any]:
        """Fit a head and score it on both kinds of wordings."""

        def inputs(at: np.ndarray) -> Any:
            return self.design.take(at).inputs(self.views, ())

        start = time.process_time()
        fitted = fit_head(head, inputs(self.train), self.total[self.train], seed=seed)
        seconds = time.process_time() - start
        mean = fitted.predict(inputs(self.left_out))[0]
        line = np.polyfit(mean, self.total[self.left_out], 1)
        unseen = fitted.predict(inputs(self.locked))[0]
        return {
            "seed": seed,
            "processor_seconds": round(seconds, 1),
            "known wordings": figures(mean, self.total[self.left_out], line),
            "unseen wordings": figures(unseen, self.total[self.locked], line),
        }


def open_trial() -> Trial:
    """Simulate, read and divide the people."""
    cohort, config = simulated(), TrainConfig(reader="minilm", seed=SEED)
    labelled, source = labelled_people(cohort, config, WindowConfig()), open_source(config)
    folds = draw_folds(cohort, labelled, config)
    states = source.read(labelled.people)
    readings, _ = training_rows(labelled, states, source, WindowConfig(), config)
    fold = np.array([folds.get(p.person_id, {0: -1})[0] for p in labelled.people])
    fold = fold[readings.person]
    train, left_out, locked = (
        np.flatnonzero(readings.final & part) for part in (fold > 0, fold == 0, fold < 0)
    )
    views = tuple(source.views)
    return Trial(readings.design, views, readings.total, train, left_out, locked)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Fit every variant with every seed."""
    trial = open_trial()
    variants: dict[str, Any] = {"ridge on the mean": [trial.fit("ridge", 0)]}
    for name, constants in VARIANTS.items():
        with patch.multiple(network, **constants):
            variants[name] = [trial.fit("network", seed) for seed in range(args.seeds)]
        tell(name, variants[name])
    counts = {
        "train": len(trial.train), "left out": len(trial.left_out), "locked": len(trial.locked)
    }  # fmt: skip
    return {"labels": counts, "variants": variants}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Mean r (with its range over seeds) and MAE, known and unseen wordings; seconds of a fit."""
    table = []
    for name, runs in results["variants"].items():
        cells = []
        for words in ("known wordings", "unseen wordings"):
            r = [run[words]["r"] for run in runs]
            among = f" ({min(r):.3f} to {max(r):.3f})" if len(r) > 1 else ""
            mae = sum(run[words]["mae"] for run in runs) / len(runs)
            cells += [f"{sum(r) / len(r):.3f}{among}", f"{mae:.2f}"]
        seconds = sum(run["processor_seconds"] for run in runs) / len(runs)
        table.append((name, " | ".join([*cells, f"{seconds:.1f}"])))
    return table


if __name__ == "__main__":
    run_module()
