"""Distributions go in and come out equal; what no longer counts stays to be looked up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.stores import START, add_person, said, send

from leadline.errors import LeadlineError
from leadline.store.estimates import (
    FIGURES,
    EstimateRow,
    pack_distribution,
    read_estimates,
    supersede_estimates,
    unpack_distribution,
    write_estimates,
)


def row(seq, mean=3.0):
    figures = dict.fromkeys(FIGURES, 0.5) | {"mean": mean}
    return EstimateRow(seq, START + seq, np.full(28, 1 / 28), figures, 0.1, None, 2, 30)


@given(st.lists(st.floats(0, 1), min_size=28, max_size=28))
def test_a_distribution_comes_back_to_the_bit(numbers):
    assert unpack_distribution(pack_distribution(np.array(numbers))).tolist() == numbers


@pytest.mark.parametrize("bad", [np.zeros(27), np.full(28, np.nan), np.zeros((2, 28))])
def test_what_is_no_distribution_is_refused(bad):
    with pytest.raises(LeadlineError, match="distribution"):
        pack_distribution(bad)


def test_estimates_of_a_day_gone_by_are_rebuilt(store):
    ada = add_person(store)

    def write(revision, rows, at):
        store.database.write(lambda c: write_estimates(c, ada, "m", revision, rows, at))

    write(0, [row(1), row(2)], START + 10)
    store.database.write(lambda c: supersede_estimates(c, ada, [2], START + 20))
    write(1, [row(2, 9.0), row(3)], START + 20)

    def means(asof=None, model="m"):
        found = store.database.read(lambda c: read_estimates(c, ada, model, asof))
        return [(one["seq"], one["mean"]) for one in found]

    assert means() == [(1, 3.0), (2, 9.0), (3, 3.0)]
    assert means(START + 19) == [(1, 3.0), (2, 3.0)]
    assert means(START + 20) == means()
    assert means(START + 9) == []
    assert means(model="other") == []


def test_estimates_of_one_time_stand_in_the_order_in_which_their_messages_are_read(store):
    ada = add_person(store)
    send(store, said("a", turn=1), said("b", turn=0), said("c", turn=1))
    rows = [replace(row(seq), time=START) for seq in (1, 2, 3)]
    store.database.write(lambda c: write_estimates(c, ada, "m", 0, rows, START))
    found = store.database.read(lambda c: read_estimates(c, ada, "m"))
    assert [one["seq"] for one in found] == [2, 1, 3]


def test_superseding_many_is_done_in_parts(sqlite_store):
    ada = add_person(sqlite_store)
    rows = [row(seq) for seq in range(1, 1202)]
    sqlite_store.database.write(lambda c: write_estimates(c, ada, "m", 0, rows, START))
    numbers = range(2, 1202)
    sqlite_store.database.write(lambda c: supersede_estimates(c, ada, numbers, START + 1))
    left = sqlite_store.database.read(lambda c: read_estimates(c, ada, "m"))
    assert [one["seq"] for one in left] == [1]
