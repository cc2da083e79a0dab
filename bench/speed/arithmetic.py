"""Speed of SmolLM2 on one core by arithmetic, beside transformers in the same run.

    python -m bench run speed.arithmetic [--held-to avx2] [--conversations 6] [--rounds 2]

Simulated conversations of some 300 tokens are read in each way by turns, so that what else runs on
the machine is shared by all. Ours reads up to the highest layer that the default head needs;
transformers computes all hidden states in float32, one conversation at a time or padded together.
Tokens a second are of processor time, the median of the rounds. `--held-to avx2` keeps oneDNN, MKL
and torch from AVX-512 and AMX, as a processor without them would be. The flags are those that
decide what `--dtype auto` is on this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.protocol import run_module
from bench.speed.sentence_reader import simulated_texts
from leadline.cohort.timeline import Message
from leadline.readers.arithmetic import resolve_arithmetic
from leadline.readers.backbone import load_backbone
from leadline.readers.batching import pad_right
from leadline.readers.config import ReaderConfig
from leadline.readers.fetch import reader_path
from leadline.readers.language import LMReader
from leadline.readers.packed import pack_linear_layers
from leadline.readers.tokens import Tokens

TAKES = "reader smollm2; minutes"
FLAGS = ("avx2", "avx512_f", "avx512_bf16", "amx_tile", "amx_bf16")
LAYERS = (0.53, 0.67, 0.73, 0.8, 0.87)  # the default views
CPU = torch.device("cpu")
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
LENGTH = 300


def options(parser: argparse.ArgumentParser) -> None:
    """How many conversations, how often, and held to which instructions."""
    parser.add_argument("--held-to", choices=("avx2",))
    parser.add_argument("--conversations", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    return f"arithmetic_speed_{args.held_to}" if args.held_to else "arithmetic_speed"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Read by turns in every way."""
    if args.held_to and any(os.environ.get(name) != value for name, value in AVX2.items()):
        # The libraries look at these once, when they are loaded.
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **AVX2})
    torch.set_num_threads(1)
    ours = {name: _reader(name) for name in ("float32", "bfloat16")}
    ours["float32, packed"] = _reader("float32")
    pack_linear_layers(ours["float32, packed"].model)
    talks, rows = _talks(ours["float32"].tokens, args.conversations)
    theirs = load_backbone(reader_path("smollm2"), torch.float32)
    ways: dict[str, Callable[[], Any]] = {
        **{name: lambda reader=reader: reader.states(talks) for name, reader in ours.items()},
        "transformers, one by one": lambda: [_hidden(theirs, [row]) for row in rows],
        "transformers, together": lambda: _hidden(theirs, rows),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    states = {name: np.concatenate(ways[name]()) for name in ours}  # and warm
    for _ in range(args.rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    tokens = sum(map(len, rows))
    has = torch.cpu.get_capabilities()
    return {
        "conversations": len(rows),
        "tokens": tokens,
        "tokens_per_cpu_second": {n: round(tokens / median(times)) for n, times in seconds.items()},
        "largest_relative_difference": {
            name: _apart(states["float32"], states[name]) for name in ours if name != "float32"
        },
        "held_to": args.held_to,
        "processor": str(has.get("cpu_name", "")),
        "flags": [flag for flag in FLAGS if has.get(flag)],
        "auto": resolve_arithmetic("auto", CPU),
    }


def _reader(name: str) -> LMReader:
    return LMReader("smollm2", ReaderConfig(layers=LAYERS, dtype=name), device=CPU)


def _talks(tokens: Tokens, count: int) -> tuple[list[list[Message]], list[list[int]]]:
    """Conversations of some `LENGTH` tokens, as messages and as tokens."""
    talks: list[list[Message]] = [[]]
    rows: list[list[int]] = [list(tokens.start)]
    for text in simulated_texts(200 * count):
        if len(rows[-1]) >= LENGTH:
            if len(rows) == count:
                break
            talks.append([])
            rows.append(list(tokens.start))
        talks[-1].append(Message("user", text))
        rows[-1] += tokens.pieces(talks[-1][-1:], 8192)[0].ids
    return talks, rows


@torch.inference_mode()
def _hidden(model: Any, rows: list[list[int]]) -> Any:
    return model(input_ids=pad_right(rows), use_cache=False, output_hidden_states=True)


def _apart(exact: np.ndarray, other: np.ndarray) -> float:
    return float((np.linalg.norm(exact - other, axis=1) / np.linalg.norm(exact, axis=1)).max())


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Each way, on which processor, and what `auto` is there."""
    speeds = results["tokens_per_cpu_second"]
    held = f", held to {results['held_to'].upper()}" if results["held_to"] else ""
    flags = ", ".join(results["flags"])
    apart = results["largest_relative_difference"]["bfloat16"]
    shown = ", ".join(f"{name} {speed:,}" for name, speed in speeds.items())
    return [
        (
            f"SmolLM2, {results['conversations']} conversations of {results['tokens']} tokens, one "
            f"{results['processor']} core with {flags}{held}",
            f"tokens a processor second: {shown} (theirs in float32, all layers); bfloat16 differs "
            f"from float32 by {apart:.1%} of a state's length at most; `auto` is {results['auto']}",
        )
    ]


if __name__ == "__main__":
    run_module()
