"""The true totals of simulated people without gold: what an ablation is held against."""

from __future__ import annotations

import numpy as np
import polars as pl

from leadline.arrays import Array
from leadline.artefact import TRUTH
from leadline.cohort.store import Cohort, check_truth
from leadline.errors import LeadlineError
from leadline.selftrain.roster import Roster

ANSWERS = f"{TRUTH}/phq9_all.parquet"


def true_totals(cohort: Cohort, roster: Roster) -> Array:
    """The PHQ-9 that each person without gold would have given last, shape (N,), else NaN.

    Raises:
        LeadlineError: the cohort's truth is not there.
    """
    assert cohort.path is not None, "a simulated cohort lies on disk with its truth"
    path = cohort.path / ANSWERS
    if not path.is_file():
        raise LeadlineError(
            "The truth of this simulated cohort is not beside it.",
            remedy="Simulate it again, or use --no-ablation.",
            file=path,
        )
    table = pl.read_parquet(check_truth(cohort.path, ANSWERS))
    truth = table.filter((pl.col("repeat") == 0) & ~pl.col("given")).sort("time")
    last = truth.unique("person_id", keep="last").select("person_id", "total")
    totals = dict(last.iter_rows())
    free = ~roster.has_gold & ~roster.locked
    return np.array(
        [
            totals.get(name, np.nan) if is_free else np.nan
            for name, is_free in zip(roster.ids, free, strict=True)
        ],
        dtype=np.float64,
    )
