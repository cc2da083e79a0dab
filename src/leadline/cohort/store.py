"""The cohort on disk: `turns.parquet`, `phq9.parquet`, `people.parquet`, manifest last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import (
    TRUTH,
    check_files,
    files_of,
    manifest_of,
    read_manifest,
    sha256,
    write_manifest,
)
from leadline.cohort.lock_record import HEAD, RECORD
from leadline.cohort.near_copies import cohort_copies
from leadline.errors import LeadlineError
from leadline.output import new_directory
from leadline.tables import PEOPLE, PHQ9, TURNS, check_columns

FILES = ("turns.parquet", "phq9.parquet", "people.parquet")

REMEDY = "Import the cohort again with this version of Leadline."

CHANGED = (
    "Restore the file from a copy or import the cohort again. If it was changed on purpose, say "
    "so: leadline relock COHORT."
)


@dataclass(frozen=True)
class Cohort:
    """A cohort in memory.

    Attributes:
        turns: columns of `tables.TURNS`; the rows of a person lie together, in the order
            in which they were said.
        phq9: columns of `tables.PHQ9`; the row number is the label's identity.
        people: columns of `tables.PEOPLE` and whatever else the source had.
        manifest: how the cohort was made; ``manifest["simulated"]`` is True for simulated
            people.
        path: where it was read from, None if it was never written.
    """

    turns: pl.DataFrame
    phq9: pl.DataFrame
    people: pl.DataFrame
    manifest: dict[str, Any]
    path: Path | None = None

    @cached_property
    def locked_ids(self) -> frozenset[str]:
        """Ids of the locked test people."""
        return frozenset(self.people.filter("locked")["person_id"])

    @cached_property
    def copy_groups(self) -> dict[str, str]:
        """Person -> the first id of the people whose words are near-copies of theirs.

        Only people in a group of two or more (`near_copies`). Who compares people treats a group as
        one person.
        """
        return cohort_copies(self.turns, self.path)

    @cached_property
    def copies_of_locked(self) -> frozenset[str]:
        """People who are not locked and whose words are those of a locked person: nothing of theirs
        may train, or the test would be trained on.
        """
        groups = self.copy_groups
        shut = {groups[person] for person in self.locked_ids if person in groups}
        return frozenset(p for p, group in groups.items() if group in shut) - self.locked_ids

    @property
    def cutoff(self) -> datetime | None:
        """The moment at which a test locked by time begins: what is said or answered from then
        on trains nobody. None without such a test.
        """
        cutoff = (self.manifest.get("locked_test") or {}).get("cutoff")
        return None if cutoff is None else datetime.fromisoformat(cutoff)

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
    **entries: Any,
) -> Cohort:
    """Write a cohort whole or not at all, and return it as read back.

    `extra` may write further files into the scratch directory before the manifest is.

    Raises:
        LeadlineError: `path` is occupied, or a table has not the columns of the schema.
    """
    with new_directory(path, "cohort", overwrite=overwrite) as scratch:
        check_columns(turns, TURNS, path / FILES[0], REMEDY)
        turns.write_parquet(scratch / FILES[0], compression="zstd")
        if extra is not None:
            extra(scratch)
        finish_cohort(
            scratch, phq9, people, command=command, settings=settings, inputs=inputs, **entries
        )
    return read_cohort(path)


def finish_cohort(
    scratch: Path,
    phq9: pl.DataFrame,
    people: pl.DataFrame,
    *,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    **entries: Any,
) -> dict[str, Any]:
    """Complete a directory that holds `turns.parquet` already; return its manifest."""
    for name, table, schema in ((FILES[1], phq9, PHQ9), (FILES[2], people, PEOPLE)):
        check_columns(table, schema, scratch / name, REMEDY)
        table.write_parquet(scratch / name, compression="zstd")
    turns = pl.scan_parquet(scratch / FILES[0]).select(pl.len()).collect().item()
    if (scratch / RECORD).is_file():
        entries[HEAD] = sha256(scratch / RECORD)
    return write_manifest(
        scratch,
        kind="cohort",
        command=command,
        settings=settings,
        inputs=inputs,
        files={name: sha256(scratch / name) for name in (*FILES, *truth_files(scratch))},
        counts={
            "people": people.height,
            "turns": turns,
            "phq9": phq9.height,
            "locked": int(people["locked"].sum()),
        },
        **entries,
    )


def truth_files(path: Path) -> list[str]:
    """Names of the files of a simulated cohort's truth."""
    files = (file for file in (path / TRUTH).rglob("*") if file.is_file())
    return sorted(file.relative_to(path).as_posix() for file in files)


