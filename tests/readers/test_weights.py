"""How the base is loaded: the text part alone, quantised or not, with a word about slow kernels."""

import json
import sys
import warnings
from importlib.util import find_spec

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.support.readers import people, tiny_config, tiny_reader, tiny_tokenizer

from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import collate
from leadline.finetune.model import FinetunedModel
from leadline.finetune.module import build
from leadline.readers import weights
from leadline.readers.backbone import load_backbone
from leadline.readers.weights import SlowKernelsWarning, quantization, warn_of_slow_kernels


@pytest.fixture(scope="module")
def multimodal(tmp_path_factory):
    """A tiny checkpoint laid out as Qwen3.5's are: text and vision, in bfloat16."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
              "out_hidden_size": 32, "num_position_embeddings": 16}  # fmt: skip
    config = Qwen3_5Config(text_config=tiny_config("qwen").to_dict(), vision_config=vision)
    torch.manual_seed(3)
    model = Qwen3_5ForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    path = tmp_path_factory.mktemp("multimodal")
    model.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path, model


def test_of_a_multimodal_checkpoint_only_the_text_part_is_loaded(multimodal):
    path, whole = multimodal
    with safe_open(path / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert any("visual" in name for name in names), "the checkpoint has a vision part"
    backbone = load_backbone(path, torch.bfloat16)
    assert type(backbone).__name__ == "Qwen3_5TextModel"
    names = {name for name, _ in backbone.named_parameters()}
    assert not any("visual" in name or "merger" in name for name in names)
    theirs = dict(whole.model.language_model.named_parameters())
    assert names == set(theirs)
    assert all(torch.equal(p, theirs[name]) for name, p in backbone.named_parameters())
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        ours = backbone(input_ids=ids, use_cache=False).last_hidden_state
        want = whole.model(input_ids=ids, use_cache=False).last_hidden_state
    assert torch.equal(ours, want)


def test_a_checkpoint_that_is_quantised_at_its_top_is_not_read_as_plain_weights(
    multimodal, tmp_path
):
    """The 8-bit layout of the published checkpoints, with one block a matrix."""
    path, _ = multimodal
    kept = ("config.json", "tokenizer.json", "tokenizer_config.json")
    for name in kept:
        (tmp_path / name).write_bytes((path / name).read_bytes())
    tensors = load_file(path / "model.safetensors")
    for name in [n for n in tensors if n.endswith("_proj.weight") and "language" in n]:
        scale = tensors[name].float().abs().max() / 448
        tensors[name] = (tensors[name].float() / scale).to(torch.float8_e4m3fn)
        tensors[name.removesuffix("weight") + "weight_scale_inv"] = scale.reshape(1, 1)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
        "modules_to_not_convert": ["in_proj_a", "in_proj_b", "visual"],
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    if torch.cuda.is_available():
        pytest.skip("a GPU keeps the 8-bit numbers; this compares with what a CPU makes of them")
    plain = dict(load_backbone(path, torch.bfloat16).named_parameters())
    found = dict(load_backbone(tmp_path, torch.bfloat16).named_parameters())
    for name, value in plain.items():
        error = (found[name].float() - value.float()).norm()
        assert error <= 0.04 * value.float().norm(), name


def test_what_a_quantised_base_takes_is_said_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    path = tiny_reader(tmp_path, "qwen")
    with pytest.raises(LeadlineError, match="needs the package bitsandbytes"):
        load_backbone(path, torch.float32, base_weights="nf4")
    with pytest.raises(LeadlineError, match="no CUDA device"):
        load_backbone(path, torch.float32, base_weights="fp8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    with pytest.raises(LeadlineError, match=r"8\.9 or more; this one has 8\.0"):
        quantization("fp8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.raises(LeadlineError, match="needs the package kernels"):
        quantization("fp8")


def test_fp8_leaves_what_feeds_an_exponential_alone(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert quantization("fp8").modules_to_not_convert == ["in_proj_a", "in_proj_b"]
    assert quantization("auto") is None


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_nf4_trains_adapters_on_a_base_of_four_bits(tmp_path):
    path = tiny_reader(tmp_path, "qwen")
    config = FinetuneConfig(base_weights="nf4", layers=(1.0,), top=1.0)
    backbone = build(path, config, torch.device("cpu")).backbone
    kinds = {name: type(module).__name__ for name, module in backbone.named_modules()}
    packed = {name.split(".")[-2] for name, kind in kinds.items() if kind == "Linear4bit"}
    assert {"q_proj", "in_proj_qkv", "in_proj_z", "out_proj", "gate_proj"} <= packed
    assert not packed & {"in_proj_a", "in_proj_b"}
    model = FinetunedModel.untrained(str(path), config)
    model.regressor.train()
    model.regressor(**collate(model.encode(people(3)), "mean"))["loss"].backward()
    grads = {n: p.grad for n, p in model.regressor.named_parameters() if "lora_B" in n}
    assert all(g is not None and g.abs().sum() > 0 for g in grads.values())
    assert {n.split(".")[-4] for n in grads} >= {"in_proj_qkv", "down_proj"}


def test_a_quantised_base_is_for_lora_in_one_copy():
    for wrong in ({"adapt": "full"}, {"shard": True}):
        with pytest.raises(LeadlineError, match="--base-weights nf4"):
            FinetuneConfig(base_weights="nf4", **wrong)


def test_a_gated_delta_reader_without_its_kernels_is_warned_of_on_a_gpu(monkeypatch):
    config = tiny_config("qwen")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cases = [
        ({"fla", "causal_conv1d"}, "flash-linear-attention and causal-conv1d"),
        ({"causal_conv1d"}, "^causal-conv1d not installed: 6 of the 8"),
    ]
    for absent, said in cases:
        monkeypatch.setattr(weights, "find_spec", lambda name, a=absent: None if name in a else 1)
        with pytest.warns(SlowKernelsWarning, match=said):
            warn_of_slow_kernels(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_slow_kernels(tiny_config("llama"))
        monkeypatch.setattr(weights, "find_spec", lambda name: sys)
        warn_of_slow_kernels(config)
        monkeypatch.setattr(weights, "find_spec", lambda name: None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        warn_of_slow_kernels(config)
