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
    if first_adapted(backbone) == 0 or output_bytes(backbone, rows) > limit * 1e9 or not rows:
        return None
    outputs = compute_outputs(backbone, rows)
    return outputs if gives_the_same(backbone, rows[0], outputs[0]) else None


def output_bytes(backbone: Any, rows: Sequence[Sequence[int]]) -> int:
    """Bytes that the outputs of `rows` take."""
    size = int(backbone.embed_tokens.weight.element_size())
    return sum(map(len, rows)) * int(backbone.config.hidden_size) * size


@torch.no_grad()
def compute_outputs(backbone: Any, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """As `lower_outputs`, whatever it takes; the processes share the work, all get all.

    A row is read by itself, so that its output does not depend on who else is read.
    """
    device = backbone.embed_tokens.weight.device
    training = backbone.training
    backbone.eval()
    process_outputs: dict[int, Tensor] = {}
    with only_layers(backbone, 0, first_adapted(backbone)):
        for number, counts in processes.assigned_jobs(len(rows)):
            ids = torch.tensor([list(rows[number])], device=device)
            hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
            if counts:
                process_outputs[number] = hidden[0].cpu()
    backbone.train(training)
    return processes.gather(process_outputs, len(rows))


@torch.no_grad()
def gives_the_same(backbone: Any, row: Sequence[int], lower: Tensor) -> bool:
    """Whether the adapted layers give from `lower` what all layers give from the tokens."""
    training = backbone.training
    backbone.eval()
    same = _same(backbone, row, lower, (first_adapted(backbone), len(backbone.layers)))
    backbone.train(training)
    return processes.broadcast(same)


def _same(backbone: Any, row: Sequence[int], lower: Tensor, upper: tuple[int, int]) -> bool:
    device = backbone.embed_tokens.weight.device
    full_pass = backbone(input_ids=torch.tensor([list(row)], device=device), use_cache=False)
    with only_layers(backbone, *upper):
        upper_pass = backbone(inputs_embeds=lower[None].to(device), use_cache=False)
    want, got = full_pass.last_hidden_state.float(), upper_pass.last_hidden_state.float()
    return bool((want - got).norm() <= 0.02 * want.norm())