def check_truth(path: Path, name: str) -> Path:
    """Hold a file of a simulated cohort's truth against the manifest; where it lies.

    Cohorts of before have no hash of it.

    Raises:
        LeadlineError: it is not the one that was written.
    """
    manifest = manifest_of(path)
    if manifest is not None and name in files_of(manifest):
        check_files(path, manifest, [name], remedy=CHANGED)
    return path / name


def table_hashes(manifest: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the tables of a cohort, by which artefacts that are made from it know it."""
    recorded = files_of(manifest)
    return {name: str(recorded[name]) for name in FILES if name in recorded}


def read_cohort(path: Path | str) -> Cohort:
    """Read a finished cohort, checked against its manifest and the columns of the schema.

    Raises:
        LeadlineError: unfinished, of another format, or a table is missing, malformed or not the
            one that was written.

    >>> from leadline import read_cohort
    >>> cohort = read_cohort("cohort")
    >>> cohort.turns.columns
    ['person_id', 'conversation_id', 'turn', 'role', 'text', 'time']
    """
    path = Path(path)
    manifest = read_manifest(path, "cohort")
    check_files(path, manifest, FILES, remedy=CHANGED)
    turns, phq9, people = read_tables(path)
    for name, table in zip(FILES, (turns, phq9, people), strict=True):
        _check_height(manifest, path / name, table.height)
    return Cohort(turns, phq9, people, manifest=manifest, path=path)


def read_tables(path: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Turns, PHQ-9s and people of the cohort at `path` as they are, whatever its manifest says.

    Raises:
        LeadlineError: a table is missing or malformed.
    """
    turns, phq9, people = (
        _read_table(path / name, schema)
        for name, schema in zip(FILES, (TURNS, PHQ9, PEOPLE), strict=True)
    )
    return turns, phq9, people


def check_cohort(path: Path) -> dict[str, Any]:
    """Check a finished cohort as `read_cohort` does, without reading a row; its manifest.

    Raises:
        LeadlineError: as `read_cohort`.
    """
    manifest = read_manifest(path, "cohort")
    check_files(path, manifest, FILES, remedy=CHANGED)
    check_tables(path, manifest)
    return manifest


def check_tables(path: Path, manifest: Mapping[str, Any]) -> None:
    """Check columns and heights of the tables of a cohort, without reading a row.

    Raises:
        LeadlineError: a table is missing, malformed or of another height than the manifest says.
    """
    for name, schema in zip(FILES, (TURNS, PHQ9, PEOPLE), strict=True):
        with _reading(path / name):
            columns = pl.read_parquet_schema(path / name)
            height = pl.scan_parquet(path / name).select(pl.len()).collect().item()
        check_columns(pl.DataFrame(schema=columns), schema, path / name, REMEDY)
        _check_height(manifest, path / name, height)


def _check_height(manifest: Mapping[str, Any], file: Path, height: int) -> None:
    recorded_height = manifest.get("counts", {}).get(file.stem)
    if recorded_height != height:
        raise LeadlineError(
            f"The table has {height} rows, the manifest says {recorded_height}.",
            remedy="The cohort was changed after it was written; import it again.",
            file=file,
        )


def read_turns(path: Path, first: int, count: int) -> pl.DataFrame:
    """Rows `first` to `first + count` of a cohort's `turns.parquet`, and no others.

    Raises:
        LeadlineError: the file cannot be read.
    """
    with _reading(path / FILES[0]):
        rows = pl.scan_parquet(path / FILES[0]).select(*TURNS).slice(first, count)
        return rows.collect()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "This table of the cohort cannot be read.",
            remedy="Import the cohort again into a new directory.",
            file=path,
        ) from error


def _read_table(path: Path, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    with _reading(path):
        table = pl.read_parquet(path)
    check_columns(table, schema, path, REMEDY)
    return table
