"""Speed of SmolLM2 on one core in float32 and in bfloat16, by turns, and how far the states differ.

    python -m bench run speed.arithmetic [--tokens 300] [--rounds 6]

One simulated conversation of so many tokens is read in each arithmetic by turns, so that what else
runs on the machine is shared by both. Tokens a second are of processor time, the median of the
rounds. The flags are those that decide what `--dtype auto` is on this machine.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.protocol import run_module
from bench.speed.sentence_reader import simulated_texts
from leadline.cohort.timeline import Message
from leadline.readers.arithmetic import DTYPES, resolve_arithmetic
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader

TAKES = "reader smollm2; a minute"
RESULT = "arithmetic_speed"
FLAGS = ("avx2", "avx512_f", "avx512_bf16", "amx_tile", "amx_bf16")


def options(parser: argparse.ArgumentParser) -> None:
    """How long a conversation, and how often it is read."""
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=6)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Read by turns in both."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    layers = (0.53, 0.67, 0.73, 0.8, 0.87)  # the default views
    readers = {
        name: LMReader("smollm2", ReaderConfig(layers=layers, dtype=name), device=cpu)
        for name in DTYPES
    }
    tokens, talk = readers["float32"].tokens, []
    for text in simulated_texts(200):
        talk.append(Message("user", text))
        pieces = tokens.pieces(talk, 8192)
        length = len(tokens.start) + sum(len(piece.ids) for piece in pieces)
        if length >= args.tokens:
            break
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    states = {name: reader.states([talk])[0] for name, reader in readers.items()}  # and warm
    for _ in range(args.rounds):
        for name, reader in readers.items():
            start = time.process_time()
            reader.states([talk])
            seconds[name].append(time.process_time() - start)
    speeds = {name: round(length / median(times)) for name, times in seconds.items()}
    exact, rounded = states["float32"], states["bfloat16"]
    difference = np.linalg.norm(exact - rounded, axis=1) / np.linalg.norm(exact, axis=1)
    has = torch.cpu.get_capabilities()
    return {
        "tokens": length,
        "tokens_per_cpu_second": speeds,
        "ratio": round(speeds["bfloat16"] / speeds["float32"], 2),
        "largest_relative_difference": float(difference.max()),
        "processor": str(has.get("cpu_name", "")),
        "flags": [flag for flag in FLAGS if has.get(flag)],
        "auto": resolve_arithmetic("auto", cpu),
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The pair, on which processor, and what `auto` is there."""
    speeds = results["tokens_per_cpu_second"]
    flags = ", ".join(results["flags"])
    return [
        (
            f"SmolLM2, {results['tokens']} tokens, one core with {flags}",
            f"float32 {speeds['float32']}, bfloat16 {speeds['bfloat16']} tokens a CPU second; "
            f"states differ by {results['largest_relative_difference']:.1%} of their length at "
            f"most; `auto` is {results['auto']}",
        )
    ]


if __name__ == "__main__":
    run_module()
