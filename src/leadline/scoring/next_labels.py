"""`leadline ask`: whose PHQ-9s would teach a run most.

People are chosen one after the other, each time the one whose label would lower most what is not
known of all of them together (`heads.prior.most_informative`), by the covariance of the run's own
Gaussian process. A share is drawn by lot from the others: labels that are asked for where the model
is unsure say little of how it does on everybody, and those drawn by lot, with the propensity that
is written beside them, do (Horvitz and Thompson 1952). Texts are read; nobody's PHQ-9 is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.arrays import Array, Ints
from leadline.cohort.config import WindowConfig
from leadline.cohort.masking import mask_people
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span, running_starts, timelines_to_read
from leadline.errors import LeadlineError
from leadline.heads.candidates import FrozenModel
from leadline.heads.design import Design
from leadline.heads.gaussian_process import GaussianProcess
from leadline.heads.prior import AnchorPrior, StartedProcess, most_informative
from leadline.output import new_file
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.ensemble import Ensemble
from leadline.runs.forecast import read_people
from leadline.settings import check_choices, setting

ASKS: dict[str, pl.DataType] = {
    "order": pl.Int32(),  # in which to ask, from 1
    "person_id": pl.String(),
    "how": pl.String(),  # "information" or "lot"
    "propensity": pl.Float64(),  # chance of being asked, given those by information
}

MOST_PEOPLE = 2000
"""People compared with one another; of more some are drawn by lot for that."""


@dataclass(frozen=True)
class AskConfig:
    """How many are asked, and how."""

    count: int = setting(50, "People to ask for a PHQ-9.", least=1)
    lot: float = setting(
        0.2, "Share of them drawn by lot, for figures about everybody.", least=0.0, most=1.0
    )
    seed: int = setting(0, "Seed of the lot.", least=0)

    def __post_init__(self) -> None:
        check_choices(self)


def ask_next(
    cohort: Cohort,
    run: Path | str,
    out: Path | str,
    config: AskConfig | None = None,
    *,
    overwrite: bool = False,
    home: Path | None = None,
) -> Mapping[str, Any]:
    """Write whom to ask for a PHQ-9 to the CSV file `out`, the most worth first.

    Args:
        cohort: people of whom some have no PHQ-9; these are chosen among, locked people never.
        run: of `leadline prior`, or one whose head is a Gaussian process.
        out: the file to write, for its owner alone.
        config: how many, and the share by lot.
        overwrite: replace `out`.
        home: where readers are kept.

    Returns:
        Counts of ``asked``, of them by ``lot``, and of ``people`` chosen among; and by which
        factor the answers of those chosen by information lower the variance that is not noise,
        as the run expects, ``unknown_left``.

    Raises:
        LeadlineError: the run has no process that knows what it does not know, nobody is left to
            ask, or `out` exists.
    """
    run, out, config = Path(run), Path(out), config or AskConfig()
    with new_file(out, [run, cohort.path], _is_asks, overwrite=overwrite) as scratch:
        table, counts = _chosen(cohort, run, config, home)
        table.write_csv(scratch)
    return counts


def _chosen(
    cohort: Cohort, run: Path, config: AskConfig, home: Path | None
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The table of `ASKS`, and what `ask_next` returns."""
    ensemble, window = load_ensemble(run, home=home)
    process, views = _process(ensemble, run)
    random = np.random.default_rng(config.seed)
    people = _without_phq9(cohort, window)
    compared = np.sort(random.permutation(len(people))[:MOST_PEOPLE])
    candidates = [people[row] for row in compared]
    covariance = process.covariance(_design(ensemble, candidates, window).inputs(views, views))
    count = min(config.count, len(people))
    by_lot = round(config.lot * count)
    informative = most_informative(covariance, process.label_noise, count - by_lot)
    table = _asks(people, compared[informative], by_lot, random)
    return table, {
        "asked": table.height,
        "lot": table.filter(pl.col("how") == "lot").height,
        "people": len(people),
        "unknown_left": _share_left(covariance, process.label_noise, informative),
    }


def _asks(
    people: list[Timeline], informative: Ints, by_lot: int, random: np.random.Generator
) -> pl.DataFrame:
    """Whom to ask, a table of `ASKS`: rows of `people`, and `by_lot` of everybody else."""
    others = np.setdiff1d(np.arange(len(people)), informative)
    by_lot = min(by_lot, len(others))
    lot = random.choice(others, size=by_lot, replace=False)
    chance = by_lot / max(len(others), 1)
    asks = [(row, "information", 1.0) for row in informative] + [
        (row, "lot", chance) for row in lot
    ]
    rows = [
        (number + 1, people[row].person_id, how, propensity)
        for number, (row, how, propensity) in enumerate(asks)
    ]
    return pl.DataFrame(rows, schema=ASKS, orient="row")


def _share_left(covariance: Array, noise: float, rows: list[int]) -> float:
    """The share of the variance, summed over people, that is left once these have answered."""
    answers = covariance[np.ix_(rows, rows)] + noise * np.eye(len(rows))
    learned = np.linalg.solve(answers, covariance[rows]) * covariance[rows]
    return float(1.0 - learned.sum() / np.trace(covariance))


def _process(
    ensemble: Ensemble, run: Path
) -> tuple[StartedProcess | GaussianProcess, tuple[str, ...]]:
    """The process of the first model that has one, and the views that it sees."""
    for member in ensemble.members:
        for views, head in member.model.parts if isinstance(member.model, FrozenModel) else ():
            if isinstance(head, AnchorPrior):
                return head.started(), views
            if isinstance(head, StartedProcess | GaussianProcess):
                return head, views
    raise LeadlineError(
        "No model of this run says of whom it is unsure together with whom.",
        remedy="Use a run of leadline prior, or one whose head is a Gaussian process (--fit gp).",
        file=run,
    )


def _without_phq9(cohort: Cohort, window: WindowConfig) -> list[Timeline]:
    """People who said something, have no PHQ-9 and are not locked."""
    answered = set(cohort.phq9["person_id"]) | cohort.locked_ids | set(cohort.copies_of_locked)
    people = [
        person
        for person in timelines_to_read(cohort, window)
        if person.person_id not in answered and len(person.user)
    ]
    if not people:
        raise LeadlineError(
            "Nobody is left to ask: everyone who said something has a PHQ-9 or is locked.",
            remedy="Give a cohort with people who have no PHQ-9.",
            file=cohort.path,
        )
    return mask_people(people, window)


def _design(ensemble: Ensemble, people: list[Timeline], window: WindowConfig) -> Design:
    assert ensemble.source is not None, "its models are of a frozen reader"
    spans = []
    for row, person in enumerate(people):
        starts = running_starts(person, window)
        spans.append(Span(row, int(starts[-1]), len(starts) - 1))
    states = read_people(ensemble.source, people)
    return Design.of(ensemble.source.directions, states, spans, ensemble.pool)


def _is_asks(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().strip() == ",".join(ASKS)
