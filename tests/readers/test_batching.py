"""Rows of tokens that are read together: nothing lost, nothing over the budget, spans in place."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from leadline.readers.batching import TokenRow, batches, join_pieces, pad_right
from leadline.readers.tokens import Pass

LENGTHS = st.lists(st.integers(1, 40), max_size=30)


def rows_of(lengths):
    return [TokenRow(n, 0, list(range(length)), []) for n, length in enumerate(lengths)]


@given(LENGTHS, st.integers(1, 200))
def test_every_row_is_in_one_batch_and_a_batch_fits_unless_it_is_one_row(lengths, budget):
    found = list(batches(rows_of(lengths), budget))
    assert sorted(row.conversation for batch in found for row in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(len(row.ids) for row in batch)
        assert len(batch) * longest <= budget or len(batch) == 1
    spans = [len(row.ids) for batch in found for row in batch]
    assert spans == sorted(lengths, reverse=True), "longest first, so like lengths meet"


@given(LENGTHS, st.integers(1, 200))
def test_no_batch_could_have_taken_the_next_row(lengths, budget):
    """Greedy: a batch ends only because one more row would not have fitted."""
    found = list(batches(rows_of(lengths), budget))
    for batch in found[:-1]:
        assert (len(batch) + 1) * len(batch[0].ids) > budget


@given(st.lists(st.lists(st.integers(0, 999), max_size=9), min_size=1, max_size=8))
def test_rows_are_padded_on_the_right_with_zeros(rows):
    found = pad_right(rows)
    longest = max(map(len, rows))
    assert found.shape == (len(rows), longest)
    assert [x.tolist() for x in found] == [row + [0] * (longest - len(row)) for row in rows]


@dataclass
class Piece:
    """What is used of a message's tokens."""

    ids: list[int]
    user: bool
    start: int
    stop: int


@st.composite
def pieces_and_pass(draw):
    pieces = []
    for number in range(draw(st.integers(1, 8))):
        length = draw(st.integers(1, 6))
        start = draw(st.integers(0, length - 1))
        stop = draw(st.integers(start + 1, length))
        ids = [100 * (number + 1) + k for k in range(length)]
        pieces.append(Piece(ids, draw(st.booleans()), start, stop))
    first = draw(st.integers(0, len(pieces) - 1))
    end = draw(st.integers(first + 1, len(pieces)))
    return pieces, Pass(first=first, first_new=draw(st.integers(first, end)), end=end)


@given(pieces_and_pass(), st.lists(st.integers(0, 9), max_size=3))
def test_spans_hold_the_own_tokens_of_the_user_turns_that_are_read_anew(drawn, start):
    pieces, part = drawn
    ids, spans = join_pieces(start, pieces, part)
    assert ids == start + [token for p in pieces[part.first : part.end] for token in p.ids]
    anew = [p for n, p in enumerate(pieces) if part.first_new <= n < part.end and p.user]
    assert [ids[a:b] for a, b in spans] == [p.ids[p.start : p.stop] for p in anew]
    assert start == ids[: len(start)], "the start of the template is left as it was"
