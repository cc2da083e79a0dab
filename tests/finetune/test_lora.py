"""Adapters: peft's, and the same in a processor's arithmetic."""

from __future__ import annotations

import pytest
import torch

from leadline.finetune.config import FinetuneConfig
from leadline.finetune.lora import AdaptedLinear, _mask
from leadline.finetune.module import build


def adapted_layer(path, dropout):
    config = FinetuneConfig(top=0.5, dropout=dropout)
    backbone = build(path, config, torch.device("cpu")).backbone
    layers = [layer for layer in backbone.layers.modules() if hasattr(layer, "lora_A")]
    generator = torch.Generator().manual_seed(1)
    for layer in layers:
        weight = layer.lora_B["default"].weight
        weight.data = torch.randn(weight.shape, generator=generator) * 0.1
    return layers[-1]


def gradients(layer, forward, x):
    x = x.clone().requires_grad_()
    layer.zero_grad()
    out = forward(x)
    (out.float() * torch.linspace(-1, 1, out.shape[-1])).sum().backward()
    return [
        out,
        x.grad,
        *(layer.get_parameter(f"lora_{name}.default.weight").grad for name in "AB"),
    ]


def test_outputs_and_gradients_are_those_of_peft(path):
    layer = adapted_layer(path, dropout=0.0)
    x = torch.randn(3, 5, layer.in_features, generator=torch.Generator().manual_seed(2)).bfloat16()
    ours, theirs = (gradients(layer, f, x) for f in (layer, type(layer).forward.__get__(layer)))
    for got, want in zip(ours, theirs, strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        assert (got - want).float().norm() <= 0.01 * want.float().norm()


def test_gradients_are_those_of_the_dropped_inputs():
    generator = torch.Generator().manual_seed(3)
    x, weight = (torch.randn(n, 8, generator=generator).bfloat16() for n in (6, 4))
    a, b = torch.randn(2, 8, generator=generator), torch.randn(4, 2, generator=generator)
    scale, share = 0.5, 0.3
    torch.manual_seed(9)
    mask, kept = _mask(x, share)
    parts = [t.clone().requires_grad_() for t in (x, a, b)]
    torch.manual_seed(9)
    got = AdaptedLinear.apply(parts[0], (weight, None), *parts[1:], scale, share)
    plain = [t.float().clone().requires_grad_() for t in (x, a, b)]
    dropped = plain[0] * (mask != 0) / kept
    want = plain[0] @ weight.float().T + scale * dropped @ plain[1].T @ plain[2].T
    for out in (got, want):
        (out.float() ** 2).sum().backward()
    assert (got.float() - want).norm() <= 0.02 * want.norm()
    for ours, theirs in zip(parts, plain, strict=True):
        assert (ours.grad.float() - theirs.grad).norm() <= 0.03 * theirs.grad.norm()


@pytest.mark.parametrize("dropout", [0.001, 0.05, 0.5])
def test_the_dropout_drops_its_share(dropout):
    x = torch.ones(400, 301).bfloat16()
    torch.manual_seed(0)
    mask, kept = _mask(x, dropout)
    assert abs(1 - kept - dropout) <= 1 / 256
    assert abs(float((mask != 0).float().mean()) - kept) < 0.005
    assert set(mask.unique().tolist()) <= {0, -1}


def test_dropout_is_of_training_only(path):
    layer = adapted_layer(path, dropout=0.5)
    x = torch.randn(4, layer.in_features).bfloat16()
    layer.train()
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
