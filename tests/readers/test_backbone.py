"""A model's text part as it is loaded, and its layers."""

import pytest
import torch
from tests.support.readers import tiny_config, tiny_reader

from leadline.errors import LeadlineError
from leadline.readers.backbone import load_backbone, resolve_layers
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader


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


def test_layers_are_numbers_or_fractions():
    assert resolve_layers((2 / 3, 1.0, 1, 30), 30) == (20, 30, 1, 30)
    with pytest.raises(LeadlineError, match="Layer 31"):
        resolve_layers((31,), 30)
    for bad in [(), (0,), (-1,), (1.5,)]:
        with pytest.raises(LeadlineError, match="--layers"):
            ReaderConfig(layers=bad)
