"""A cohort whose every text and identifier is a canary, and where the canary was seen."""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl

WORD = "Kanarienvogelwort"
"""In every text."""

PERSON = "kanarienmensch"
"""The beginning of every person's identifier."""

ANSWER = "KanarienAntwort"
"""In what stands where an answer, a date or a role should."""


def write_source(cohort: pl.DataFrame, phq9: pl.DataFrame, folder: Path) -> None:
    """turns.csv and phq9.csv of a cohort with the canary in each text and each identifier."""
    named = pl.lit(f"{PERSON}-") + pl.col("person_id")
    time = pl.col("time").dt.to_string("iso:strict")
    cohort.select(
        named.alias("person_id"), "conversation_id", "role", time,
        pl.col("text") + f" {WORD}",
    ).write_csv(folder / "turns.csv")  # fmt: skip
    totals = phq9.filter(pl.col("total").is_not_null())
    totals.select(named.alias("person_id"), time, pl.col("total").cast(pl.Int64)).write_csv(
        folder / "phq9.csv"
    )


def holders(folder: Path, canary: str) -> set[str]:
    """Files below `folder` that hold the canary, in whatever form, by their name."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(canary.encode() in content for content in _contents(path))
    }


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file as they lie there, and of a known kind as they are read."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield pl.read_parquet(path).write_json().encode()
    elif path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as connection:
            yield "\n".join(connection.iterdump()).encode()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
