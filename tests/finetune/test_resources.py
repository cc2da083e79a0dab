"""The arithmetic of memory and time, against the models themselves and against known figures."""

from argparse import Namespace

import pytest
import torch
from bench.gpu import resources_table
from tests.support import ROOT
from tests.support.readers import tiny_config, tiny_reader

from leadline.finetune.config import FinetuneConfig
from leadline.finetune.lora import TARGETS
from leadline.finetune.module import build
from leadline.finetune.resources import (
    PEAK,
    SHAPES,
    Shape,
    Step,
    activation_bytes,
    base_bytes,
    forward_flops,
    hours,
    memory,
    speed,
    step_flops,
    utilisation,
)

BIG = SHAPES["qwen3.5-27b"]


def config_of(name):
    from transformers import LlamaConfig, Qwen3_5TextConfig

    if name == "smollm2":
        return LlamaConfig(hidden_size=576, num_hidden_layers=30, intermediate_size=1536,
                           num_attention_heads=9, num_key_value_heads=3, vocab_size=49152,
                           tie_word_embeddings=True)  # fmt: skip
    sizes = {
        "qwen3.5-0.8b": {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 3584,
                         "num_attention_heads": 8, "num_key_value_heads": 2,
                         "linear_num_value_heads": 16},
        "qwen3.5-27b": {"hidden_size": 5120, "num_hidden_layers": 64, "intermediate_size": 17408,
                        "num_attention_heads": 24, "num_key_value_heads": 4,
                        "linear_num_value_heads": 48},
    }  # fmt: skip
    return Qwen3_5TextConfig(full_attention_interval=4, **sizes[name])


@pytest.mark.parametrize("name", SHAPES)
def test_weights_are_those_of_the_model(name):
    from transformers import AutoModel

    config = config_of(name)
    assert Shape.of(config) == SHAPES[name]
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert SHAPES[name].weights() == sum(p.numel() for p in model.parameters())
    adapted = sum(
        module.weight.numel()
        for path, module in model.named_modules()
        if path.rsplit(".", 1)[-1] in TARGETS
    )
    assert SHAPES[name].linear_weights() == adapted
    share = 2 / 3
    model.layers = model.layers[: round(share * len(model.layers))]
    assert SHAPES[name].cut(share).weights() == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_adapters_are_those_of_lora(kind, tmp_path):
    config = FinetuneConfig(layers=(1.0,), top=1.0, rank=4)
    backbone = build(tiny_reader(tmp_path, kind), config, torch.device("cpu")).backbone
    expected = sum(p.numel() for n, p in backbone.named_parameters() if "lora_" in n)
    assert Shape.of(tiny_config(kind)).lora_weights(4, 1.0) == expected


@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_operations_are_those_that_pytorch_counts(kind):
    """Matrix products of a forward pass; attention is left out by a context of no length."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModel

    config = tiny_config(kind)
    model = AutoModel.from_config(config)
    shape = Shape.of(config)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(input_ids=torch.zeros(1, 64, dtype=torch.long), use_cache=False)
    linear = counter.get_flop_counts()["Global"][torch.ops.aten.mm] / 64
    small = shape.gated * 2 * 2 * shape.hidden * shape.delta_heads
    assert linear == pytest.approx(2 * shape.linear_weights() + small)
    assert forward_flops(shape, 0) >= linear


def test_what_a_layer_keeps_is_about_what_pytorch_saves():
    """Bytes saved for the backward pass by one layer of full attention with LoRA, bfloat16."""
    from transformers import AutoModel, LlamaConfig

    from leadline.finetune.lora import add_lora

    config = LlamaConfig(hidden_size=256, num_hidden_layers=1, intermediate_size=768,
                         num_attention_heads=4, num_key_value_heads=2, vocab_size=100)  # fmt: skip
    model = AutoModel.from_config(config, dtype=torch.bfloat16)
    add_lora(model, FinetuneConfig(top=1.0))
    model.train()
    own = {p.data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = 512
    hidden = torch.randn(1, tokens, 256, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(inputs_embeds=hidden, use_cache=False).last_hidden_state
    found = sum(seen.values()) / tokens
    step = Step(tokens=1, checkpointing="none")
    assert out.requires_grad
    assert activation_bytes(Shape.of(config), step) == pytest.approx(found, rel=0.25)


def test_the_figures_of_a_27b_reader():
    """The plan's arithmetic; at 32k tokens a layer's own share is 3 GiB above the plan's."""
    assert BIG.weights() / 1e9 == pytest.approx(25.6, abs=0.05)
    assert BIG.state_bytes(1) - BIG.state_bytes(0) == 64 * 1024
    assert BIG.state_bytes(8192) / 1e9 == pytest.approx(0.69, abs=0.005)
    plan = {"auto": (55, 68, 84), "fp8": (33, 45, 62), "nf4": (22, 34, 51)}
    for base, figures in plan.items():
        for tokens, figure in zip((4096, 16384, 32768), figures, strict=True):
            assert memory(BIG, Step(tokens, base_weights=base)) == pytest.approx(figure, abs=3)
    step = Step(8192)
    assert speed(BIG, step, 0.25) == pytest.approx(1625, rel=0.005)
    assert speed(BIG, step, 0.45) == pytest.approx(2925, rel=0.005)
    assert hours(3111, 8192, 1625) == pytest.approx(4.4, abs=0.05)
    assert hours(3111, 8192, 2925) == pytest.approx(2.4, abs=0.05)


def test_what_saves_memory_and_operations():
    long = Step(32768)
    offload = Step(32768, checkpointing="offload")
    assert memory(BIG, long) - memory(BIG, offload) == pytest.approx(20.0)
    assert memory(BIG, long) > 79 > memory(BIG, offload)
    assert activation_bytes(BIG, Step(4096, checkpointing="none")) > 10 * activation_bytes(
        BIG, Step(4096)
    )
    third = Step(8192, top=1 / 3)
    assert step_flops(BIG, third) == pytest.approx(step_flops(BIG, Step(8192)) * 5 / 9, rel=0.01)
    assert base_bytes(BIG, Step(1, shards=8)) == base_bytes(BIG, Step(1)) / 8
    full = Step(8192, adapt="full")
    assert step_flops(BIG, full) == pytest.approx(4 * forward_flops(BIG, 8192))


def test_utilisation_is_the_inverse_of_speed():
    step = Step(8192)
    found = utilisation(BIG, step, speed(BIG, step, 0.4))
    assert found["hardware"] == pytest.approx(0.4)
    assert found["model"] == pytest.approx(0.4 * 2 / 3)
    assert PEAK["H100"] == 989e12


def test_the_tables_of_the_training_page_are_those_of_the_formulas():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = resources_table.rows(resources_table.measure(Namespace()))
    assert len(rows) == 13
    assert [what for what, figure in rows if f"| {what} | {figure} |" not in page] == []
