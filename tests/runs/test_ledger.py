"""Who left whom out, as a run writes it down: every training person once a repeat."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from leadline.runs.ledger import ledger_table, read_ledger
from leadline.tables import FOLD_LEDGER

NAMES = st.text(min_size=1, max_size=6)


@st.composite
def ledgers(draw):
    """Folds of the training people, and counts of labels of them and of locked people."""
    repeats = draw(st.integers(1, 4))
    training = draw(st.lists(NAMES, min_size=1, max_size=12, unique=True))
    locked = draw(st.lists(NAMES.filter(lambda name: name not in training), unique=True))
    fold = st.integers(0, 9)
    left_out = {name: {repeat: draw(fold) for repeat in range(repeats)} for name in training}
    count = st.integers(1, 5)
    order = draw(st.permutations(training + locked))
    return left_out, {name: draw(count) for name in order}


@given(ledgers())
def test_what_is_written_is_read_back_in_any_order_of_rows(ledger):
    left_out, labels = ledger
    table = ledger_table(left_out, labels)
    assert read_ledger(table) == left_out
    shuffled = table[np.random.default_rng(0).permutation(table.height)]
    assert read_ledger(shuffled) == left_out


@given(ledgers())
def test_everyone_stands_in_it_and_nobody_twice(ledger):
    left_out, labels = ledger
    table = ledger_table(left_out, labels)
    assert dict(table.schema) == FOLD_LEDGER
    repeats = len(next(iter(left_out.values())))
    assert table.height == repeats * len(left_out) + len(labels) - len(left_out)
    assert table.select("person_id", "repeat").is_unique().all()
    assert dict(table.select("person_id", "labels").iter_rows()) == labels
    assert table.equals(table.sort("person_id", "repeat")), "the same people, the same bytes"


@given(ledgers())
def test_locked_people_have_no_fold_and_training_people_always_have_one(ledger):
    left_out, labels = ledger
    table = ledger_table(left_out, labels)
    locked = set(table.filter(pl.col("fold") < 0)["person_id"])
    assert locked == set(labels) - set(left_out)
    assert not locked & set(read_ledger(table))
    assert set(table.filter(pl.col("person_id").is_in(list(locked)))["fold"]) <= {-1}


def test_a_locked_person_is_one_row_however_many_repeats():
    table = ledger_table({"a": {0: 1, 1: 0}, "b": {0: 0, 1: 2}}, {"a": 2, "b": 1, "c": 4})
    assert table.filter(pl.col("person_id") == "c").rows() == [("c", 0, -1, 4)]
    assert table.filter(pl.col("person_id") == "a").rows() == [("a", 0, 1, 2), ("a", 1, 0, 2)]


def test_an_empty_ledger_has_the_columns_of_one():
    assert dict(ledger_table({}, {}).schema) == FOLD_LEDGER
    assert read_ledger(ledger_table({}, {})) == {}


def test_the_ledger_is_read_back_without_locked_people():
    left_out = {"a": {0: 1, 1: 0}, "b": {0: 0, 1: 2}}
    table = ledger_table(left_out, {"a": 2, "b": 1, "c": 4})
    assert read_ledger(table) == left_out
    assert table.filter(pl.col("person_id") == "c").rows() == [("c", 0, -1, 4)]
