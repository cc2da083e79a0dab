"""The cohort on disk: `turns.parquet`, `phq9.parquet`, `people.parquet`, manifest last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import new_directory, read_manifest, sha256, write_manifest
from leadline.dialogue.schema import PEOPLE, PHQ9, TURNS
from leadline.errors import LeadlineError

FILES = ("turns.parquet", "phq9.parquet", "people.parquet")


@dataclass(frozen=True)
class Cohort:
    """A cohort in memory.

    Attributes:
        turns: columns of `schema.TURNS`; the rows of a person lie together, in the order
            in which they were said.
        phq9: columns of `schema.PHQ9`; the row number is the label's identity.
        people: columns of `schema.PEOPLE` and whatever else the source had.
        manifest: how the cohort was made; ``manifest["simulated"]`` is True for simulated
            people.
        path: where it was read from, None if it was never written.
    """

    turns: pl.DataFrame
    phq9: pl.DataFrame
    people: pl.DataFrame
    manifest: dict[str, Any]
    path: Path | None = None

    @property
    def simulated(self) -> bool:
        """True if the people are simulated, so that no claim about patients follows."""
        return bool(self.manifest.get("simulated", False))


def write_cohort(
    path: Path,
    turns: pl.DataFrame,
    phq9: pl.DataFrame,
    people: pl.DataFrame,
    *,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    overwrite: bool = False,
    extra: Callable[[Path], None] | None = None,
    **more: Any,
) -> Cohort:
    """Write a cohort whole or not at all, and return it as read back.

    `extra` may write further files into the scratch directory before the manifest is.
    """
    with new_directory(path, overwrite=overwrite) as scratch:
        for name, table in zip(FILES, (turns, phq9, people), strict=True):
            table.write_parquet(scratch / name, compression="zstd")
        if extra is not None:
            extra(scratch)
        write_manifest(
            scratch,
            kind="cohort",
            command=command,
            settings=settings,
            inputs=inputs,
            files={name: sha256(scratch / name) for name in FILES},
            counts={
                "people": people.height,
                "turns": turns.height,
                "phq9": phq9.height,
                "locked": int(people["locked"].sum()),
            },
            **more,
        )
    return read_cohort(path)


def read_cohort(path: Path) -> Cohort:
    """Read a finished cohort and check that its tables have the columns of the schema.

    Raises:
        LeadlineError: unfinished, of another format, or a table is missing or malformed.
    """
    path = Path(path)
    manifest = read_manifest(path, "cohort")
    turns, phq9, people = (
        _read_table(path / name, schema)
        for name, schema in zip(FILES, (TURNS, PHQ9, PEOPLE), strict=True)
    )
    return Cohort(turns, phq9, people, manifest=manifest, path=path)


def _read_table(path: Path, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "This table of the cohort cannot be read.",
            remedy="Import the cohort again into a new directory.",
            file=path,
        ) from error
    for column, kind in schema.items():
        if table.schema.get(column) != kind:
            raise LeadlineError(
                f"Column {column!r} should be {kind}, found {table.schema.get(column)}.",
                remedy="Import the cohort again with this version of Leadline.",
                file=path,
            )
    return table
