"""In which form the weights of the base lie, and whether the device has the kernels it needs.

LoRA leaves the base as it is, so the base may lie in fewer bits: `nf4` (bitsandbytes, 4 bits;
Dettmers et al., arXiv 2305.14314) or `fp8` (blocks of 128 x 128 with a scale each, as
DeepSeek-V3 stores them). The two small projections of a gated-delta layer that give its decay
and its step size stay in bfloat16: they feed an exponential. The quantizers are those of
transformers. What is missing for them is said before a file is read.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import torch

from leadline.errors import LeadlineError, LeadlineWarning

UNTOUCHED = ["in_proj_a", "in_proj_b"]

FP8_CAPABILITY = (8, 9)

FAST = {"fla": "flash-linear-attention", "causal_conv1d": "causal-conv1d"}


class SlowKernelsWarning(LeadlineWarning):
    """The device computes a layer by its slow reference."""


def quantization(kind: str) -> Any:
    """What `from_pretrained` takes as ``quantization_config``; None where nothing is converted.

    Args:
        kind: ``auto`` (as the checkpoint has it), ``nf4`` or ``fp8``.

    Raises:
        LeadlineError: the package or the hardware that it takes is missing.
    """
    if kind == "auto":
        return None
    if kind == "nf4":
        _need("bitsandbytes", "bitsandbytes>=0.50", "--base-weights nf4")
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=UNTOUCHED,
        )
    _need_fp8_device()
    _need("kernels", "kernels", "--base-weights fp8")
    from transformers import FineGrainedFP8Config

    return FineGrainedFP8Config(modules_to_not_convert=UNTOUCHED)


def _need(module: str, package: str, what: str) -> None:
    if find_spec(module) is None:
        raise LeadlineError(
            f"{what} needs the package {module}, which is not installed.",
            remedy=f"Install it with: pip install '{package}'; or use --base-weights auto.",
        )


def _need_fp8_device() -> None:
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    if capability is None or capability < FP8_CAPABILITY:
        here = (
            "there is no CUDA device"
            if capability is None
            else f"this one has {capability[0]}.{capability[1]}"
        )
        raise LeadlineError(
            f"--base-weights fp8 needs a GPU of compute capability 8.9 or more; {here}.",
            remedy="Use an H100, L40 or newer, or --base-weights auto or nf4.",
        )


def text_config(config: Any) -> Any:
    """The text part of a model's configuration, with how its weights are quantised.

    A multimodal checkpoint says that at its top, where the text part does not look: its
    8-bit numbers would be read as if they were the weights.
    """
    text = config.get_text_config()
    outer = getattr(config, "quantization_config", None)
    if outer is not None and getattr(text, "quantization_config", None) is None:
        text.quantization_config = outer
    return text


def warn_of_slow_kernels(config: Any) -> None:
    """Warn if a gated-delta model is about to run on a GPU without the kernels made for it."""
    kinds = getattr(config, "layer_types", None) or ()
    if "linear_attention" not in kinds or not torch.cuda.is_available():
        return
    missing = [package for module, package in FAST.items() if find_spec(module) is None]
    if missing:
        warnings.warn(
            f"{' and '.join(missing)} not installed: {sum(k == 'linear_attention' for k in kinds)} "
            f"of the {len(kinds)} layers of this reader run by a slow reference in PyTorch. The "
            "estimates are the same; expect training to take about twice the time, and more "
            "memory. Install with: pip install 'leadline[gpu]'",
            SlowKernelsWarning,
            stacklevel=3,
        )
