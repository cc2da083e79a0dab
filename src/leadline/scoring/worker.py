"""What a process does to make parts of the estimates of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import Timeline
from leadline.progress import Advance
from leadline.runs.checkpoint import load_ensemble, run_identity, run_training
from leadline.runs.ensemble import Ensemble
from leadline.runs.estimates import batched, estimates_schema, running_estimates
from leadline.runs.other_arithmetic import in_arithmetic
from leadline.runs.profiles import ItemModels, item_models_of
from leadline.scoring.blocks import PeopleBlock, read_people
from leadline.scoring.parts import PartFolder
from leadline.tables import check_estimates

Counts = dict[str, int]


@dataclass(frozen=True)
class Work:
    """What a process needs to know to make parts.

    Attributes:
        turns: the table of turns, or the directory of the cohort.
        run: a finished run.
        parts: where parts go.
        batch_people: people read at a time.
        cache: keep turn states on disk.
        home: where readers are kept.
        items: add the profile of the items.
        dtype: arithmetic of a language model, or ``run`` for the run's own.
    """

    turns: Path | pl.DataFrame
    run: Path
    parts: PartFolder
    batch_people: int
    cache: bool
    home: Path | None
    items: bool = False
    dtype: str = "run"


class Scorer:
    """Makes parts; the run is loaded once.

    Raises:
        LeadlineError: the run cannot be loaded.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        stays = work.dtype == "run"
        self.ensemble, self.window = load_ensemble(
            work.run, home=work.home, use_cache=work.cache, tell_of_speed=stays
        )
        if not stays:
            train, _ = run_training(work.run)
            self.ensemble = in_arithmetic(self.ensemble, train, work.dtype)
        self.model_id = run_identity(work.run)
        self.items = item_models_of(work.run) if work.items else None

    def make(self, block: PeopleBlock, progress: Advance | None = None) -> Counts:
        """Score the people of a block, write their part, and return what was counted."""
        people = read_people(self.work.turns, block)
        # Of somebody on whose label every model was fitted there is no honest estimate.
        unseen = [person for person in people if self.ensemble.members_for(person.person_id)]
        table = score_people(
            self.ensemble,
            unseen,
            self.window,
            self.model_id,
            self.work.batch_people,
            progress,
            items=self.items,
        )
        counts = {
            "people": len(people),
            "silent": sum(not len(person.user) for person in unseen),
            "trained_on": len(people) - len(unseen),
            "estimates": table.height,
        }
        check_estimates(table, self.work.parts.out, part=f"part {block.number}")
        self.work.parts.write(block.number, table, counts)
        return counts


def score_people(
    ensemble: Ensemble,
    people: Sequence[Timeline],
    window: WindowConfig,
    model_id: str,
    batch_people: int,
    progress: Advance | None = None,
    *,
    items: ItemModels | None = None,
) -> pl.DataFrame:
    """The estimate after every user turn of `people` in order, a table of `estimates_schema`.

    People of like length are read together, longest first, at most `batch_people` at a time.
    """
    length = [sum(len(message.text) for message in person.messages) for person in people]
    order = sorted(range(len(people)), key=lambda row: -length[row])
    tables, people_scored = [pl.DataFrame(schema=estimates_schema(items))], 0
    for batch in batched([people[row] for row in order], batch_people):
        within = _part_of(progress, people_scored, len(batch), len(order))
        tables.append(running_estimates(ensemble, batch, window, model_id, items, within))
        people_scored += len(batch)
        if progress is not None:
            progress(people_scored, len(order))
    whose = np.repeat(order, [len(people[row].user) for row in order])
    return pl.concat(tables)[np.argsort(whose, kind="stable")]


def _part_of(progress: Advance | None, before: int, size: int, people: int) -> Advance | None:
    """Progress within a batch, in whatever it counts, as people of all that are scored."""
    if progress is None:
        return None
    return lambda position, total: progress(before + size * position // max(total, 1), people)
