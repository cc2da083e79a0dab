"""Settings of `leadline export`."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.settings import check_choices, setting


@dataclass(frozen=True)
class ExportConfig:
    """What a run is exported to."""

    to: str = setting(
        "onnx",
        "onnx: pool and heads of a frozen run (and a sentence encoder) as graphs; vllm: a "
        "fine-tuned scalar model as vLLM's pooling runner loads it.",
        choices=("onnx", "vllm"),
    )
    members: tuple[int, ...] = setting(
        (), "Members of the ensemble to export to vllm, from 0; all by default.", least=0
    )
    dtype: str = setting(
        "float32",
        "Weights of a reader exported to vllm; bfloat16 halves them and rounds.",
        choices=("float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        check_choices(self)
