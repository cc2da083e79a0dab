"""The computed tables of docs/training.md: memory, speed and hours of a reader of 27B weights.

Nothing here is measured: it is `finetune.resources`, written out. A test compares the rows with
the page.

    python bench/training_resources.py
"""

from __future__ import annotations

from checkins import save
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
        f"| {name} | {' | '.join(f'{memory(BIG, Step(n, **more)):.0f}' for n in LENGTHS)} |"
        for name, more in kinds.items()
    ]


def speed_rows() -> list[str]:
    """Tokens a second of one H100 and hours of one epoch, by assumed utilisation."""
    rows = []
    for name, step in (
        ("LoRA, all layers", Step(TOKENS)),
        ("LoRA, top third", Step(TOKENS, top=1 / 3)),
        ("whole reader", Step(TOKENS, adapt="full")),
    ):
        each = [speed(BIG, step, share) for share in (0.25, 0.45)]
        times = [hours(PEOPLE, TOKENS, one) for one in each]
        rows.append(
            f"| {name} | {step_flops(BIG, step) / 1e9:.0f} | {each[0]:,.0f} | {times[0]:.1f} | "
            f"{each[1]:,.0f} | {times[1]:.1f} |"
        )
    return rows


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


def main() -> None:
    """Print and save the rows."""
    rows = {"memory": memory_rows(), "speed": speed_rows(), "reading": reading_rows()}
    save("training_resources", {"basis": "computed", "rows": rows})
    print("\n".join(line for part in rows.values() for line in part))


if __name__ == "__main__":
    main()
