"""Parameters of the course from a run: its estimates of people it never saw, and their PHQ-9s.

The run's `estimates.parquet` holds each person's running estimates by models that left them out
(the ledger obeys), and `predictions.parquet` the PHQ-9s of the labelled ones. So nothing here is an
estimate that a model made of its own training people. Locked people are left alone: their PHQ-9s
are the judge, not the teacher. Fewer than 50 people with two PHQ-9s leave the defaults, which say
that they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from leadline.errors import LeadlineError
from leadline.evaluate.run_results import ESTIMATES_FILE, PREDICTIONS_FILE
from leadline.monitor.course import DatedAnswer, DatedEstimate, History
from leadline.monitor.fit import fit_parameters
from leadline.monitor.statespace import CourseParameters
from leadline.phq9.distribution import Totals

OUT_OF_FOLD = "out-of-fold"
OWN_MODEL = "leadline"


def run_histories(run: Path) -> list[History]:
    """Histories of the people whom a run's models never saw, locked ones left out.

    Raises:
        LeadlineError: a table of the run cannot be read.
    """
    predictions = _read(run / PREDICTIONS_FILE).filter(
        (pl.col("model") == OWN_MODEL)
        & (pl.col("split") == OUT_OF_FOLD)
        & pl.col("time").is_not_null()
    )
    labels = predictions.unique(["person_id", "label"]).sort("person_id", "time")
    people = labels["person_id"].unique(maintain_order=True).to_list()
    estimates = _read(run / ESTIMATES_FILE).filter(
        pl.col("person_id").is_in(people) & pl.col("time").is_not_null()
    )
    by_person = {
        str(name): rows for (name,), rows in estimates.group_by("person_id", maintain_order=True)
    }
    return [
        History(
            _estimates(by_person.get(str(name), estimates.clear())),
            tuple(
                DatedAnswer(day, total)
                for day, total in zip(_days(rows), rows["total"].to_list(), strict=True)
            ),
        )
        for (name,), rows in labels.group_by("person_id", maintain_order=True)
    ]


def run_parameters(run: Path) -> CourseParameters:
    """Parameters fitted on a run's unseen people; the defaults where there are too few."""
    return fit_parameters(run_histories(run))


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        raise LeadlineError(
            "A table of the run cannot be read.",
            file=path,
            remedy="Give a finished run; leadline verify says what of it is damaged.",
        ) from None


def _estimates(rows: pl.DataFrame) -> tuple[DatedEstimate, ...]:
    totals = Totals.of_rows(rows["distribution"].to_list()) if rows.height else None
    variances = np.zeros(0) if totals is None else totals.variance()
    figures = zip(_days(rows), rows["mean"].to_list(), variances, strict=True)
    return tuple(
        DatedEstimate(day, mean, float(variance), position)
        for position, (day, mean, variance) in enumerate(figures)
    )


def _days(rows: pl.DataFrame) -> list[float]:
    microseconds = rows["time"].dt.replace_time_zone(None).dt.epoch("us")
    return [value / 86_400_000_000 for value in microseconds.to_list()]
