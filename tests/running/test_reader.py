from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.readers import WORDS, talk, tiny_reader

from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import FinetunedModel
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.readers.sentence import SentenceReader
from leadline.running.memory import check_layers
from leadline.running.reader import Context, NewMessages, RunningReader

SPREAD = {"llama": 0.2, "qwen": 0.02}
FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
SPOKEN = st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["user", "assistant", "clinician"]), SPOKEN),
    min_size=1, max_size=14,
)  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "qwen"])
def path(request, tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("reader"), request.param, SPREAD[request.param])


@pytest.fixture(scope="module")
def reader(path):
    return LMReader(str(path), ReaderConfig(layers=(0.5, 1.0), dtype="float32"))


@pytest.fixture(scope="module")
def narrow(path):
    """A budget of 64 tokens: a pass is full after a few messages."""
    return LMReader(str(path), ReaderConfig(layers=(2, 1.0), max_tokens=64, dtype="float32"))


def chunks(messages, cuts):
    edges = [0, *sorted(set(cuts)), len(messages)]
    return [messages[a:b] for a, b in pairwise(edges)]


def in_chunks(running, messages, cuts):
    """Turn states of messages that arrive in chunks, with the context at the end."""
    context, found, said = Context(), [], 0
    for chunk in chunks(messages, cuts):
        earlier = lambda count, said=said: messages[said - count : said]  # noqa: E731
        (read,) = running.read([NewMessages(context, chunk, earlier)])
        context, said = read.context, said + len(chunk)
        found.append(read.states)
    return np.concatenate(found), context


CUTS = st.lists(st.integers(0, 14))


@FEW
@given(MESSAGES, CUTS)
def test_in_chunks_is_as_in_one_pass(reader, messages, cuts):
    cuts = [min(cut, len(messages)) for cut in cuts]
    states, context = in_chunks(RunningReader(reader), messages, cuts)
    np.testing.assert_allclose(states, reader.states([messages])[0], atol=1e-5)
    assert context.read == len(messages)


@FEW
@given(MESSAGES, CUTS)
def test_also_where_the_budget_is_exceeded(narrow, messages, cuts):
    cuts = [min(cut, len(messages)) for cut in cuts]
    states, context = in_chunks(RunningReader(narrow), messages, cuts)
    np.testing.assert_allclose(states, narrow.states([messages])[0], atol=1e-5)
    assert sum(context.lengths) == context.memory.tokens <= 64


def drawn(seed, counts):
    """Messages of as many people as `counts`, each of that many messages."""
    random = np.random.default_rng(seed)
    return [
        talk(*(" ".join(random.choice(WORDS.split(), random.integers(0, 12))) for _ in range(n)))
        for n in counts
    ]


def test_many_at_once_are_as_one_by_one(reader):
    running = RunningReader(reader, batch_tokens=400)
    old, new = drawn(1, [9, 0, 2, 1, 5, 14, 3]), drawn(2, [1, 2, 3, 1, 0, 2, 5])
    begun = running.read([NewMessages(Context(), messages) for messages in old])
    together = running.read([NewMessages(b.context, m) for b, m in zip(begun, new, strict=True)])
    for was, said, first, then in zip(old, new, begun, together, strict=True):
        (alone,) = running.read([NewMessages(Context(), was)])
        np.testing.assert_allclose(first.states, alone.states, atol=1e-5)
        (after,) = running.read([NewMessages(alone.context, said)])
        np.testing.assert_allclose(then.states, after.states, atol=1e-5)
        assert_same_memory(then.context.memory, after.context.memory)
    third = running.read([NewMessages(read.context, talk("so very tired")) for read in together])
    for was, said, read in zip(old, new, third, strict=True):
        whole = reader.states([[*was, *said, *talk("so very tired")]])[0]
        np.testing.assert_allclose(read.states, whole[-1:], atol=1e-5)


def assert_same_memory(one, other):
    assert (one is None) == (other is None)
    if one is not None:
        a, b = one.tensors(), other.tensors()
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert value.dtype == b[name].dtype
            np.testing.assert_allclose(value, b[name], atol=1e-5)


