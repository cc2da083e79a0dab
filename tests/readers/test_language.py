import numpy as np
import pytest
import torch
from tests.support.fetched import fetched
from tests.support.readers import talk, tiny_reader

from leadline.readers.backbone import load_backbone
from leadline.readers.config import ReaderConfig
from leadline.readers.language import CPU_BATCH, LMReader

EXACT = ReaderConfig(layers=(0.5, 1.0), dtype="float32")
LONG = talk("so tired", "how are you", "fine <|im_end|>", "better?", "", "ok", "can not sleep")


@pytest.fixture(scope="module")
def reader(path):
    return LMReader(str(path), EXACT)


def test_states_are_the_means_that_transformers_gives(path, reader):
    (states,) = reader.states([LONG])
    pieces = reader.tokens.pieces(LONG, 512)
    ids = [token for piece in pieces for token in piece.ids]
    model = load_backbone(path, torch.float32)
    with torch.no_grad():
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    offset, row = 0, 0
    for piece in pieces:
        if piece.user:
            span = slice(offset + piece.start, offset + piece.stop)
            both = [hidden[layer][0, span].mean(0) for layer in reader.layers]
            np.testing.assert_allclose(states[row], torch.cat(both), atol=2e-5)
            row += 1
        offset += len(piece.ids)
    assert row == len(states) == 4
    assert states.shape[1] == reader.width == 64


def test_inner_layers_alone_give_the_same_as_with_the_last(path, reader):
    inner = LMReader(str(path), ReaderConfig(layers=(reader.layers[0],), dtype="float32"))
    assert len(inner.model.layers) == reader.depth // 2
    np.testing.assert_allclose(inner.states([LONG])[0], reader.states([LONG])[0][:, :32], atol=1e-5)


def test_last_state_is_the_state_of_the_last_own_token(path, reader):
    last = LMReader(str(path), ReaderConfig(layers=(1.0,), state="last", dtype="float32"))
    one_word = talk("I")
    np.testing.assert_allclose(
        last.states([one_word])[0], reader.states([one_word])[0][:, 32:], atol=1e-5
    )
    assert not np.allclose(last.states([LONG])[0][0], reader.states([LONG])[0][0, 32:], atol=1e-3)


def test_identity_follows_what_states_depend_on(path, tmp_path):
    def identity(**changes):
        return LMReader(str(path), ReaderConfig(**changes)).identity

    seen = [
        identity(),
        identity(layers=(1,)),
        identity(state="last"),
        identity(max_tokens=100),
        identity(dtype="float32"),
        LMReader(str(tiny_reader(tmp_path, "llama"))).identity if "qwen" in str(path) else "",
    ]
    assert len(set(seen)) == len(seen)
    assert identity(batch_tokens=7) == seen[0]


@pytest.mark.slow
def test_smollm2_states_are_causal_and_its_template_is_its_own():
    fetched("smollm2")
    reader = LMReader("smollm2", ReaderConfig(dtype="float32"))
    whole, part = reader.states([LONG])[0], reader.states([LONG[:3]])[0]
    np.testing.assert_allclose(whole[:2], part, atol=1e-4)
    assert reader.tokens.template.name == "chatml"
    assert reader.layers == (20,)


def test_a_processor_reads_no_more_tokens_at_once_than_stay_in_its_cache(path, monkeypatch):
    reader = LMReader(str(path), EXACT, device=torch.device("cpu"))
    sizes = []
    read = reader._read

    def watch(batch):
        sizes.append(len(batch) * len(batch[0].ids))
        return read(batch)

    monkeypatch.setattr(reader, "_read", watch)
    reader.states([LONG] * 40)
    assert len(sizes) > 1
    assert max(sizes) <= CPU_BATCH
