"""One large GPU: LoRA on a reader of Qwen3.5-27B's shape, random weights: tokens a second, memory.

Weights are random because only their shape costs time; one row of 8,192 random tokens a step,
LoRA r16 on all layers, activation checkpointing, the loss of the distribution head on eight
readings, AdamW on the adapters. Reported: seconds a step (median after two steps of warming up),
tokens a second, the peak of the memory that PyTorch reserved, and the share of 989e12 dense
bfloat16 operations a second (`finetune.resources`):

    hardware utilisation = tokens/s x operations a token with recomputation / 989e12
    model utilisation    = the same without recomputation (two thirds of it for LoRA)

Without a GPU it says so and writes nothing; ``--tiny`` runs the same code on a tiny model on the
CPU, to test it.

    python -m bench run gpu.train_27b [--tokens 8192 --steps 8 --checkpointing recompute]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch

from bench.protocol import run_module
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TokenisedPerson, collate
from leadline.finetune.lora import add_lora
from leadline.finetune.module import Regressor
from leadline.finetune.resources import GIB, Shape, Step, memory, utilisation
from leadline.readers.weights import warn_of_slow_kernels

TAKES = "an H100 of 80 GB; minutes. --tiny: seconds on a CPU"
BIG: dict[str, Any] = {
    "hidden_size": 5120, "num_hidden_layers": 64, "intermediate_size": 17408,
    "num_attention_heads": 24, "num_key_value_heads": 4, "head_dim": 256,
    "linear_num_value_heads": 48, "vocab_size": 248320,
}  # fmt: skip
TINY: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "intermediate_size": 96, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "vocab_size": 500,
}  # fmt: skip
READINGS = 8


def random_model(sizes: dict[str, Any], config: FinetuneConfig, device: str) -> Regressor:
    """The reader with random bfloat16 weights, made on the device, with adapters and head."""
    from transformers import AutoModel, Qwen3_5TextConfig

    shape = Qwen3_5TextConfig(full_attention_interval=4, **sizes)
    warn_of_slow_kernels(shape)
    with torch.device(device):
        backbone = AutoModel.from_config(shape, dtype=torch.bfloat16)
    add_lora(backbone, config)
    if config.checkpointing != "none":
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    return Regressor(backbone, [len(backbone.layers)], config).to(device)


def random_batch(tokens: int, vocabulary: int, device: str) -> dict[str, torch.Tensor]:
    """One person of `tokens` random tokens: user turns of 32 tokens after as many of the other."""
    generator = torch.Generator().manual_seed(0)
    row = torch.randint(0, vocabulary, (tokens,), generator=generator).tolist()
    spans = [(0, at + 32, at + 64) for at in range(0, tokens - 63, 64)]
    ends = [len(spans) * (k + 1) // READINGS - 1 for k in range(READINGS)]
    readings = [LabelledSpan(0, max(end, 0), float(3 * k)) for k, end in enumerate(ends)]
    batch = collate([TokenisedPerson([row], spans, readings)], "mean")
    return {name: value.to(device) for name, value in batch.items()}


def timed_steps(model: Regressor, batch: dict[str, torch.Tensor], steps: int) -> list[float]:
    """Seconds of each training step."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4)
    model.train()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = model(**batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    assert bool(loss.isfinite()), "the loss is not finite"
    return seconds


def options(parser: argparse.ArgumentParser) -> None:
    """How long a row, how many steps, and what is kept."""
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--checkpointing", default="recompute",
                        choices=("none", "recompute", "offload"))  # fmt: skip
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, for a test")


def result(args: argparse.Namespace) -> str | None:
    """The name of its file."""
    return None if args.tiny else f"gpu_train_27b_{args.checkpointing}_{args.tokens}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Train a few steps; what they took."""
    if not torch.cuda.is_available() and not args.tiny:
        sys.exit("No GPU is at hand: nothing was measured. --tiny tests the code on the CPU.")
    device = "cpu" if args.tiny else "cuda"
    config = FinetuneConfig(layers=(1.0,), top=1.0, rank=16, checkpointing=args.checkpointing)
    model = random_model(TINY if args.tiny else BIG, config, device)
    shape = Shape.of(model.backbone.config)
    batch = random_batch(args.tokens, shape.vocabulary, device)
    seconds = timed_steps(model, batch, args.steps)
    step = Step(args.tokens, checkpointing=args.checkpointing)
    speed = args.tokens / statistics.median(seconds[2:] or seconds)
    figures: dict[str, Any] = {
        "weights": shape.weights(), "tokens": args.tokens, "checkpointing": args.checkpointing,
        "seconds_a_step": [round(s, 3) for s in seconds], "tokens_a_second": round(speed, 1),
        "computed_memory_gib": round(memory(shape, step), 2),
    }  # fmt: skip
    if args.tiny:
        return {"tiny": True, **figures}
    figures["device"] = torch.cuda.get_device_name()
    figures["peak_memory_gib"] = round(torch.cuda.max_memory_reserved() / GIB, 2)
    figures["utilisation_of_989e12"] = {
        name: round(value, 4) for name, value in utilisation(shape, step, speed).items()
    }
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Speed and memory, measured and computed."""
    what = f"LoRA on {results['weights'] / 1e9:.3g}e9 weights, {results['tokens']:,} tokens"
    peak = f"{results['peak_memory_gib']} GiB, " if "peak_memory_gib" in results else ""
    figure = (
        f"{results['tokens_a_second']:,} tokens a second; memory {peak}"
        f"computed {results['computed_memory_gib']} GiB"
    )
    return [(f"{what}, {results['checkpointing']}", figure)]


if __name__ == "__main__":
    run_module()
