"""The computed tables of docs/training.md: memory, speed and hours of a reader of 27B weights.

Nothing here is measured: it is `finetune.resources`, written out. A test compares the rows with
the page.

    python -m bench run gpu.resources_table
"""

from __future__ import annotations

import argparse
from typing import Any

from bench.protocol import run_module
from leadline.finetune.resources import (
    GIB,
    PEAK,
    SHAPES,
    Step,
    forward_flops,
    hours,
    memory,
    speed,
    step_flops,
)

TAKES = "a second"
RESULT = "training_resources"
BIG = SHAPES["qwen3.5-27b"]
LENGTHS = (4096, 8192, 16384, 32768)
PEOPLE, TOKENS = 3111, 8192


def memory_rows() -> list[str]:
    """GiB of a training step on one device by how the base lies and what is kept."""
    kinds = {
        "bfloat16": {},
        "bfloat16, `offload`": {"checkpointing": "offload"},
        "bfloat16, top third": {"top": 1 / 3},
        "bfloat16, divided by 8": {"shards": 8},
        "fp8": {"base_weights": "fp8"},
        "nf4": {"base_weights": "nf4"},
    }
    return [
        f"| {name} | {' | '.join(f'{memory(BIG, Step(n, **settings)):.0f}' for n in LENGTHS)} |"
        for name, settings in kinds.items()
    ]


def speed_rows() -> list[str]:
    """Tokens a second of one H100 and hours of one epoch, by assumed utilisation."""
    lines = []
    for name, step in (
        ("LoRA, all layers", Step(TOKENS)),
        ("LoRA, top third", Step(TOKENS, top=1 / 3)),
        ("whole reader", Step(TOKENS, adapt="full")),
    ):
        speeds = [speed(BIG, step, share) for share in (0.25, 0.45)]
        times = [hours(PEOPLE, TOKENS, each) for each in speeds]
        lines.append(
            f"| {name} | {step_flops(BIG, step) / 1e9:.0f} | {speeds[0]:,.0f} | {times[0]:.1f} | "
            f"{speeds[1]:,.0f} | {times[1]:.1f} |"
        )
    return lines


def reading_rows() -> list[str]:
    """What it takes to read without training."""
    forward = forward_flops(BIG, TOKENS)
    seconds = TOKENS * forward / (0.4 * PEAK["H100"])
    return [
        f"| weights, bfloat16 | {BIG.weights() * 2 / GIB:.1f} GiB |",
        f"| operations a token, forward | {forward / 1e9:.1f}e9 |",
        f"| seconds to read 8,192 tokens at 40% of the peak | {seconds:.2f} |",
        f"| state of a person after 8,192 tokens | {BIG.state_bytes(TOKENS) / 1e9:.2f} GB |",
    ]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Compute the rows."""
    del args
    lines = {"memory": memory_rows(), "speed": speed_rows(), "reading": reading_rows()}
    return {"basis": "computed", "rows": lines}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Every row: its first cell, and the others."""
    return [
        (what, figure)
        for lines in results["rows"].values()
        for what, figure in (line.strip("| ").split(" | ", 1) for line in lines)
    ]


if __name__ == "__main__":
    run_module()
