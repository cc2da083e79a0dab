"""The locked test: people set aside once, recorded in the cohort, refused by every training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import MANIFEST, replacing, sha256, write_json
from leadline.cohort.splits import choose_locked
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError


def lock_cohort(path: Path, *, share: float, seed: int, by: str) -> dict[str, Any]:
    """Lock a share of the labelled people of the cohort at `path` and record how.

    Args:
        path: a finished cohort without locked people.
        share: of the labelled people, between 0 and 1.
        seed: of the draw.
        by: ``severity`` or ``time``; see `splits.choose_locked`.

    Returns:
        The record that the manifest keeps: share, seed, by, people.

    Raises:
        LeadlineError: people are locked already, or `choose_locked` cannot choose.
    """
    cohort = read_cohort(path)
    # Locked people whom the manifest does not count are those of a lock that was interrupted
    # before it was recorded, so that nothing can have been tested on them: it is done anew.
    if recorded := cohort.manifest["counts"]["locked"]:
        raise LeadlineError(
            f"{recorded} people are locked already.",
            remedy="Keep them: a test that is drawn twice is no test. Import anew to start over.",
            file=path,
        )
    chosen = choose_locked(cohort, share, seed, by=by)
    people = cohort.people.with_columns(pl.col("person_id").is_in(list(chosen)).alias("locked"))
    table = path / "people.parquet"
    with replacing(table) as scratch:
        people.write_parquet(scratch, compression="zstd")
    record = {"share": share, "seed": seed, "by": by, "people": len(chosen)}
    manifest = cohort.manifest
    manifest["locked_test"] = record
    manifest["counts"] = {**manifest["counts"], "locked": len(chosen)}
    manifest["files"] = {**manifest["files"], "people.parquet": sha256(table)}
    write_json(path / MANIFEST, manifest)
    return record
