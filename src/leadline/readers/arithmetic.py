"""The arithmetic that a language model reads in: float32 or bfloat16, by what the processor has.

bfloat16 halves the time where the processor multiplies it: every GPU that is served here, Intel
and AMD with AVX-512 BF16 or AMX, Arm with BF16. Elsewhere each product is converted to float32
and back, which takes several times as long as float32 itself (bench/speed/arithmetic.py). The
two give states that differ by rounding, so the one that a model was trained with belongs to it.
"""

from __future__ import annotations

from typing import Literal

import torch

Arithmetic = Literal["float32", "bfloat16"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

BEFORE_IT_WAS_KEPT: Arithmetic = "bfloat16"
"""What ``auto`` meant on every machine when runs did not record their arithmetic."""


def default_arithmetic(device: torch.device) -> Arithmetic:
    """What ``auto`` is on `device`."""
    if device.type != "cpu" or multiplies_bfloat16():
        return "bfloat16"
    return "float32"


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that multiply bfloat16."""
    has = torch.cpu.get_capabilities()
    # AMX is of use only with its tiles, which a virtual machine may hide; "bf16" is Arm's flag.
    return bool(
        has.get("avx512_bf16") or (has.get("amx_bf16") and has.get("amx_tile")) or has.get("bf16")
    )


def resolve_arithmetic(name: str, device: torch.device) -> str:
    """The arithmetic called `name`, where ``auto`` is the one that suits `device`."""
    return default_arithmetic(device) if name == "auto" else name
