"""Rows of bench/README.md on reading message by message, training, scoring and explanations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Found = dict[str, Any]


def scale_rows(read: Callable[[str], Found | None]) -> list[str]:
    """One row a figure: what, figure, command."""
    parts = {
        "incremental": incremental_rows,
        "multi_label_epoch": epoch_rows,
        "top_vs_all_lora": lora_rows,
        "score_ray": ray_rows,
        "score_ray_stand_in_100000": ray_rows,
        "sentence_speed": sentence_rows,
        "explanations": explanation_rows,
    }
    rows = []
    for name, make in parts.items():
        found = read(name)
        if found is not None:
            rows += [
                f"| {what} | {figure} | `{command}` |" for what, figure, command in make(found)
            ]
    return rows


def incremental_rows(found: Found) -> list[tuple[str, str, str]]:
    """Reading message by message."""
    command, equal = "python bench/incremental.py", found["equal"]
    rows = [
        (f"chunked reading against one pass, {name}",
         f"{one['largest_relative']:.1e} of the state's length at most", command)
        for name, one in equal.items()
    ]  # fmt: skip
    rows += [
        (f"40 new tokens after {one['history_tokens']:,}, SmolLM2 {kind}",
         f"{one['times_faster']:.0f} times faster than reading again "
         f"({one['read_again_seconds']:.1f} and {one['read_on_seconds']:.2f} s)", command)
        for kind, one in found["message"].items()
    ]  # fmt: skip
    return rows + [
        (f"32 people together against one by one, {name}",
         f"{one['times_less']:.2f} times less processor time", command)
        for name, one in found["batch"].items()
    ]  # fmt: skip


def epoch_rows(found: Found) -> list[tuple[str, str, str]]:
    """Several PHQ-9s of a person."""
    figure = (
        f"{found['cost_against_whole']:.3f} of four whole examples, "
        f"{found['cost_against_cut']:.3f} of four cut at their PHQ-9 (processor time)"
    )
    return [("four PHQ-9s of a person in one pass of training", figure, found["command"])]


def lora_rows(found: Found) -> list[tuple[str, str, str]]:
    """Where LoRA is put."""
    rows = []
    for name, one in found["speed"].items():
        r = found["accuracy"].get(name)
        people = f"; r {r['r']:.3f} on {r['people']} people, one epoch" if r else ""
        figure = f"{one['tokens_a_processor_second']:.0f} tokens a processor second{people}"
        rows.append((f"LoRA, {name}", figure, "python bench/top_vs_all_lora.py"))
    return rows


def ray_rows(found: Found) -> list[tuple[str, str, str]]:
    """Scoring with both engines."""
    reader = "a tiny stand-in encoder" if "--stand-in" in found["command"] else "MiniLM"
    return [
        (f"scoring {found['people']:,} people with {reader}, {name}",
         f"{found[name]['seconds']:.0f} s, {found[name]['cpu_seconds']:.0f} processor s, "
         f"{found[name]['peak_mb']:,} MB", found["command"])
        for name in ("local", "ray-2x1", "ray-1x2") if name in found
    ]  # fmt: skip


def sentence_rows(found: Found) -> list[tuple[str, str, str]]:
    """MiniLM by kernel."""
    figure = (
        f"{found['onednn_512']['tokens_per_cpu_second']:,} tokens a processor second; as torch "
        f"does it {found['torch_512']['tokens_per_cpu_second']:,}"
    )
    return [("MiniLM on one core", figure, found["command"])]


def explanation_rows(found: Found) -> list[tuple[str, str, str]]:
    """Increments against occlusion."""
    methods = found["methods"]
    figure = ", ".join(
        f"{name} {methods[name]['spearman']:.2f}"
        for name in ("increment", "occlusion", "increments of the best possible predictor")
    )
    what = f"rank correlation with the truth of a turn, {found['people']} simulated people"
    return [(what, figure, found["command"])]
