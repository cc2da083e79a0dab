import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.readers import talk, tiny_config, tiny_reader

from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.readers.backbone import load_backbone, resolve_layers
from leadline.readers.config import ReaderConfig
from leadline.readers.fetch import leadline_home
from leadline.readers.language import LMReader
from leadline.readers.open import open_reader
from leadline.readers.sentence import OneDnnLinear, SentenceReader

EXACT = ReaderConfig(layers=(0.5, 1.0), dtype="float32")
LONG = talk("so tired", "how are you", "fine <|im_end|>", "better?", "", "ok", "can not sleep")


@pytest.fixture(scope="module", params=["llama", "qwen"])
def path(request, tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("reader"), request.param)


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


def test_batches_give_what_single_reading_gives(reader):
    talks = [LONG, talk("fine"), [], LONG[:3], [Message("assistant", "hello")]]
    together = reader.states(talks)
    assert [s.shape for s in together] == [(4, 64), (1, 64), (0, 64), (2, 64), (0, 64)]
    for one, states in zip(talks, together, strict=True):
        np.testing.assert_allclose(reader.states([one])[0], states, atol=2e-5)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=60), min_size=2, max_size=14), st.data())
def test_a_state_depends_on_nothing_said_later_also_beyond_the_budget(small_reader, texts, data):
    messages = talk(*texts)
    cut = data.draw(st.integers(1, len(messages)))
    whole, part = small_reader.states([messages])[0], small_reader.states([messages[:cut]])[0]
    np.testing.assert_allclose(whole[: len(part)], part, atol=2e-5)


@pytest.fixture(scope="module")
def small_reader(path):
    return LMReader(str(path), ReaderConfig(layers=(2,), max_tokens=64, dtype="float32"))


def test_last_state_is_the_state_of_the_last_own_token(path, reader):
    last = LMReader(str(path), ReaderConfig(layers=(1.0,), state="last", dtype="float32"))
    one_word = talk("I")
    np.testing.assert_allclose(
        last.states([one_word])[0], reader.states([one_word])[0][:, 32:], atol=1e-5
    )
    assert not np.allclose(last.states([LONG])[0][0], reader.states([LONG])[0][0, 32:], atol=1e-3)


def test_of_a_multimodal_checkpoint_the_text_part_is_read(tmp_path):
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    vision = {"hidden_size": 16, "num_heads": 2, "depth": 1, "intermediate_size": 16,
              "out_hidden_size": 32, "num_position_embeddings": 16, "patch_size": 4}  # fmt: skip
    config = Qwen3_5Config(text_config=tiny_config("qwen").to_dict(), vision_config=vision)
    whole = Qwen3_5ForConditionalGeneration(config)
    whole.save_pretrained(tmp_path)
    text = load_backbone(tmp_path, torch.float32)
    expected = dict(whole.model.language_model.named_parameters())
    assert {name for name, _ in text.named_parameters()} == set(expected)
    assert all(torch.equal(p, expected[name]) for name, p in text.named_parameters())


def test_a_reader_with_missing_weights_or_another_layout_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import GPT2Config, GPT2Model

    path = tiny_reader(tmp_path)
    tensors = load_file(path / "model.safetensors")
    tensors.pop("model.layers.1.self_attn.q_proj.weight")
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LeadlineError, match="1 weights of this reader are missing"):
        LMReader(str(path))
    GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=50)).save_pretrained(tmp_path)
    with pytest.raises(LeadlineError, match="not built of layers"):
        load_backbone(tmp_path, torch.float32)


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


def test_layers_are_numbers_or_fractions():
    assert resolve_layers((2 / 3, 1.0, 1, 30), 30) == (20, 30, 1, 30)
    with pytest.raises(LeadlineError, match="Layer 31"):
        resolve_layers((31,), 30)
    for bad in [(), (0,), (-1,), (1.5,)]:
        with pytest.raises(LeadlineError, match="--layers"):
            ReaderConfig(layers=bad)


def test_settings_that_cannot_be_meant():
    with pytest.raises(LeadlineError, match="--max-tokens"):
        ReaderConfig(max_tokens=3)
    with pytest.raises(LeadlineError, match="--state"):
        ReaderConfig(state="median")


def fetched(name):
    path = leadline_home() / "readers" / name
    if not (path / "manifest.json").is_file():
        pytest.skip(f"the reader {name} is not fetched: leadline reader fetch {name}")
    return path


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


@pytest.mark.slow
def test_smollm2_states_are_causal_and_its_template_is_its_own():
    fetched("smollm2")
    reader = LMReader("smollm2", ReaderConfig(dtype="float32"))
    whole, part = reader.states([LONG])[0], reader.states([LONG[:3]])[0]
    np.testing.assert_allclose(whole[:2], part, atol=1e-4)
    assert reader.tokens.template.name == "chatml"
    assert reader.layers == (20,)


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
