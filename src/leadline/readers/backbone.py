"""A model's text part as it is loaded: weights, arithmetic, device, depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from leadline import silence
from leadline.errors import LeadlineError
from leadline.processes import local_rank
from leadline.readers.arithmetic import DTYPES, resolve_arithmetic
from leadline.readers.fetch import quiet_transformers
from leadline.readers.loading import NO_CODE, loading
from leadline.readers.weights import quantization, text_config, warn_of_slow_kernels

silence.stay_offline()


def default_device() -> torch.device:
    """The CUDA device of this process if there is one, else the CPU."""
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def resolve_layers(layers: Sequence[float], depth: int) -> tuple[int, ...]:
    """Layer numbers 1..depth for whole numbers and fractions of `depth`.

    The integer 1 is the first layer, the float 1.0 the last.

    Raises:
        LeadlineError: a layer beyond the model's depth.
    """
    numbers = tuple(
        max(1, round(layer * depth)) if layer < 1 or (layer == 1 and isinstance(layer, float))
        else int(layer)
        for layer in layers
    )  # fmt: skip
    if max(numbers) > depth:
        raise LeadlineError(
            f"Layer {max(numbers)} was asked for; the reader has {depth}.",
            remedy=f"Use layers up to {depth}, or fractions such as 0.67.",
        )
    return numbers


def load_backbone(
    path: Path,
    dtype: torch.dtype,
    *,
    base_weights: str = "auto",
    device: torch.device | None = None,
) -> Any:
    """The text part of a causal model without its language-model head, in eval mode.

    Of a multimodal checkpoint only the text part is loaded: no memory is taken for the rest.

    Args:
        path: the reader's directory.
        dtype: of the weights, where they are not quantised.
        base_weights: ``auto`` as they lie on disk, or ``nf4`` or ``fp8``; see `weights`.
        device: load straight to it, without a copy in the machine's memory; by default the CPU.

    Raises:
        LeadlineError: weights are missing, the layers are not where most models have them, or
            what `base_weights` takes is missing.
    """
    from transformers import AutoConfig, AutoModel

    quiet_transformers()
    with loading(path):
        config = text_config(AutoConfig.from_pretrained(path, **NO_CODE))
    warn_of_slow_kernels(config)
    options: dict[str, Any] = {"device_map": {"": device}} if device is not None else {}
    if (quantization_config := quantization(base_weights)) is not None:
        options["quantization_config"] = quantization_config
    with loading(path):
        model, report = AutoModel.from_pretrained(
            path, config=config, dtype=dtype, output_loading_info=True, **NO_CODE, **options
        )
    if report["missing_keys"] or report["mismatched_keys"]:
        raise LeadlineError(
            f"{len(report['missing_keys']) + len(report['mismatched_keys'])} weights of this "
            "reader are missing or of another shape; they would be random.",
            remedy="Fetch the reader again, or give a directory that holds the whole model.",
            file=path,
        )
    if not hasattr(model, "layers") or not hasattr(model, "norm"):
        raise LeadlineError(
            f"{type(model).__name__} is not built of layers and a final norm.",
            remedy="Use a reader of the Llama, Qwen, Mistral, SmolLM or a like architecture.",
            file=path,
        )
    return model.eval()


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a reader directory."""
    from transformers import AutoTokenizer

    with loading(path):
        return AutoTokenizer.from_pretrained(path, **NO_CODE)


def cut_above(model: Any, layer: int) -> None:
    """Remove the layers above `layer` in place, and the final norm if any was removed.

    So the model's output is what transformers calls ``hidden_states[layer]``: the bare
    output of an inner layer, the normed output of the last.
    """
    if layer < len(model.layers):
        model.layers = model.layers[:layer]
        model.config.num_hidden_layers = layer
        model.norm = torch.nn.Identity()


def pick_dtype(name: str, device: torch.device | None = None) -> torch.dtype:
    """The type that a causal reader computes in; ``auto`` is what suits `device`, or the default.

    A run keeps the arithmetic that it was trained with, so that its model meets the same states
    on every machine.
    """
    return DTYPES[resolve_arithmetic(name, device or default_device())]
