"""A long table written in parts, so that work which was stopped goes on where it was.

Beside the file OUT lies a folder ``.OUT.parts`` while it is made: a manifest of everything
that the numbers depend on, the code among it, and one Parquet file for each finished part. Each
part appears whole or not at all. With another manifest the parts are thrown away and made anew.
When all are there they are joined in order into OUT, by one rename, and the folder goes.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline.about import code_version
from leadline.artefact import (
    MANIFEST,
    SCRATCH,
    check_place,
    locked,
    private_folder,
    read_manifest,
    replacing,
    sha256,
    write_manifest,
)
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.tables import MADE_BY

LOCK, JOINED, SUFFIX = "lock", "joined", ".parts"

ATTEMPTS = ".attempts"  # suffix of files that count how often something was begun

OURS = "|".join(  # every name that this module or an engine writes, less the lock
    (
        re.escape(MANIFEST),
        SCRATCH,
        JOINED,
        r"(\d{6}-[0-9a-f]{12}|loads)\..*",
    )
)

GROUP_ROWS = 65_536  # of a row group of the joined file, at least

COUNTS_KEY = b"leadline.counts"


@dataclass(frozen=True)
class PartFolder:
    """The folder of parts.

    Attributes:
        folder: where they lie.
        key: short hash of the manifest, part of each part's name, so that a straggler of
            other settings never passes for a part of these.
        count: parts that there will be.
    """

    folder: Path
    key: str
    count: int

    @property
    def out(self) -> Path:
        """The file that the parts become."""
        return self.folder.with_name(self.folder.name.removeprefix(".").removesuffix(SUFFIX))

    def file(self, number: int) -> Path:
        """Where part `number` lies."""
        return self.folder / f"{number:06d}-{self.key}.parquet"

    def write(self, number: int, table: pl.DataFrame, counts: Mapping[str, int]) -> None:
        """Write a part and what was counted in it; another process may write the same part."""
        arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
        metadata = {**(arrow.schema.metadata or {}), COUNTS_KEY: json.dumps(dict(counts)).encode()}
        with replacing(self.file(number)) as scratch:
            pq.write_table(arrow.replace_schema_metadata(metadata), scratch, compression="zstd")

    def counts(self, number: int) -> dict[str, int] | None:
        """What was counted in a part; None if it is not there or damaged."""
        try:
            with pq.ParquetFile(self.file(number)) as part:
                entry = (part.schema_arrow.metadata or {}).get(COUNTS_KEY)
            return None if entry is None else dict(json.loads(entry))
        except (OSError, ValueError, pa.ArrowException):
            return None

    def finished(self) -> dict[int, dict[str, int]]:
        """Counts of the finished parts by number."""
        counts_by_part = {number: self.counts(number) for number in range(self.count)}
        return {number: counts for number, counts in counts_by_part.items() if counts is not None}

    def join(
        self, out: Path, schema: Mapping[str, pl.DataType], made_by: Mapping[str, str]
    ) -> None:
        """Join all parts in order into the Parquet file `out`, whole or not at all.

        Its pages have checksums, and it says by which run it was made, SHA-256 of file by name.
        """
        for stale in self.folder.glob(f".{glob.escape(out.name)}.*"):
            stale.unlink()  # left by a process that was killed while joining
        with replacing(out, folder=self.folder) as scratch:
            self._join(scratch, schema, made_by)

    def are_joined(
        self, out: Path, schema: Mapping[str, pl.DataType], made_by: Mapping[str, str]
    ) -> bool:
        """Whether `out` is what `join` makes of the parts, which are all there: a process that was
        killed had only to remove them.
        """
        if len(self.finished()) < self.count:
            return False
        joined = self.folder / JOINED
        try:
            self._join(joined, schema, made_by)
            return sha256(joined) == sha256(out)
        finally:
            joined.unlink(missing_ok=True)

    def _join(
        self, scratch: Path, schema: Mapping[str, pl.DataType], made_by: Mapping[str, str]
    ) -> None:
        arrow = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        with pq.ParquetWriter(
            scratch, arrow, compression="zstd", write_page_checksum=True
        ) as writer:
            writer.add_key_value_metadata({MADE_BY: json.dumps(dict(made_by), sort_keys=True)})
            tables: list[pa.Table] = []
            for number in range(self.count):
                part = pq.read_table(self.file(number)).replace_schema_metadata(None)
                tables.append(part.cast(arrow))
                if sum(table.num_rows for table in tables) >= GROUP_ROWS:
                    writer.write_table(pa.concat_tables(tables))
                    tables = []
            if tables:
                writer.write_table(pa.concat_tables(tables))


def has_parts(
    out: Path, settings: Mapping[str, Any] | None = None, inputs: Mapping[str, str] | None = None
) -> bool:
    """Whether parts of `out` lie beside it; with `settings` and `inputs`, those made with these."""
    folder = parts_folder(out)
    if settings is None or inputs is None:
        return folder.is_dir()
    entries = _entries(settings, inputs)
    return _manifest(folder, entries) == entries


def parts_folder(out: Path) -> Path:
    """Where the parts of `out` lie while it is made."""
    return out.with_name(f".{out.name}{SUFFIX}")


def _entries(settings: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    return {"code": code_version(), "settings": dict(settings), "inputs": dict(inputs)}


@contextmanager
def open_parts(
    out: Path, settings: Mapping[str, Any], inputs: Mapping[str, str], count: int
) -> Iterator[PartFolder]:
    """The parts of `out`, for this process alone; what was finished with the same manifest stays.

    After an error the folder stays if a part is finished, to go on from; else it goes.

    Raises:
        LeadlineError: another process makes the same file, or the folder holds something else.
    """
    folder = parts_folder(out)
    check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    entries = _entries(settings, inputs)
    key = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:12]
    parts = PartFolder(folder, key, count)
    private_folder(folder)
    problem = "Another process is writing this file."
    remedy = "Wait until it ends, or choose another --out."
    with locked(folder / LOCK, problem, remedy, file=out):
        _prepare(folder, entries)
        try:
            yield parts
        except BaseException:
            if not parts.finished():
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _prepare(folder: Path, entries: Mapping[str, Any]) -> None:
    """Throw away what was made with another manifest, and write this one."""
    for path in folder.glob(f"*{ATTEMPTS}"):
        path.unlink()
    earlier = _manifest(folder, entries)
    if earlier == entries:
        return
    leftovers = [path for path in folder.iterdir() if path.name != LOCK]
    if any(re.fullmatch(OURS, path.name) is None for path in leftovers):
        raise LeadlineError(
            "This folder holds something that Leadline did not write.",
            remedy="Move it away, or choose another --out.",
            file=folder,
        )
    if earlier is not None and {**earlier, "code": entries["code"]} == entries:
        warnings.warn(
            "Another version of Leadline began these estimates; its parts are made anew.",
            LeadlineWarning,
            stacklevel=2,
        )
    for path in leftovers:
        path.unlink()
    write_manifest(folder, kind="parts", command="score", **entries)


def _manifest(folder: Path, entries: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the manifest says of these entries; None without a manifest that can be read.

    A manifest that was damaged says nothing about the parts, so they are made anew.
    """
    try:
        manifest = read_manifest(folder, "parts")
    except LeadlineError:
        return None
    return {name: manifest.get(name) for name in entries}
