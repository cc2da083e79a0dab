"""What a causal model keeps of a text it has read: memories of one person, batches of many.

An attention layer keeps keys and values of every token, a gated-delta layer (Qwen3.5) its
convolution's last inputs and one fixed-size state. A `Memory` holds them for one person. A
`BatchCache` lends the memories of several people to one forward pass of transformers' own model
code and gives back what they are afterwards.

New tokens of a batch are padded on the right, not on the left as is usual: the convolution of a
gated-delta layer must see the first new token right after the last old one. Keys and values of
unequal length are lined up at the left; a mask of four dimensions hides what lies between old
and new. A gated-delta layer would still let its state decay at the padding, so `no_decay` closes
its two gates there, which leaves the state as it is, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    LinearAttentionLayer,
)

from leadline.errors import LeadlineError

GATES = ("in_proj_a", "in_proj_b", "in_proj_ba")

CLOSED = -1e4  # softplus and sigmoid of it are exactly 0 in float32


class KeyValues:
    """Keys and values of one attention layer for one person, with room to grow.

    Tokens are only ever appended. Appending anywhere but at the end copies first, so a memory
    that was continued once can be continued again from the same place.

    Args:
        data: (2, heads, room, width); the first `used` tokens are filled.
        used: tokens held.
    """

    def __init__(self, data: Tensor, used: int) -> None:
        self.data, self.used = data, used

    def append(self, at: int, keys: Tensor, values: Tensor) -> KeyValues:
        """With the keys and values (heads, tokens, width) of new tokens after the first `at`."""
        end = at + keys.shape[1]
        same = self if at == self.used and end <= self.data.shape[2] else self._copied(at, end)
        same.data[0, :, at:end] = keys
        same.data[1, :, at:end] = values
        same.used = end
        return same

    def _copied(self, at: int, end: int) -> KeyValues:
        _, heads, _, width = self.data.shape
        data = self.data.new_empty(2, heads, end + end // 4, width)
        data[:, :, :at] = self.data[:, :, :at]
        return KeyValues(data, at)

    @classmethod
    def of(cls, keys: Tensor, values: Tensor) -> KeyValues:
        """Of the first tokens, keys and values (heads, tokens, width); they are copied."""
        return cls(torch.stack([keys, values]), keys.shape[1])


@dataclass(frozen=True)
class Recurrent:
    """State of one gated-delta layer for one person.

    Attributes:
        conv: the convolution's last inputs, (channels, kernel), in the model's arithmetic.
        state: (heads, key width, value width), float32.
    """

    conv: Tensor
    state: Tensor


Layer = KeyValues | Recurrent


@dataclass(frozen=True)
class Memory:
    """What a model keeps of one person: the tokens read since the pass began, by layer."""

    tokens: int
    layers: tuple[Layer, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Name -> tensor without the room to grow; the inverse of `restore_memory`."""
        out: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers):
            if isinstance(layer, KeyValues):
                out[f"{number}.keys"] = layer.data[0, :, : self.tokens]
                out[f"{number}.values"] = layer.data[1, :, : self.tokens]
            else:
                out[f"{number}.conv"], out[f"{number}.state"] = layer.conv, layer.state
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes, room to grow included."""
        parts = [
            (layer.data,) if isinstance(layer, KeyValues) else (layer.conv, layer.state)
            for layer in self.layers
        ]
        return sum(x.nbytes for part in parts for x in part)


def restore_memory(tokens: int, tensors: dict[str, Tensor]) -> Memory:
    """The inverse of `Memory.tensors`.

    Raises:
        KeyError: a tensor is missing.
        ValueError: a tensor has another length.
    """
    layers: list[Layer] = []
    while any(name.startswith(f"{len(layers)}.") for name in tensors):
        number = len(layers)
        if f"{number}.keys" in tensors:
            keys, values = tensors[f"{number}.keys"], tensors[f"{number}.values"]
            if keys.shape[1] != tokens or values.shape != keys.shape:
                raise ValueError("keys of another length")
            layers.append(KeyValues.of(keys, values))
        else:
            layers.append(Recurrent(tensors[f"{number}.conv"], tensors[f"{number}.state"]))
    return Memory(tokens, tuple(layers))


def check_layers(model: Any) -> None:
    """Raise `LeadlineError` unless a running reader knows how each layer of `model` remembers."""
    continuable_kinds = {DynamicLayer, LinearAttentionLayer}
    kinds = [type(layer) for layer in DynamicCache(config=model.config).layers]
    kinds = kinds[: len(model.layers)]
    gated = sum(bool(_gates(layer)) for layer in model.layers)
    if not set(kinds) <= continuable_kinds or gated < kinds.count(LinearAttentionLayer):
        raise LeadlineError(
            f"A running reader does not know how {type(model).__name__} remembers.",
            remedy="Use a reader with full attention or gated-delta layers, such as SmolLM2 or "
            "Qwen3.5, or score whole conversations with leadline score.",
        )


def _gates(layer: Any) -> list[Any]:
    return [part for name, part in layer.named_modules() if name.rsplit(".", 1)[-1] in GATES]


class _AttentionRows(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One attention layer of several people during one forward pass."""

    def __init__(self, rows: Sequence[Layer | None], old: Sequence[int], new: Sequence[int]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows, self.old, self.new = list(rows), old, new

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to prepare."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep each person's new tokens; keys and values (people, heads, old + new, width)."""
        for row, (old, new) in enumerate(zip(self.old, self.new, strict=True)):
            layer, keys, values = (
                self.rows[row],
                key_states[row, :, :new],
                value_states[row, :, :new],
            )
            assert not isinstance(layer, Recurrent)
            self.rows[row] = (
                KeyValues.of(keys, values) if layer is None else layer.append(old, keys, values)
            )
        longest = max(self.old)
        if longest == 0:
            return key_states, value_states
        if len(self.rows) == 1:
            (only,) = self.rows
            assert isinstance(only, KeyValues)
            key_values = only.data[:, None, :, : only.used]
            return key_values[0], key_values[1]
        return self._lined_up(longest, key_states, value_states)

    def _lined_up(self, longest: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        count, heads, new, width = keys.shape
        # Zeros, not whatever lay there: what the mask hides must still be a number.
        out = keys.new_zeros(2, count, heads, longest + new, width)
        for row, (layer, old) in enumerate(zip(self.rows, self.old, strict=True)):
            assert isinstance(layer, KeyValues)
            out[:, row, :, :old] = layer.data[:, :, :old]
        out[0, :, :, longest:], out[1, :, :, longest:] = keys, values
        return out[0], out[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys."""
        return max(self.old) + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens of the longest memory."""
        return max(self.old)

    def get_max_length(self) -> int:
        """No maximum."""
        return -1

    def kept(self, row: int) -> Layer:
        """What this person's layer is after the pass."""
        layer = self.rows[row]
        assert layer is not None, "the forward pass went through every layer"
        return layer


class _RecurrentRows(LinearAttentionLayer):
    """One gated-delta layer of several people during one forward pass.

    Someone who is read for the first time has zeros for a state, which is what no state means.
    """

    def __init__(self, rows: Sequence[Layer | None], new: Sequence[int]):
        super().__init__()
        self.new = new
        recurrents = [row for row in rows if isinstance(row, Recurrent)]
        if not recurrents:
            return
        example = recurrents[0]
        blank = Recurrent(torch.zeros_like(example.conv), torch.zeros_like(example.state))
        full = [row if isinstance(row, Recurrent) else blank for row in rows]
        self.conv_states[0] = torch.stack([row.conv for row in full])
        self.recurrent_states[0] = torch.stack([row.state for row in full])
        self.is_conv_states_initialized[0] = self.is_recurrent_states_initialized[0] = True
        self.has_previous_state[0] = True
        self.conv_kernel_size[0] = example.conv.shape[-1]

    def update_conv_state(
        self,
        conv_states: Tensor,
        state_idx: int = 0,
        conv_kernel_size: int | None = None,
        **options: Any,
    ) -> Tensor:
        """As in transformers, but each person keeps the inputs before their own padding."""
        full: Tensor = super().update_conv_state(
            conv_states, state_idx, conv_kernel_size=conv_kernel_size, **options
        )
        kernel: Any = self.conv_kernel_size[0]
        before = full.shape[-1] - conv_states.shape[-1]
        wide = torch.nn.functional.pad(full, (kernel, 0))
        ends = [before + new for new in self.new]
        self.conv_states[0] = torch.stack(
            [wide[row, :, end : end + kernel] for row, end in enumerate(ends)]
        )
        return full

    def kept(self, row: int) -> Layer:
        """What this person's layer is after the pass."""
        conv, state = self.conv_states[0], self.recurrent_states[0]
        assert conv is not None and state is not None, "the forward pass went through every layer"  # noqa: PT018
        return Recurrent(conv[row].clone(), state[row].clone())


class BatchCache(Cache):
    """The memories of several people as transformers' cache of one forward pass.

    Args:
        memories: of each person; None for someone read from the start.
        new: how many tokens each person gets.
        model: whose layers they are; it passed `check_layers`.
    """

    def __init__(self, memories: Sequence[Memory | None], new: Sequence[int], model: Any) -> None:
        self.old = [memory.tokens if memory is not None else 0 for memory in memories]
        self.new = list(new)
        self.device = model.embed_tokens.weight.device
        self.recurrent = [bool(_gates(layer)) for layer in model.layers]
        layers: list[_AttentionRows | _RecurrentRows] = []
        for number, recurrent in enumerate(self.recurrent):
            rows = [None if memory is None else memory.layers[number] for memory in memories]
            layers.append(
                _RecurrentRows(rows, self.new)
                if recurrent
                else _AttentionRows(rows, self.old, self.new)
            )
        self.kept = layers
        super().__init__(layers=list(layers))

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Tokens of the longest memory; transformers asks attention layers only."""
        return max(self.old)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:  # noqa: ARG002
        """Length and offset of the keys."""
        return max(self.old) + query_length, 0

    def inputs(self) -> dict[str, Any]:
        """What the forward pass needs besides the tokens: cache, positions, mask."""
        old = torch.tensor(self.old, device=self.device)
        steps = torch.arange(max(self.new), device=self.device)
        return {
            "past_key_values": self,
            "use_cache": True,
            "position_ids": old[:, None] + steps,
            "attention_mask": self._mask(old, steps),
        }

    def _mask(self, old: Tensor, steps: Tensor) -> Tensor | None:
        """Bool (people, 1, new, old + new); None where causality alone is right."""
        longest = max(self.old)
        if longest == 0 or len(self.old) == 1:
            return None
        count, new = len(self.old), len(steps)
        cached = torch.arange(longest, device=self.device) < old[:, None]
        causal = steps <= steps[:, None]
        return torch.cat(
            [cached[:, None].expand(count, new, longest), causal.expand(count, new, new)], dim=2
        )[:, None]

    def memories(self) -> list[Memory]:
        """The memory of each person after the forward pass."""
        return [
            Memory(old + new, tuple(layer.kept(row) for layer in self.kept))
            for row, (old, new) in enumerate(zip(self.old, self.new, strict=True))
        ]


@contextmanager
def no_decay(model: Any, new: Sequence[int]) -> Iterator[None]:
    """Keep gated-delta states as they are at the padding of rows with `new` own tokens."""
    gates = [gate for layer in model.layers for gate in _gates(layer)]
    if not gates or min(new) == max(new):
        yield
        return
    device = model.embed_tokens.weight.device
    padding = torch.arange(max(new), device=device) >= torch.tensor(new, device=device)[:, None]

    def close(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        return output.masked_fill(padding[:, :, None], CLOSED)

    hooks = [gate.register_forward_hook(close) for gate in gates]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
