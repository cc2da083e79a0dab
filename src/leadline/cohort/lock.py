"""The locked test: people set aside once, recorded in the cohort, refused by every training."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import MANIFEST, replacing, sha256, write_json
from leadline.cohort.config import WindowConfig
from leadline.cohort.splits import choose_locked
from leadline.cohort.store import read_cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError


def lock_cohort(
    path: Path,
    *,
    share: float,
    seed: int,
    by: str,
    window: WindowConfig | None = None,
    include_phq8: bool = False,
) -> dict[str, Any]:
    """Lock a share of the people of the cohort at `path` who can be evaluated, and record how.

    Those are the people with a PHQ-9 that has text in its window. People whose words are
    near-copies of one another (`Cohort.copy_groups`) are drawn, and locked, as one.

    Args:
        path: a finished cohort without locked people.
        share: of these people, between 0 and 1.
        seed: of the draw.
        by: ``severity`` or ``time``; see `splits.choose_locked`.
        window: which text counts for which PHQ-9.
        include_phq8: PHQ-8 totals count too.

    Returns:
        The record that the manifest keeps: share, seed, by, the settings of the window,
        include_phq8, people, eligible (people who can be evaluated) and, by time, the cutoff: no
        PHQ-9 of that moment or later trains (`Cohort.cutoff`).

    Raises:
        LeadlineError: people are locked already, or `choose_locked` cannot choose.
    """
    cohort = read_cohort(path)
    _refuse_second(cohort.manifest["counts"]["locked"], path)
    window = window or WindowConfig()
    instruments = ["phq9", "phq8"] if include_phq8 else ["phq9"]
    readings = label_readings(cohort, window).filter(pl.col("instrument").is_in(instruments))
    chosen = choose_locked(readings, share, seed, by=by, file=path, groups=cohort.copy_groups)
    people = cohort.people.with_columns(pl.col("person_id").is_in(list(chosen)).alias("locked"))
    table = path / "people.parquet"
    with replacing(table) as scratch:
        people.write_parquet(scratch, compression="zstd")
    record = {
        "share": share,
        "seed": seed,
        "by": by,
        "window": asdict(window),
        "include_phq8": include_phq8,
        "people": len(chosen),
        "eligible": readings["person_id"].n_unique(),
    }
    if by == "time":
        first = readings.filter(pl.col("person_id").is_in(list(chosen)))["time"].min()
        assert isinstance(first, datetime)
        record["cutoff"] = first.isoformat()
    manifest = cohort.manifest
    manifest["locked_test"] = record
    manifest["counts"] = {**manifest["counts"], "locked": len(chosen)}
    manifest["files"] = {**manifest["files"], "people.parquet": sha256(table)}
    write_json(path / MANIFEST, manifest)
    return record


def _refuse_second(recorded: int, path: Path) -> None:
    """Refuse to draw a test again.

    Locked people whom the manifest does not count are those of a lock that was interrupted before
    it was recorded, so that nothing can have been tested on them: it is done anew.
    """
    if recorded:
        raise LeadlineError(
            f"{recorded} people are locked already.",
            remedy="Keep them: a test that is drawn twice is no test. Import anew to start over.",
            file=path,
        )
