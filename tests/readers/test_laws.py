"""Laws that every reader keeps, whatever it is made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.cohorts import tiny_sentence_reader
from tests.support.readers import WORDS, talk, tiny_reader

from leadline.cohort.timeline import Message
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.readers.sentence import SentenceReader

FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
READERS = [
    "llama, mean of layers", "llama, last token", "qwen, mean of layers", "qwen, last token",
    "sentence",
]  # fmt: skip
TEXTS = st.lists(
    st.text(max_size=60) | st.lists(st.sampled_from(WORDS.split()), max_size=30).map(" ".join),
    min_size=1,
    max_size=10,
)
CLOSE = {"atol": 2e-5, "rtol": 0}


@pytest.fixture(scope="module", params=READERS)
def reader(request, tmp_path_factory):
    """A tiny reader with so small a budget that conversations go beyond it."""
    folder = tmp_path_factory.mktemp("reader")
    kind, _, state = request.param.partition(", ")
    if kind == "sentence":
        return SentenceReader(str(tiny_sentence_reader(folder, [WORDS])))
    config = ReaderConfig(layers=(2,), max_tokens=64, dtype="float32")
    if state == "last token":
        config = ReaderConfig(layers=(1.0,), max_tokens=64, dtype="float32", state="last")
    # A recurrence of wider weights would magnify rounding beyond `CLOSE`.
    return LMReader(str(tiny_reader(folder, kind, 0.05 if kind == "qwen" else 0.2)), config)


def user_turns(messages):
    return sum(message.role == "user" for message in messages)


@FEW
@given(texts=TEXTS, others=st.lists(TEXTS.map(lambda texts: talk(*texts)), max_size=3))
def test_states_do_not_depend_on_the_conversations_beside(reader, texts, others):
    messages = talk(*texts)
    (alone,) = reader.states([messages])
    assert alone.shape == (user_turns(messages), reader.width)
    assert alone.dtype == np.float32
    assert np.isfinite(alone).all()
    silent = [Message("assistant", "how are you")]
    first, *between, last = reader.states([messages, *others, silent, [], messages])
    for states in (first, last):
        np.testing.assert_allclose(states, alone, **CLOSE)
    assert [len(states) for states in between] == [*(user_turns(one) for one in others), 0, 0]


@FEW
@given(texts=TEXTS, later=TEXTS)
def test_a_state_depends_on_nothing_said_later(reader, texts, later):
    messages = talk(*texts)
    (part,) = reader.states([messages])
    for more in ([*talk(*later)], [Message("assistant", text) for text in later]):
        (whole,) = reader.states([[*messages, *more]])
        np.testing.assert_allclose(whole[: len(part)], part, **CLOSE)


@FEW
@given(texts=TEXTS)
def test_only_a_reader_in_context_is_moved_by_what_was_said_before(reader, texts):
    last = Message("user", "not fine today")
    before = talk("so very tired", "how are you")
    (alone,) = reader.states([[last]])
    (after,) = reader.states([[*talk(*texts), last]])
    (other,) = reader.states([[*before, last]])
    if reader.contextual:
        assert np.abs(other[-1] - alone[-1]).max() > 1e-3
    else:
        np.testing.assert_allclose(after[-1], alone[-1], **CLOSE)
        np.testing.assert_allclose(other[-1], alone[-1], **CLOSE)
