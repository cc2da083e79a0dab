"""The layers below the adapted ones, computed once.

With LoRA on the top layers the layers below do not change and have no dropout, so their output
is the same in every epoch. It is computed before training and kept in memory; a training step
then runs through the adapted layers only. This is done where the memory allows it and where
the architecture takes hidden states in place of embeddings, which is tried, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from leadline import processes


@contextmanager
def only_layers(backbone: Any, first: int, last: int) -> Iterator[None]:
    """Let `backbone` consist of layers ``first..last-1`` while the block runs.

    Without its last layer it also goes without its final norm.
    """
    config = backbone.config
    layers, norm, depth = backbone.layers, backbone.norm, config.num_hidden_layers
    types = getattr(config, "layer_types", None)
    backbone.layers = layers[first:last]
    config.num_hidden_layers = last - first
    if last < len(layers):
        backbone.norm = nn.Identity()
    if types is not None:
        config.layer_types = list(types)[first:last]
    try:
        yield
    finally:
        backbone.layers, backbone.norm, config.num_hidden_layers = layers, norm, depth
        if types is not None:
            config.layer_types = types


def first_adapted(backbone: Any) -> int:
    """Index of the lowest layer that holds a trained parameter."""
    trained = [any(p.requires_grad for p in layer.parameters()) for layer in backbone.layers]
    return trained.index(True)


def lower_outputs(
    backbone: Any, rows: Sequence[Sequence[int]], limit: float
) -> list[Tensor] | None:
    """Output of the layers below the adapted ones, (tokens, width) on the CPU for each row.

    Args:
        backbone: the reader with its adapters, on its device.
        rows: token ids; each row is read by itself.
        limit: gigabytes that the outputs may take.

    Returns:
        None if nothing lies below, if it would take more than `limit`, or if the upper layers
        do not give the same from these outputs as from the tokens.
    """
    first, depth = first_adapted(backbone), len(backbone.layers)
    weight = backbone.embed_tokens.weight
    size = sum(map(len, rows)) * int(backbone.config.hidden_size) * weight.element_size()
    if first == 0 or size > limit * 1e9 or not rows:
        return None
    training = backbone.training
    backbone.eval()
    process_outputs: dict[int, Tensor] = {}
    with torch.no_grad(), only_layers(backbone, 0, first):
        for number, counts in processes.assigned_jobs(len(rows)):
            ids = torch.tensor([list(rows[number])], device=weight.device)
            hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
            if counts:
                process_outputs[number] = hidden[0].cpu()
    outputs = processes.gather(process_outputs, len(rows))
    same = processes.broadcast(_same(backbone, rows[0], outputs[0], (first, depth)))
    backbone.train(training)
    return outputs if same else None


@torch.no_grad()
def _same(backbone: Any, row: Sequence[int], lower: Tensor, upper: tuple[int, int]) -> bool:
    device = backbone.embed_tokens.weight.device
    full_pass = backbone(input_ids=torch.tensor([list(row)], device=device), use_cache=False)
    with only_layers(backbone, *upper):
        upper_pass = backbone(inputs_embeds=lower[None].to(device), use_cache=False)
    want, got = full_pass.last_hidden_state.float(), upper_pass.last_hidden_state.float()
    return bool((want - got).norm() <= 0.02 * want.norm())
