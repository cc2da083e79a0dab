"""Who was left out of which model: the table that every estimate obeys."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from leadline.tables import FOLD_LEDGER


def ledger_table(
    left_out: Mapping[str, Mapping[int, int]], labels: Mapping[str, int]
) -> pl.DataFrame:
    """The ledger as a table of `FOLD_LEDGER`.

    Args:
        left_out: person -> repeat -> fold, of the training people.
        labels: gold labels of each person that were read; whoever is not in `left_out` is a
            locked test person.
    """
    rows = [
        (person, repeat, fold, labels[person])
        for person, folds in left_out.items()
        for repeat, fold in folds.items()
    ]
    locked = [(person, 0, -1, count) for person, count in labels.items() if person not in left_out]
    table = pl.DataFrame(rows + locked, schema=FOLD_LEDGER, orient="row")
    return table.sort("person_id", "repeat")


def read_ledger(table: pl.DataFrame) -> dict[str, dict[int, int]]:
    """The inverse of `ledger_table`, without locked test people."""
    out: dict[str, dict[int, int]] = {}
    for person, repeat, fold in table.select("person_id", "repeat", "fold").iter_rows():
        if fold >= 0:
            out.setdefault(person, {})[repeat] = fold
    return out
