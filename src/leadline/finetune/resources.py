"""What a reader takes: weights, memory of a training step, arithmetic a token, hours.

Arithmetic from the shape of the model, none of it measured on a GPU. The recipes' computed
figures come from here and a test compares them. Conventions:

- Floating-point operations count a multiplication and an addition as two (Kaplan et al., arXiv
  2001.08361): a weight costs 2 a token forward and 2 for the gradient of its input; a trained
  weight 2 more for its own gradient, which LoRA's frozen base does not need. Recomputing a layer
  costs its forward pass again.
- `utilisation` is the share of the device's peak that these operations are (hardware FLOPs
  utilisation). Model FLOPs utilisation leaves recomputation out (Chowdhery et al., arXiv
  2204.02311); for LoRA with recomputation it is two thirds of it.
- A causal token looks back at half the context on average. The recurrence of a gated-delta layer
  in its chunked form (Yang et al., arXiv 2412.06464) is under 1% and counted.
- GiB is 2**30 bytes, weights are counted exactly, activations by what a layer keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

GIB = 2**30

CHUNK = 64  # tokens of a chunk of the gated-delta recurrence

BYTES = {"auto": 2.0, "fp8": 1 + 4 / 128**2, "nf4": 0.5 + 0.127 / 8}
"""Bytes a weight of a linear layer: bfloat16; 8 bits and a scale for 128 x 128; 4 bits and
.127 bits of doubly quantised scales (Dettmers et al., arXiv 2305.14314)."""

OVERHEAD = 1.5 * GIB
"""The device's context, workspaces of the kernels and what the allocator cannot use; a guess."""

ADAPTER_BYTES = 16  # a trained weight: itself, its gradient and two moments, float32

PEAK = {"H100": 989e12, "A100": 312e12, "L40S": 362e12}
"""Dense bfloat16 operations a second that the maker states."""

DEVICE_GIB = {"H100": 79.6, "A100": 79.3, "L40S": 44.5}


