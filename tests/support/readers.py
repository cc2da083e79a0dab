"""Tiny readers made on the spot: real architectures, random weights, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from leadline.cohort.timeline import Message

WORDS = "I you am was so very tired fine sad sleep not can all the time today better how are"
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)


def tiny_tokenizer() -> Any:
    """Byte-level BPE trained on a handful of words, with the ChatML marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    fast.chat_template = CHAT
    return fast


def tiny_config(kind: str, spread: float = 0.2) -> Any:
    """A small configuration of `llama` (SmolLM2's) or `qwen` (the hybrid of Qwen3.5).

    `spread` is the deviation of the weights. With much above Qwen's own .02 its recurrence
    magnifies rounding: transformers' own cache is then off by 1e-3 against one pass.
    """
    from transformers import LlamaConfig, Qwen3_5TextConfig

    shared = {
        "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
        "pad_token_id": 0, "initializer_range": spread,
    }  # fmt: skip
    if kind == "llama":
        return LlamaConfig(num_hidden_layers=4, **shared)
    return Qwen3_5TextConfig(
        num_hidden_layers=8,
        full_attention_interval=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        **shared,
    )


def tiny_reader(folder: Path, kind: str = "llama", spread: float = 0.2) -> Path:
    """A model directory with random weights in float32."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    config = tiny_config(kind, spread)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    path = folder / kind
    model.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def talk(*texts: str) -> list[Message]:
    """Messages that take turns, the person first."""
    return [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]


def people(count: int, seed: int = 0) -> list[Any]:
    """Training people whose words follow their totals, two readings each."""
    import numpy as np

    from leadline.finetune.examples import LabelledSpan, TrainPerson

    generator = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        turns, total = int(generator.integers(1, 5)), float(generator.integers(0, 28))
        words = ["sad tired", "fine better"][total < 14].split()
        texts = [
            " ".join(generator.choice(words, generator.integers(1, 9))) for _ in range(2 * turns)
        ]
        out.append(
            TrainPerson(
                talk(*texts), [LabelledSpan(0, turns - 1, total), LabelledSpan(0, 0, total)]
            )
        )
    return out
