"""LoRA on the top layers: peft's adapters, and a processor's arithmetic for them.

The adapters are peft's (arXiv 2106.09685). On a processor, peft's float32 arithmetic on a base in
bfloat16 costs several times what the base costs: conversions, sums of mixed types and the random
numbers of the dropout. There the adapters compute in bfloat16, as the base does and as autocast
would have it, on weights that stay float32; and the dropout draws one byte a number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import LeadlineError, missing_package
from leadline.finetune.config import FinetuneConfig

TARGETS = (
    "q_proj", "k_proj", "v_proj", "o_proj",
    "in_proj_qkv", "in_proj_z", "out_proj",
    "gate_proj", "up_proj", "down_proj",
)  # fmt: skip


def add_lora(backbone: Any, config: FinetuneConfig) -> None:
    """Adapters on the top layers of `backbone`, in place; all else is frozen.

    Raises:
        LeadlineError: peft is absent, or no layer has a name that LoRA knows.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise missing_package("peft", "models", "LoRA") from error
    present = {name.rsplit(".", 1)[-1] for name, _ in backbone.layers.named_modules()}
    targets = [name for name in TARGETS if name in present]
    if not targets:
        raise LeadlineError(
            "This reader has none of the layers that LoRA knows by name.",
            remedy="Use --adapt full, or frozen.",
        )
    depth = len(backbone.layers)
    adapted = max(1, round(depth * config.top))
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        layers_to_transform=list(range(depth - adapted, depth)),
        layers_pattern="layers",
    )
    inject_adapter_in_model(lora, backbone)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()
    if not config.shard:
        for layer in backbone.layers.modules():
            if hasattr(layer, "lora_A"):
                layer.forward = partial(forward, layer, layer.forward)


def forward(layer: Any, peft_forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The output of an adapted linear layer; `peft_forward` is peft's own forward."""
    base = layer.base_layer
    bfloat16 = x.dtype == base.weight.dtype == torch.bfloat16
    if not (bfloat16 and x.device.type == "cpu" and type(base) is nn.Linear):
        return peft_forward(x)
    dropout = layer.lora_dropout["default"]
    share = dropout.p if isinstance(dropout, nn.Dropout) and layer.training else 0.0
    out: Tensor = AdaptedLinear.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]),
        (base.weight, base.bias),
        layer.lora_A["default"].weight,
        layer.lora_B["default"].weight,
        layer.scaling["default"],
        share,
    )
    return out.reshape(*x.shape[:-1], out.shape[-1])


class AdaptedLinear(torch.autograd.Function):
    """``x W' + b + scale dropout(x) A' B'`` in bfloat16, with the gradients of x, A and B.

    x is (n, in), A (rank, in) and B (out, rank); A and B, and their gradients, are float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base: tuple[Tensor, Tensor | None],
        a: Tensor,
        b: Tensor,
        scale: float,
        dropout: float,
    ) -> Tensor:
        """Called by autograd."""
        weight, bias = base
        mask, kept_share = _mask(x, dropout) if dropout else (None, 1.0)
        dropped = x if mask is None else (x.view(torch.int16) & mask).view(torch.bfloat16)
        down, up = (a / kept_share).bfloat16(), (scale * b).bfloat16()
        inner = dropped @ down.T
        ctx.save_for_backward(dropped, mask, inner, down, up, weight)
        ctx.scale, ctx.kept_share = scale, kept_share
        return torch.addmm(nn.functional.linear(x, weight, bias), inner, up.T)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Called by autograd."""
        dropped, mask, inner, down, up, weight = ctx.saved_tensors
        grad_inner = grad @ up
        grad_a = (grad_inner.T @ dropped).float() / ctx.kept_share
        grad_b = (inner.T @ grad).T.float() * ctx.scale
        grad_x = None
        if ctx.needs_input_grad[0]:
            through = grad_inner @ down
            if mask is not None:
                through.view(torch.int16).bitwise_and_(mask)
            grad_x = torch.addmm(through, grad, weight)
        return grad_x, None, grad_a, grad_b, None, None


def _mask(x: Tensor, dropout: float) -> tuple[Tensor, float]:
    """All bits for what is kept and none for what is dropped, int16 as `x`; the share kept.

    The share that is dropped is a multiple of 1/256, so that one random byte decides.
    """
    levels = min(255, max(1, round(256 * dropout)))
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    bytes_ = draws.view(torch.int8)[: x.numel()].view(x.shape)
    ones = (bytes_ >= levels - 128).view(torch.int8)
    return ones.neg_().to(torch.int16), 1 - levels / 256
