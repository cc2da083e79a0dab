"""What the best possible predictor of simulated people says of each PHQ-9 that it speaks of."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from leadline.cohort.store import Cohort

LIMIT_LABELS = Path("truth") / "limit_labels.parquet"
"""In a simulated cohort: a row per locked person, of their last PHQ-9."""

LIMIT_FILE = "limit.parquet"
"""In a run on such a cohort: the table of `limit_labels`."""


def limit_labels(cohort: Cohort) -> pl.DataFrame | None:
    """Columns label (row of the cohort's `phq9`) and distribution (28 probabilities).

    None if the cohort has no such file, as all of real people and those simulated without
    `--limit`.
    """
    if cohort.path is None or not (cohort.path / LIMIT_LABELS).is_file():
        return None
    limit = pl.read_parquet(cohort.path / LIMIT_LABELS)
    last = (
        cohort.phq9.with_row_index("label")
        .filter(pl.col("instrument") == "phq9")
        .sort("time", nulls_last=False, maintain_order=True)
        .group_by("person_id", maintain_order=True)
        .last()
        .select("person_id", "total", pl.col("label").cast(pl.Int64))
    )
    labels = limit.join(last, on=["person_id", "total"]).sort("label")
    return labels.select("label", "distribution")
