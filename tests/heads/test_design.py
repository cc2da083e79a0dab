import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.readers import tiny_reader

from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.heads.design import Design, PersonStates, pool_states, span_words
from leadline.readers.anchors import anchor_names, anchor_statements
from leadline.readers.config import ReaderConfig
from leadline.runs.state_source import StateSource

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
def source(sentence_reader, home):
    return StateSource(str(sentence_reader), home=home)


@pytest.fixture(scope="module")
def people(simulated):
    return list(timelines(simulated))[:5]


def test_states_are_those_of_the_reader_one_a_user_turn(source, people):
    states = source.read(people)
    (view,) = source.views
    for person, one in zip(people, states, strict=True):
        alone = source.readers[0].states([person.messages])[0]
        assert one.views[view].shape == (len(person.user), 24)
        np.testing.assert_allclose(one.views[view], alone, atol=1e-5)
        assert one.words.tolist() == person.user_words().tolist()


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


def test_each_direction_has_statements_of_both_kinds_for_each_item():
    _, anchors = anchor_statements()
    for name in anchor_names():
        kinds = {anchor.present for anchor in anchors if anchor.direction == name}
        assert kinds == {True, False}, name
    assert len(anchor_names()) == len(set(anchor_names()))
    assert all(anchor.statement.strip() and anchor.question.strip() for anchor in anchors)


def test_a_direction_points_from_absence_to_presence(source):
    """On a reader whose states are told apart by the statements themselves."""
    from leadline.readers import anchors

    class Told:
        contextual, width, identity = False, 1, "x"

        def states(self, talks, progress=None):
            present = {a.statement for a in anchor_statements()[1] if a.present}
            return [np.array([[float(t[-1].text in present)]], np.float32) for t in talks]

    np.testing.assert_array_equal(
        anchors.anchor_directions(Told()), np.ones((len(anchor_names()), 1))
    )


def test_two_readers_give_their_views_side_by_side(sentence_reader, tmp_path, people, home):
    causal = tiny_reader(tmp_path, "llama")
    config = ReaderConfig(layers=(0.5, 1.0), dtype="float32")
    both = StateSource(f"{sentence_reader}+{causal}", config, home=home)
    assert list(both.views) == [str(sentence_reader), f"{causal}:2", f"{causal}:4"]
    states = both.read(people[:2])
    width = {view: x.shape[1] for view, x in states[0].views.items()}
    assert list(width.values()) == [24, 32, 32]
    whole = both.readers[1].states([people[0].messages])[0]
    np.testing.assert_allclose(states[0].views[f"{causal}:2"], whole[:, :32], atol=1e-4)
    np.testing.assert_allclose(states[0].views[f"{causal}:4"], whole[:, 32:], atol=1e-4)
    design = Design.of(both.directions, states, [Span(0, 0, 1), Span(1, 0, 0)], "mean")
    chosen = design.inputs([f"{causal}:4"], list(both.views))
    assert chosen.states[f"{causal}:4"].shape == (2, 32)
    assert chosen.anchors.shape == (2, 3 * len(anchor_names()))
    assert design.inputs(list(both.views), ()).anchors.shape == (2, 0)
    assert len(design.take(np.array([1]))) == 1
    assert set(both.identities) == {str(sentence_reader), str(causal)}


@pytest.mark.parametrize("names", ["", "+", "a+", "a+a"])
def test_a_list_of_readers_that_is_none(names, home):
    with pytest.raises(LeadlineError, match="names no reader, or one twice"):
        StateSource(names, home=home)


def test_states_are_kept_between_runs_unless_told_otherwise(sentence_reader, tmp_path, people):
    kept = StateSource(str(sentence_reader), home=tmp_path / "kept")
    kept.read(people)
    again = StateSource(str(sentence_reader), home=tmp_path / "kept")
    again.readers[0]._read = None  # whatever is read now comes from the disk
    assert len(again.read(people)) == len(people)
    StateSource(str(sentence_reader), home=tmp_path / "not", use_cache=False).read(people)
    assert not (tmp_path / "not").exists()
