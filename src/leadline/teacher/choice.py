"""How many people without gold a teacher rates, and which.

A teacher's labels are bought where they even out the severities: people without gold are placed by
a model's estimates, and the bands of the PHQ-9 are filled in turn, the gravest first, until the
number is reached or a band is empty. Or those are rated first of whom the estimate is least sure
(uncertainty sampling: Lewis and Gale 1994, "A sequential algorithm for training text classifiers").
Drawn at random they are the control. All orders are fixed by the seed, so a larger number adds
people to those of a smaller one, and nothing is bought twice.

Only the choice rests on the model's gold labels; the ratings do not descend from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort
from leadline.cohort.windows import unlabelled_readings
from leadline.errors import LeadlineError
from leadline.phq9.items import BANDS, TOTALS
from leadline.tables import ESTIMATES, check_columns
from leadline.teacher.config import LabelConfig

SCORE_FIRST = "Run `leadline score` on this cohort and give the table that it writes."


@dataclass(frozen=True)
class Choice:
    """People without gold whom a teacher rates.

    Attributes:
        people: their ids; None for everybody.
        available: how many there are to choose from.
        bands: how many of `people` are estimated to be in each band; empty without estimates.
    """

    people: frozenset[str] | None
    available: int = 0
    bands: Mapping[str, int] | None = None

    def report(self) -> dict[str, Any]:
        """What a plan says of the choice."""
        if self.people is None:
            return {}
        bands = {} if self.bands is None else {"bands": dict(self.bands)}
        return {"without_gold": len(self.people), "available": self.available, **bands}


def choose_people(cohort: Cohort, window: WindowConfig, config: LabelConfig) -> Choice:
    """The people without gold of a labelling; none of them is locked.

    Raises:
        LeadlineError: the estimates cannot be read, or lack somebody.
    """
    if not config.limit_people:
        return Choice(None)
    people = sorted(timeline.person_id for timeline, _ in unlabelled_readings(cohort, window))
    random = np.random.default_rng(config.seed)
    shuffled = [people[row] for row in random.permutation(len(people))]
    if config.by_estimates is None:
        return Choice(frozenset(shuffled[: config.limit_people]), len(people))
    estimates = last_estimates(config.by_estimates, people)
    bands = {person: estimate.band for person, estimate in estimates.items()}
    order = shuffled
    if config.choose == "bands":
        order = in_turn(shuffled, bands)
    elif config.choose == "uncertain":
        order = sorted(shuffled, key=lambda person: -estimates[person].deviation)
    chosen = order[: config.limit_people]
    counts = {
        f"{low}-{high}": sum(bands[person] == row for person in chosen)
        for row, (_, low, high) in enumerate(BANDS)
    }
    return Choice(frozenset(chosen), len(people), counts)


def in_turn(people: Sequence[str], bands: Mapping[str, int]) -> list[str]:
    """`people` such that every beginning fills the bands as evenly as can be.

    Args:
        people: ids, in the order that holds within a band.
        bands: the band of each person, as a row of `phq9.items.BANDS`.
    """
    queues = [
        [person for person in people if bands[person] == row] for row in reversed(range(len(BANDS)))
    ]
    rounds = chain.from_iterable(zip_longest(*queues))
    return [person for person in rounds if person is not None]


@dataclass(frozen=True)
class LastEstimate:
    """Where a person stands after their last turn.

    Attributes:
        band: row of `phq9.items.BANDS`.
        deviation: of the distribution over totals, in points.
    """

    band: int
    deviation: float


def last_estimates(path: Path, people: Sequence[str]) -> dict[str, LastEstimate]:
    """The last estimate of each person.

    Args:
        path: a table of `tables.ESTIMATES`, as `leadline score` writes it.
        people: ids that must be in it.

    Raises:
        LeadlineError: it is no such table, or lacks somebody.
    """
    try:
        table = pl.scan_parquet(path)
        check_columns(pl.DataFrame(schema=table.collect_schema()), ESTIMATES, path, SCORE_FIRST)
        last = table.group_by("person_id", maintain_order=True).agg(
            pl.col("mean", "distribution").last()
        )
        rows = last.filter(pl.col("person_id").is_in(people) & pl.col("mean").is_not_null())
        persons, means, chances = rows.collect().get_columns()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LeadlineError("No estimates can be read.", remedy=SCORE_FIRST, file=path) from error
    missing = len(people) - len(persons)
    if missing:
        raise LeadlineError(
            f"{missing:,} of {len(people):,} people without a PHQ-9 have no estimate.",
            remedy=SCORE_FIRST,
            file=path,
        )
    starts = [low for _, low, _ in BANDS[1:]]
    nearest = np.floor(means.to_numpy() + 0.5)
    bands = np.searchsorted(starts, nearest, side="right").tolist()
    totals, weights = np.arange(TOTALS), np.array(chances.to_list(), dtype=np.float64)
    centre = (weights @ totals)[:, None]
    deviations = np.sqrt((weights * (totals - centre) ** 2).sum(axis=1)).tolist()
    places = zip(persons, bands, deviations, strict=True)
    return {person: LastEstimate(band, deviation) for person, band, deviation in places}
