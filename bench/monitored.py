"""A tiny run and strangers to it, for benches that score: the reader is a stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.cohorts import SMALL, tiny_sentence_reader
from tests.support.monitored import strangers, tiny_run

from leadline.cohort.store import read_cohort
from leadline.simulate.cohort import simulate_cohort


@dataclass(frozen=True)
class Scene:
    """A run, people on whom it was not trained, and the home of its reader."""

    run: Path
    cohort: Path

    @property
    def home(self) -> Path:
        """Where readers are kept."""
        return self.run.parent / "home"


def scene(folder: Path, people: int) -> Scene:
    """Made in `folder`: simulated people, a tiny encoder with random weights, a ridge run."""
    simulate_cohort(folder / "simulated", SMALL)
    cohort = read_cohort(folder / "simulated")
    reader = tiny_sentence_reader(folder / "encoder", cohort.turns["text"].to_list())
    run = tiny_run(folder, cohort, str(reader))
    return Scene(run, strangers(folder / "strangers", cohort, people))
