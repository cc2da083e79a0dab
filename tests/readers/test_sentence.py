"""Sentence encoders: their own kind of embedding, and oneDNN's arithmetic."""

import numpy as np
import pytest
import torch
from tests.support.fetched import fetched
from tests.support.readers import talk

from leadline.errors import LeadlineError
from leadline.readers.open import open_reader
from leadline.readers.sentence import OneDnnLinear, SentenceReader


def test_minilm_gives_its_own_kind_of_embedding():
    path = fetched("minilm")
    reader = open_reader("minilm")
    assert isinstance(reader, SentenceReader)
    talks = [talk("I am tired.", "Why?", "I cannot sleep."), [], talk("I am tired.")]
    states = reader.states(talks)
    assert [s.shape for s in states] == [(2, 384), (0, 384), (1, 384)]
    np.testing.assert_allclose(np.linalg.norm(states[0], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(states[0][0], states[2][0], atol=1e-6)
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    with torch.no_grad():
        hidden = model(**tokenizer("I cannot sleep.", return_tensors="pt")).last_hidden_state[0]
    mean = hidden.mean(0)
    np.testing.assert_allclose(states[0][1], mean / mean.norm(), atol=1e-5)


def test_minilm_reads_long_and_empty_turns():
    fetched("minilm")
    reader = SentenceReader(max_tokens=600)
    long, end, empty = reader.embed(["fine " * 3000 + "tired " * 600, "tired " * 600, ""])
    np.testing.assert_allclose(long, end, atol=1e-6)
    assert np.isfinite(empty).all()
    assert abs(np.linalg.norm(empty) - 1) < 1e-5


def test_onednn_gives_the_states_of_torch(sentence_reader):
    reader = SentenceReader(str(sentence_reader))
    linear = [m for m in reader.model.modules() if isinstance(m, torch.nn.Linear)]
    assert linear
    assert all(type(module) is OneDnnLinear for module in linear)
    texts = ["I am so tired", "", "I can not sleep all the time today " * 9]
    ours = reader.embed(texts)
    for module in linear:
        module.__class__ = torch.nn.Linear
    np.testing.assert_allclose(reader.embed(texts), ours, atol=1e-6, rtol=0)
    reader.batch_tokens = 16
    np.testing.assert_allclose(reader.embed(texts), ours, atol=1e-6, rtol=0)


def test_layers_are_means_over_all_tokens_of_a_turn_at_each(sentence_reader):
    """Also of a turn that needs several windows, and whatever lies beside it in a batch."""
    from transformers import AutoModel

    reader = SentenceReader(str(sentence_reader), layers=(1, 1.0))
    assert reader.layers == (1,)  # a reader of one layer, named twice
    model = AutoModel.from_pretrained(sentence_reader).eval()
    texts = ["I am so tired", "", "I can not sleep all the time today " * 30]
    states = reader.embed(texts)
    assert states.shape == (3, reader.width)
    for text, state in zip(texts, states, strict=True):
        words = reader.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        room = reader.window - 2
        sums, count = torch.zeros(reader.width), 0
        for at in range(0, max(len(words), 1), room):
            ends = reader.tokenizer.cls_token_id, reader.tokenizer.sep_token_id
            ids = torch.tensor([[ends[0], *words[at : at + room], ends[1]]])
            with torch.no_grad():
                sums += model(ids, output_hidden_states=True).hidden_states[1][0].sum(0)
            count += ids.shape[1]
        np.testing.assert_allclose(state, sums.numpy() / count, atol=1e-5)
    own = SentenceReader(str(sentence_reader))
    assert own.identity != reader.identity
    assert np.linalg.norm(own.embed(texts), axis=1).round(5).tolist() == [1, 1, 1]
    assert np.abs(np.linalg.norm(states, axis=1) - 1).min() > 0.01


def test_a_layer_beyond_the_encoder_is_refused(sentence_reader):
    with pytest.raises(LeadlineError, match="the reader has 1"):
        SentenceReader(str(sentence_reader), layers=(2,))
