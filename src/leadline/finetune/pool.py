"""Pools: from turn states to one running state per reading.

A reading is (first, last): indices into the user turns, both inclusive. A pool never looks
beyond `last`, so the state of a reading is what it would be had the conversation ended there,
and the readings of one person are read off in one pass. Everything is float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inside(readings: Tensor, turns: int) -> Tensor:
    """Which turns each reading covers: bool (readings, turns)."""
    position = torch.arange(turns, device=readings.device)
    return (position >= readings[:, :1]) & (position <= readings[:, 1:])


class Pool(nn.Module):
    """A weighted mean over the turns of a reading.

    ``mean`` weighs turns alike, ``tokens`` by their number of tokens, ``last`` takes the last
    turn, ``attention`` learns what to look at: softmax of a learned direction over the turns
    (it starts as ``mean``, the direction being zero).

    Args:
        kind: one of `ADAPTED_POOLS`.
        width: numbers in a turn state.
    """

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.query = nn.Parameter(torch.zeros(width)) if kind == "attention" else None

    def weights(self, states: Tensor, tokens: Tensor, readings: Tensor) -> Tensor:
        """Weight of each turn in each reading, (readings, turns); rows sum to one."""
        covered = inside(readings, len(states))
        if self.kind == "last":
            last: Tensor = nn.functional.one_hot(readings[:, 1], len(states))
            return last.float()
        if self.query is not None:
            score = nn.functional.layer_norm(states, states.shape[-1:]) @ self.query
            scores: Tensor = (score / states.shape[-1] ** 0.5).expand(len(readings), -1)
            return scores.masked_fill(~covered, -torch.inf).softmax(dim=1)
        size = tokens.float() if self.kind == "tokens" else torch.ones_like(states[:, 0])
        weight: Tensor = covered * size
        return weight / weight.sum(dim=1, keepdim=True)

    def forward(self, states: Tensor, tokens: Tensor, readings: Tensor) -> Tensor:
        """Running states of readings.

        Args:
            states: turn states (turns, width), of one person or of several end to end.
            tokens: tokens of each turn, at least 1 (turns,).
            readings: int64 (readings, 2).

        Returns:
            float32 (readings, width).
        """
        states = states.float()
        return self.weights(states, tokens, readings) @ states
