"""A reader's identity, and the laws that every reader keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.readers import WORDS, talk

from leadline.cohort.timeline import Message
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.readers.protocol import reader_identity
from leadline.readers.sentence import SentenceReader

FEW = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
SPOKEN = st.lists(st.sampled_from(WORDS.split()), max_size=8).map(" ".join)
TALK = st.lists(
    st.builds(Message, st.sampled_from(["user", "assistant", "clinician"]), SPOKEN), max_size=6
)
PLAIN = st.dictionaries(st.sampled_from("abcd"), st.integers() | st.text(max_size=5), max_size=4)


@given(PLAIN, PLAIN)
def test_identities_are_equal_only_for_equal_settings(one, other):
    assert (reader_identity(**one) == reader_identity(**other)) == (one == other)


@given(PLAIN)
def test_the_order_of_settings_does_not_matter(parts):
    turned = dict(reversed(parts.items()))
    assert reader_identity(**parts) == reader_identity(**turned)


def test_another_method_is_another_identity(monkeypatch):
    before = reader_identity(a=1)
    monkeypatch.setattr("leadline.readers.protocol.METHOD", 99)
    assert reader_identity(a=1) != before
    assert len(before) == 64


@pytest.fixture(scope="module", params=["llama", "qwen", "sentence"])
def any_reader(request, language_paths, sentence_reader):
    if request.param == "sentence":
        return SentenceReader(str(sentence_reader))
    return LMReader(str(language_paths[request.param]), ReaderConfig(dtype="float32"))


@FEW
@given(st.lists(TALK, max_size=5))
def test_there_is_one_state_a_user_turn_of_the_width_that_is_said(any_reader, talks):
    states = any_reader.states(talks)
    assert [x.shape for x in states] == [
        (sum(message.role == "user" for message in one), any_reader.width) for one in talks
    ]
    assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in states)


@FEW
@given(st.lists(TALK, min_size=2, max_size=5), st.randoms())
def test_the_order_of_conversations_does_not_matter(any_reader, talks, random):
    order = random.sample(range(len(talks)), len(talks))
    plain, mixed = any_reader.states(talks), any_reader.states([talks[row] for row in order])
    for row, states in zip(order, mixed, strict=True):
        np.testing.assert_allclose(states, plain[row], atol=5e-5)


@FEW
@given(TALK, TALK)
def test_what_is_said_later_changes_nothing_before(any_reader, earlier, later):
    (before,), (whole,) = any_reader.states([earlier]), any_reader.states([earlier + later])
    np.testing.assert_allclose(whole[: len(before)], before, atol=5e-5)


def test_only_a_contextual_reader_hears_what_was_said_before(any_reader):
    alone = any_reader.states([talk("so tired")])[0]
    (after,) = any_reader.states([talk("better today", "how are you", "so tired")])
    assert np.allclose(after[-1], alone[0], atol=5e-5) != any_reader.contextual


def test_progress_ends_at_all_conversations(any_reader):
    seen = []
    talks = [talk("fine"), [], talk("sad", "why", "tired")]
    any_reader.states(talks, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