def test_many_at_once_also_beyond_the_budget(narrow):
    running = RunningReader(narrow)
    talks = drawn(3, [14, 3, 9, 1, 6, 12])
    contexts, found = [Context()] * len(talks), [[] for _ in talks]
    for at in range(0, 14, 4):
        news = [
            NewMessages(c, t[at : at + 4], lambda n, t=t, at=at: t[:at][-n:])
            for c, t in zip(contexts, talks, strict=True)
        ]
        for row, read in enumerate(running.read(news)):
            contexts[row] = read.context
            found[row].append(read.states)
    for messages, states in zip(talks, found, strict=True):
        np.testing.assert_allclose(np.concatenate(states), narrow.states([messages])[0], atol=1e-5)


def test_the_recurrent_state_stays_in_float32(path):
    half = LMReader(str(path), ReaderConfig(layers=(1.0,), dtype="bfloat16"))
    (read,) = RunningReader(half).read([NewMessages(Context(), talk("so tired", "why"))])
    kinds = {name.split(".")[1]: x.dtype for name, x in read.context.memory.tensors().items()}
    expected = {"keys": torch.bfloat16, "values": torch.bfloat16}
    if "qwen" in str(path):
        expected |= {"conv": torch.bfloat16, "state": torch.float32}
    assert kinds == expected


def test_a_context_can_be_continued_twice(reader):
    running = RunningReader(reader)
    (first,) = running.read([NewMessages(Context(), talk("so tired", "why", "can not sleep"))])
    (one,) = running.read([NewMessages(first.context, talk("better today"))])
    (other,) = running.read([NewMessages(first.context, talk("sad and fine"))])
    (again,) = running.read([NewMessages(first.context, talk("better today"))])
    np.testing.assert_array_equal(one.states, again.states)
    assert not np.allclose(one.states, other.states, atol=1e-3)
    (on,) = running.read([NewMessages(one.context, talk("how"))])
    joined = [*talk("so tired", "why", "can not sleep"), *talk("better today"), *talk("how")]
    np.testing.assert_allclose(on.states, reader.states([joined])[0][-1:], atol=1e-5)


def test_a_full_context_asks_for_the_earlier_messages(narrow):
    running = RunningReader(narrow)
    said = talk(*["tired"] * 5)
    long = [Message("user", "tired " * 40)]
    (read,) = running.read([NewMessages(Context(), said)])
    with pytest.raises(LeadlineError, match="must be read again"):
        running.read([NewMessages(read.context, talk(*["sad"] * 3))])
    with pytest.raises(LeadlineError, match="not those that were read"):
        running.read([NewMessages(read.context, talk(*["sad"] * 3), lambda n: long * n)])
    (fits,) = running.read([NewMessages(read.context, long, lambda n: pytest.fail("not needed"))])
    assert len(fits.context.lengths) == 1, "a message beyond half the budget stands alone"


def test_readers_that_remember_in_another_way_are_refused():
    from transformers import MistralConfig, MistralModel

    config = MistralConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=50, sliding_window=8,
    )  # fmt: skip
    with pytest.raises(LeadlineError, match="MistralModel"):
        check_layers(MistralModel(config))


@pytest.mark.parametrize("layers", [(1.0,), (0.5, 1.0)])
def test_an_adapted_reader_goes_on_too(path, layers):
    config = FinetuneConfig(layers=layers, dtype="float32", rank=2, pooling="tokens", max_tokens=96)
    model = FinetunedModel.untrained(str(path), config)
    for parameter in model.regressor.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)  # LoRA starts as nothing at all
    (messages,) = drawn(6, [12])
    states, _ = in_chunks(RunningReader(model), messages, [1, 4, 5, 9])
    readings = np.array([(0, 5), (2, 3), (4, 5)])
    pieces = model.tokens.pieces([m for m in messages if m.role == "user"], 96)
    sizes = np.array([piece.stop - piece.start for piece in pieces])
    person = TrainPerson(messages, [LabelledSpan(int(a), int(b)) for a, b in readings])
    np.testing.assert_allclose(
        model.estimates(states, sizes, readings), model.predict([person])[0], atol=1e-5
    )
    (last,) = RunningReader(model).read([NewMessages(Context(), messages)])
    np.testing.assert_array_equal(last.sizes, sizes)
    assert model.identity != FinetunedModel.untrained(str(path), config).identity


def test_a_sentence_reader_keeps_nothing(sentence_reader):
    reader = SentenceReader(str(sentence_reader))
    messages = drawn(5, [7])[0]
    states, context = in_chunks(RunningReader(reader), messages, [1, 2, 5])
    np.testing.assert_allclose(states, reader.states([messages])[0], atol=1e-6)
    assert context == Context(7)
