"""The folds of a cohort's people, kept in the cohort, so that a person never changes fold.

Folds that depended on who else is there would move people whenever one is added. So the first
training draws them, `folds.parquet` keeps them, and later ones deal out only who is new. Each
number of folds and each seed has its own. Why they lie here: dev/decisions/0008-folds-and-locks.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from leadline.artefact import SCRATCH, locked, replacing
from leadline.errors import LeadlineError
from leadline.tables import check_columns

FOLDS_FILE = "folds.parquet"

COLUMNS: dict[str, pl.DataType] = {
    "folds": pl.Int16(),  # how many there are
    "seed": pl.Int64(),  # of the draw; repeat r of seed s is seed s + r
    "person_id": pl.String(),
    "fold": pl.Int16(),
}

REMEDY = "Restore the file from a copy, or remove it: folds are then drawn anew."


def read_folds(cohort: Path | None, folds: int, seed: int) -> dict[str, int]:
    """Who is in which of `folds` folds already; nobody before the first training.

    Raises:
        LeadlineError: the file cannot be read.
    """
    if cohort is None or not (cohort / FOLDS_FILE).is_file():
        return {}
    table = _read(cohort / FOLDS_FILE)
    drawn = table.filter((pl.col("folds") == folds) & (pl.col("seed") == seed))
    return dict(drawn.select("person_id", "fold").iter_rows())


def keep_folds(cohort: Path | None, folds: int, seed: int, drawn: Mapping[str, int]) -> bool:
    """Keep the fold of everyone in `drawn` who has none yet; whether they are kept now.

    A cohort in memory, or one that may only be read, keeps nothing: its folds are the same
    again as long as its people are.
    """
    if cohort is None or not cohort.is_dir():
        return False
    path = cohort / FOLDS_FILE
    if not drawn.keys() - read_folds(cohort, folds, seed).keys():
        return True
    try:
        with locked(cohort / f".{FOLDS_FILE}.lock"):
            _clear_scratch(cohort)
            old_folds = read_folds(cohort, folds, seed)
            rows = [(folds, seed, name, drawn[name]) for name in sorted(drawn.keys() - old_folds)]
            old = [_read(path)] if path.is_file() else []
            table = pl.concat([*old, pl.DataFrame(rows, schema=COLUMNS, orient="row")])
            with replacing(path) as scratch:
                table.write_parquet(scratch, compression="zstd")
    except OSError:
        return False
    return True


def _clear_scratch(cohort: Path) -> None:
    """Remove what a killed process left half written; the caller holds the lock of the folds."""
    for entry in cohort.glob(f".{FOLDS_FILE}.*"):
        if re.fullmatch(SCRATCH, entry.name) and entry.is_file() and not entry.is_symlink():
            entry.unlink(missing_ok=True)


def _read(path: Path) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "The folds of this cohort cannot be read.", remedy=REMEDY, file=path
        ) from error
    check_columns(table, COLUMNS, path, REMEDY)
    return table.select(list(COLUMNS))
