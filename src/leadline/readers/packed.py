"""Linear layers of a float32 reader on a CPU, computed by oneDNN on weights packed beforehand.

torch sends float32 matrix products on x86 to MKL, which does not use the vector units of AMD
processors fully; oneDNN does (see `sentence`). oneDNN lays the weights out anew in each call, up
to a fifth of the time where few tokens are read, unless they were packed once. On Intel MKL is a
few per cent ahead and stays (bench/speed/arithmetic.py). The states differ by 4e-7 of their size.
"""

from __future__ import annotations

import platform

import torch

USUAL_ROWS = 512
"""Tokens for which the layout is chosen; others are multiplied as fast in it."""


class PackedLinear(torch.nn.Module):
    """``input @ weight.T + bias`` without gradient, for a layer that only reads.

    Args:
        layer: a float32 linear layer on a CPU; its weight is not kept beside the packed one.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(
            layer.weight.detach(), USUAL_ROWS
        )
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The product, of the shape of `input` but in its last dimension."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.packed, self.bias, "none", [], ""
        )
        return out


def packing_pays(device: torch.device) -> bool:
    """Whether `device` is an x86 processor that is not Intel's, and torch was built with oneDNN."""
    maker = str(torch.cpu.get_capabilities().get("cpu_name", ""))
    return (
        device.type == "cpu"
        and platform.machine().lower() in ("x86_64", "amd64")
        and not maker.startswith("Intel")
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def pack_linear_layers(model: torch.nn.Module) -> None:
    """Replace the float32 linear layers of `model` in place; others stay as they are."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child.weight.dtype == torch.float32:
                setattr(parent, name, PackedLinear(child))
