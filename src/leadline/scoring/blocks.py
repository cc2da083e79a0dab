"""The people of a cohort in order, and where their turns lie, without what they said.

Scoring reads some people at a time from the disk. The rows of a person lie together (see
`cohort.store`), so the row at which each person starts is all that has to be known first;
only the column of identifiers is read for it, a batch at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from leadline.arrays import Ints
from leadline.cohort.store import FILES, Cohort, check_cohort, read_turns
from leadline.cohort.timeline import Timeline, timelines_of
from leadline.errors import LeadlineError

READ_ROWS = 65_536  # identifiers that are read at a time


@dataclass(frozen=True)
class PeopleBlock:
    """Some people who follow one another: `rows` rows of `turns` from row `begin`."""

    number: int
    begin: int
    rows: int


@dataclass(frozen=True)
class CohortIndex:
    """Where the turns of each person lie.

    Attributes:
        starts: row of `turns` at which each person who has any turn starts, and the number of
            rows last, shape (people + 1,).
        digest: hex SHA-256 of the turns.
    """

    starts: Ints
    digest: str

    def __len__(self) -> int:
        return len(self.starts) - 1

    def blocks(self, size: int) -> list[PeopleBlock]:
        """Everyone in order, `size` people a block, fewer in the last."""
        edges = [*self.starts[:-1:size].tolist(), int(self.starts[-1])]
        return [
            PeopleBlock(number, begin, end - begin)
            for number, (begin, end) in enumerate(pairwise(edges))
        ]


def read_people(turns: Path | pl.DataFrame, block: PeopleBlock) -> list[Timeline]:
    """Timelines of the people of a block, in order.

    Args:
        turns: the table, or the directory of a cohort, of which only these rows are read.
        block: whose.
    """
    if isinstance(turns, pl.DataFrame):
        return list(timelines_of(turns[block.begin : block.begin + block.rows]))
    return list(timelines_of(read_turns(turns, block.begin, block.rows)))


def index_cohort(cohort: Cohort | Path) -> CohortIndex:
    """The index of a cohort in memory, or of the directory of one on disk.

    Raises:
        LeadlineError: the cohort is unfinished or damaged, or the turns of somebody do not lie
            together.
    """
    if isinstance(cohort, Cohort):
        names = (cohort.turns["person_id"],)
        digest = hashlib.sha256(cohort.turns.hash_rows().to_numpy().tobytes()).hexdigest()
        return CohortIndex(_starts(iter(names), cohort.path), digest)
    digest = check_cohort(cohort)["files"][FILES[0]]  # which it has just been held against
    return CohortIndex(_starts(_identifiers(cohort / FILES[0]), cohort), digest)


def _identifiers(file: Path) -> Iterator[pl.Series]:
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(READ_ROWS, columns=["person_id"]):
            yield pl.Series("person_id", batch.column(0))


def _starts(pieces: Iterator[pl.Series], file: Path | None) -> Ints:
    """Rows at which another person starts, and the number of rows."""
    rows: list[Ints] = []
    names: list[pl.Series] = []
    height, before = 0, None
    for piece in pieces:
        if not len(piece):
            continue
        new = piece.ne_missing(piece.shift(1, fill_value=before))
        at = new.arg_true().to_numpy().astype(np.int64)
        rows.append(at + height)
        names.append(piece[at])
        height, before = height + len(piece), piece[-1]
    if names and pl.concat(names).n_unique() < sum(map(len, names)):
        raise LeadlineError(
            "The turns of somebody do not lie together.",
            remedy="Import the cohort again with this version of Leadline.",
            file=None if file is None else file / FILES[0],
        )
    return np.concatenate([*rows, np.array([height], dtype=np.int64)])
