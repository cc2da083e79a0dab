"""Who left whom out, as a run writes it down."""

import polars as pl

from leadline.runs.ledger import ledger_table, read_ledger


def test_the_ledger_is_read_back_without_locked_people():
    left_out = {"a": {0: 1, 1: 0}, "b": {0: 0, 1: 2}}
    table = ledger_table(left_out, {"a": 2, "b": 1, "c": 4})
    assert read_ledger(table) == left_out
    assert table.filter(pl.col("person_id") == "c").rows() == [("c", 0, -1, 4)]
