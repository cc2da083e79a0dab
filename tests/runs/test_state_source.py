"""Turn states of people, from the readers of a run."""

import numpy as np
import pytest
from tests.support.readers import tiny_reader

from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.heads.design import Design
from leadline.readers.anchors import anchor_names
from leadline.readers.config import ReaderConfig
from leadline.runs.state_source import StateSource


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


def test_a_state_that_is_not_finite_is_refused(sentence_reader, tmp_path, people, monkeypatch):
    source = StateSource(str(sentence_reader), home=tmp_path, use_cache=False)
    read = source.readers[0].states

    def overflown(*arguments, **more):
        states = read(*arguments, **more)
        states[1][0, 3] = np.inf
        return states

    monkeypatch.setattr(source.readers[0], "states", overflown)
    with pytest.raises(LeadlineError, match="a state that is not finite"):
        source.read(people)