@dataclass(frozen=True)
class Shape:
    """A causal language model as far as its costs go; `of` reads it off a configuration.

    Attributes:
        hidden: width of the residual stream.
        full: layers of full attention.
        gated: gated-delta layers, 0 in an ordinary transformer.
        ffn: inner width of the feed-forward block.
        query: heads times head width of the queries.
        key: heads times head width of the keys, and of the values.
        gate: True where the query projection also gives a gate.
        delta_key: key heads times width of a gated-delta layer.
        delta_value: value heads times width of a gated-delta layer.
        delta_heads: value heads of a gated-delta layer.
        vocabulary: tokens.
        normed: True where queries and keys are normed, head by head.
        head: width of an attention head.
    """

    hidden: int
    full: int
    gated: int
    ffn: int
    query: int
    key: int
    gate: bool
    delta_key: int
    delta_value: int
    delta_heads: int
    vocabulary: int
    normed: bool
    head: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape of a transformers text configuration of Llama's or Qwen3.5's kind."""
        kinds = getattr(config, "layer_types", None) or ["full_attention"]
        gated = sum(kind == "linear_attention" for kind in kinds)
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        hybrid = gated > 0
        value_heads = config.linear_num_value_heads if hybrid else 0
        return cls(
            hidden=config.hidden_size,
            full=config.num_hidden_layers - gated,
            gated=gated,
            ffn=config.intermediate_size,
            query=config.num_attention_heads * head,
            key=config.num_key_value_heads * head,
            gate=hybrid,
            delta_key=config.linear_num_key_heads * config.linear_key_head_dim if hybrid else 0,
            delta_value=value_heads * config.linear_value_head_dim if hybrid else 0,
            delta_heads=value_heads,
            vocabulary=config.vocab_size,
            normed=hybrid,
            head=head,
        )

    @property
    def depth(self) -> int:
        """Layers."""
        return self.full + self.gated

    def projections(self) -> dict[str, list[tuple[int, int]]]:
        """Inputs and outputs of the linear layers that LoRA adapts, by kind of layer."""
        mlp = [(self.hidden, self.ffn)] * 2 + [(self.ffn, self.hidden)]
        queries = self.query * (2 if self.gate else 1)
        return {
            "full": [(self.hidden, queries), (self.hidden, self.key), (self.hidden, self.key),
                     (self.query, self.hidden), *mlp],
            "gated": [(self.hidden, 2 * self.delta_key + self.delta_value),
                      (self.hidden, self.delta_value), (self.delta_value, self.hidden), *mlp],
        }  # fmt: skip

    def count(self, kind: str) -> int:
        """Layers of a kind of `projections`."""
        return self.full if kind == "full" else self.gated

    def linear_weights(self) -> int:
        """Weights of the linear layers that may be quantised."""
        return sum(
            self.count(kind) * sum(a * b for a, b in pairs)
            for kind, pairs in self.projections().items()
        )

    def other_weights(self) -> int:
        """Embeddings, norms, and the small parts of gated-delta layers."""
        norms = self.depth * 2 * self.hidden + self.hidden
        if self.normed:
            norms += self.full * 2 * self.head
        mixed = 2 * self.delta_key + self.delta_value
        head = self.delta_value // self.delta_heads if self.delta_heads else 0
        small = 2 * self.hidden * self.delta_heads + 4 * mixed + 2 * self.delta_heads + head
        return self.vocabulary * self.hidden + norms + self.gated * small

    def weights(self) -> int:
        """All weights of the text part, without a language-model head."""
        return self.linear_weights() + self.other_weights()

    def lora_weights(self, rank: int, top: float) -> int:
        """Weights of LoRA adapters of this rank on the top share of the layers."""
        layer_weights = {
            kind: sum(rank * (a + b) for a, b in pairs)
            for kind, pairs in self.projections().items()
        }
        all_layers = sum(self.count(kind) * value for kind, value in layer_weights.items())
        return round(all_layers * adapted_layers(self.depth, top) / self.depth)

    def state_bytes(self, tokens: int) -> int:
        """What reading goes on from: keys and values in bfloat16, and the recurrent states.

        A gated-delta layer keeps a float32 matrix a head and four columns of its convolution.
        """
        per_token = self.full * 2 * self.key * 2
        head = self.delta_value // self.delta_heads if self.delta_heads else 0
        matrix = self.delta_heads * head * head * 4
        columns = (2 * self.delta_key + self.delta_value) * 4 * 2
        return tokens * per_token + self.gated * (matrix + columns)

    def cut(self, share: float) -> Shape:
        """The layers read, from the bottom; full attention comes last of each group of layers."""
        read = max(1, round(share * self.depth))
        full = self.full * read // self.depth
        return replace(self, full=full, gated=read - full)


SHAPES = {
    "smollm2": Shape(576, 30, 0, 1536, 576, 192, False, 0, 0, 0, 49152, False, 64),
    "qwen3.5-0.8b": Shape(
        1024, 6, 18, 3584, 2048, 512, True, 2048, 2048, 16, 248320, True, 256
    ),
    "qwen3.5-27b": Shape(
        5120, 16, 48, 17408, 6144, 1024, True, 2048, 6144, 48, 248320, True, 256
    ),
}  # fmt: skip


def adapted_layers(depth: int, top: float) -> int:
    """Layers that LoRA adapts, as `lora.add_lora` rounds them."""
    return max(1, round(depth * top))


@dataclass(frozen=True)
class Step:
    """How one training step is computed, as far as its costs go.

    Attributes:
        tokens: of one person, in one row.
        rows: rows in one forward pass on one device.
        top: share of the layers that LoRA adapts, from the top; 1.0 for a whole reader.
        adapt: ``lora`` or ``full``.
        rank: of LoRA.
        checkpointing: ``none``, ``recompute`` or ``offload``.
        base_weights: ``auto`` (bfloat16), ``fp8`` or ``nf4``.
        shards: devices that the weights are divided among.
    """

    tokens: int
    rows: int = 1
    top: float = 1.0
    adapt: str = "lora"
    rank: int = 16
    checkpointing: str = "recompute"
    base_weights: str = "auto"
    shards: int = 1


def layer_bytes(shape: Shape, step: Step) -> float:
    """What one layer keeps a token for its own backward pass, the mean over the kinds of layers.

    bfloat16: the two normed inputs and two sums (4 x hidden), gate, up, their activation and
    product (4 x ffn), the projections of the mixer and what it gives (3 x and 2 x their width).
    LoRA: a float32 copy and a dropout mask, 5 bytes, of the input of each adapted projection.
    """
    total = 0.0
    for kind, pairs in shape.projections().items():
        mixed = sum(b for _, b in pairs[: -3 - 1])  # what the projections into the mixer give
        mixer_output = pairs[-4][0]
        token_bytes = 2 * (4 * shape.hidden + 4 * shape.ffn + 3 * mixed + 2 * mixer_output)
        if step.adapt == "lora":
            token_bytes += 5 * sum(a for a, _ in pairs)
        total += shape.count(kind) * token_bytes
    return total / shape.depth


def base_bytes(shape: Shape, step: Step) -> float:
    """The weights on one device, with gradients and moments where the whole reader is trained."""
    if step.adapt == "full":
        return shape.weights() * ADAPTER_BYTES / step.shards
    linear = shape.linear_weights() * BYTES[step.base_weights]
    adapters = shape.lora_weights(step.rank, step.top) * ADAPTER_BYTES
    return (linear + 2 * shape.other_weights() + adapters) / step.shards


def gathered_bytes(shape: Shape, step: Step) -> float:
    """Two layers and the embedding in bfloat16, whole while they compute, where divided."""
    if step.shards == 1:
        return 0.0
    return 2 * (2 * shape.linear_weights() / shape.depth + shape.vocabulary * shape.hidden)


def activation_bytes(shape: Shape, step: Step) -> float:
    """Activations on the device at the peak of a step.

    With ``recompute`` the inputs of the adapted layers wait (2 x hidden bytes a token each), and
    one layer at a time is computed again; ``offload`` lets the inputs wait elsewhere.
    """
    layers = adapted_layers(shape.depth, step.top) if step.adapt == "lora" else shape.depth
    inputs = 2 * shape.hidden * layers
    one_layer = layer_bytes(shape, step)
    token_bytes = {
        "none": layers * one_layer,
        "recompute": inputs + one_layer,
        "offload": one_layer,
    }[step.checkpointing]
    return token_bytes * step.tokens * step.rows


def memory(shape: Shape, step: Step) -> float:
    """Peak memory of a training step on one device, GiB."""
    parts = (base_bytes, gathered_bytes, activation_bytes)
    return (sum(part(shape, step) for part in parts) + OVERHEAD) / GIB


def forward_flops(shape: Shape, tokens: int) -> float:
    """Operations of one forward pass a token, at a context of this length."""
    attention = shape.full * 4 * (tokens / 2) * shape.query
    head = shape.delta_value // shape.delta_heads if shape.delta_heads else 0
    recurrence = shape.gated * shape.delta_heads * (6 * head * head + 6 * CHUNK * head)
    small = shape.gated * 2 * 2 * shape.hidden * shape.delta_heads
    return 2 * shape.linear_weights() + attention + recurrence + small


def step_flops(shape: Shape, step: Step, *, recomputation: bool = True) -> float:
    """Operations of a training step a token: forward, backward, and recomputation if counted.

    Layers below the adapted ones cost their forward pass alone.
    """
    forward = forward_flops(shape, step.tokens)
    share = adapted_layers(shape.depth, step.top) / shape.depth if step.adapt == "lora" else 1.0
    passes = 1.0 if step.adapt == "lora" else 2.0
    again = 1.0 if recomputation and step.checkpointing != "none" else 0.0
    return forward * (1 + share * (passes + again))


def speed(shape: Shape, step: Step, utilisation: float, device: str = "H100") -> float:
    """Tokens a second of one device that does this share of its peak."""
    return PEAK[device] * utilisation / step_flops(shape, step)


def utilisation(
    shape: Shape, step: Step, tokens_a_second: float, device: str = "H100"
) -> dict[str, float]:
    """Share of one device's peak that a measured speed is, with and without recomputation."""
    return {
        name: tokens_a_second * step_flops(shape, step, recomputation=counted) / PEAK[device]
        for name, counted in (("hardware", True), ("model", False))
    }


def hours(people: int, tokens: int, tokens_a_second: float, epochs: float = 1.0) -> float:
    """Hours to read `people` of `tokens` tokens each, `epochs` times."""
    return people * tokens * epochs / tokens_a_second / 3600
