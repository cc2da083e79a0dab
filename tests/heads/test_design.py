import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.heads.design import Design, PersonStates, pool_states, span_words
from leadline.readers.anchors import anchor_names

RANDOM = np.random.default_rng(0)


PEOPLE = [
    PersonStates({"v": RANDOM.normal(size=(n, 3)).astype(np.float32)}, RANDOM.integers(0, 9, n))
    for n in (6, 1, 9)
]


@st.composite
def spans(draw):
    person = draw(st.integers(0, 2))
    last = draw(st.integers(0, len(PEOPLE[person].words) - 1))
    return Span(person, draw(st.integers(0, last)), last)


@given(st.lists(spans(), max_size=8), st.sampled_from(["mean", "words", "last"]))
def test_pooling_is_that_of_a_naive_loop(some, pool):
    found = pool_states(PEOPLE, some, "v", pool)
    assert found.shape == (len(some), 3)
    for span, row in zip(some, found, strict=True):
        part = slice(span.first, span.last + 1)
        states = PEOPLE[span.person].views["v"][part]
        words = np.maximum(PEOPLE[span.person].words[part], 1)
        expected = {
            "mean": states.mean(0), "last": states[-1], "words": words @ states / words.sum(),
        }[pool]  # fmt: skip
        np.testing.assert_allclose(row, expected, atol=1e-5)
    assert span_words(PEOPLE, some).tolist() == [
        PEOPLE[s.person].words[s.first : s.last + 1].sum() for s in some
    ]


@pytest.fixture(scope="module")
def people(simulated):
    return list(timelines(simulated))[:5]


def test_a_turn_pooled_later_leaves_earlier_rows_as_they_are(source, people):
    states = source.read(people)
    every = [Span(0, 0, last) for last in range(len(people[0].user))]
    whole = Design.of(source.directions, states, every, "mean")
    part = Design.of(source.directions, states, every[:3], "mean")
    for view in source.views:
        np.testing.assert_array_equal(whole.states[view][:3], part.states[view])
        # A product of other height may be summed in another order.
        np.testing.assert_allclose(whole.anchors[view][:3], part.anchors[view], rtol=0, atol=1e-14)


def test_anchor_scores_are_projections_and_average_over_turns(source, people):
    states = source.read(people)
    (view,) = source.views
    direction = source.directions[view]
    assert direction.shape == (len(anchor_names()), 24)
    turns = Design.of(source.directions, states, [Span(1, t, t) for t in range(4)], "mean")
    whole = Design.of(source.directions, states, [Span(1, 0, 3)], "mean")
    np.testing.assert_allclose(turns.anchors[view].mean(0), whole.anchors[view][0])
    np.testing.assert_allclose(whole.anchors[view], whole.states[view] @ direction.T)
