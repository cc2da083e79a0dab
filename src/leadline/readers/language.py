"""A causal language model that reads conversations.

`LMReader` runs the model over the conversation once, left to right. The state of a user turn is
the mean (or the last) of the hidden states of that turn's own tokens at chosen layers, in the
context of everything said before it.

Batches are padded on the right and have no attention mask: behind a causal model nothing looks
at what follows, so the padding changes no state, and the fast attention path stays on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leadline.arrays import States
from leadline.progress import Advance, tokens_read
from leadline.readers.backbone import (
    cut_above,
    default_device,
    load_backbone,
    load_tokenizer,
    pick_dtype,
    resolve_layers,
)
from leadline.readers.batching import TokenRow, batches, join_pieces, pad_right
from leadline.readers.config import ReaderConfig
from leadline.readers.fetch import reader_path, reader_revision
from leadline.readers.packed import pack_linear_layers, packing_pays
from leadline.readers.protocol import Conversation, reader_identity
from leadline.readers.tokens import Tokens, chat_template, plan_passes

CPU_BATCH = 768
"""Tokens that a processor reads at once, at most: what more of them compute between two layers
leaves its cache. With 4096 it is 1.3 to 1.6 times as slow (bench/speed/arithmetic.py)."""


class LMReader:
    """Reads conversations with a causal language model.

    Args:
        name: a fetched reader or a local model directory.
        config: layers, turn state, context budget, arithmetic.
        device: where to run; by default a GPU if there is one.
        home: where fetched readers are kept, see `fetch.leadline_home`.

    Raises:
        LeadlineError: the reader is not on this machine, or a layer is beyond its depth.
    """

    contextual = True

    def __init__(
        self,
        name: str,
        config: ReaderConfig | None = None,
        *,
        device: torch.device | None = None,
        home: Path | None = None,
    ) -> None:
        self.config = config or ReaderConfig()
        self.device = device or default_device()
        path = reader_path(name, home=home)
        self.revision = reader_revision(path)
        self.dtype = pick_dtype(self.config.dtype, self.device)
        self.model = load_backbone(path, self.dtype)
        self.depth = len(self.model.layers)
        self.layers = resolve_layers(self.config.layers, self.depth)
        self.hidden = int(self.model.config.hidden_size)
        cut_above(self.model, max(self.layers))
        self.model.to(self.device)
        if packing_pays(self.device):
            pack_linear_layers(self.model)
        tokenizer = load_tokenizer(path)
        self.tokens = Tokens(tokenizer, chat_template(tokenizer))
        longest = getattr(self.model.config, "max_position_embeddings", None)
        self.budget = min(self.config.max_tokens, longest or self.config.max_tokens)
        most = CPU_BATCH if self.device.type == "cpu" else self.config.batch_tokens
        self.batch_tokens = min(self.config.batch_tokens, most)

    @property
    def identity(self) -> str:
        """Hex digest of revision, layers, turn state, budget, template and arithmetic."""
        return reader_identity(
            kind="lm",
            revision=self.revision,
            layers=self.layers,
            state=self.config.state,
            budget=self.budget,
            template=asdict(self.tokens.template),
            dtype=str(self.dtype),
        )

    @property
    def width(self) -> int:
        """Hidden size times the number of layers read."""
        return self.hidden * len(self.layers)

    def states(
        self, conversations: Sequence[Conversation], progress: Advance | None = None
    ) -> list[States]:
        """States of the user turns of each conversation, float32 (user turns, width)."""
        out = [
            np.zeros((sum(message.role == "user" for message in talk), self.width), np.float32)
            for talk in conversations
        ]
        jobs = [job for index, talk in enumerate(conversations) for job in self._jobs(index, talk)]
        total, position = sum(len(job.ids) for job in jobs), 0
        for batch in batches(jobs, self.batch_tokens):
            for job, states in zip(batch, self._read(batch), strict=True):
                out[job.conversation][job.row : job.row + len(states)] = states
            count = sum(len(job.ids) for job in batch)
            tokens_read(count)
            position += count
            if progress is not None:
                progress(position, total)
        return out

    def _jobs(self, index: int, talk: Conversation) -> Iterator[TokenRow]:
        """The passes of one conversation that hold a user turn to be read."""
        start = self.tokens.start
        pieces = self.tokens.pieces(talk, self.budget)
        row = 0
        for part in plan_passes([len(p.ids) for p in pieces], self.budget - len(start)):
            ids, spans = join_pieces(start, pieces, part)
            if spans:
                yield TokenRow(index, row, ids, spans)
            row += len(spans)

    def _read(self, batch: Sequence[TokenRow]) -> list[States]:
        return self.turn_states([job.ids for job in batch], [job.spans for job in batch])

    @torch.inference_mode()
    def turn_states(
        self,
        ids: Sequence[Sequence[int]],
        spans: Sequence[Sequence[tuple[int, int]]],
        **forward_inputs: Any,
    ) -> list[States]:
        """States of the turns at `spans` of each row of tokens, float32 (turns, width).

        Args:
            ids: tokens; they are padded on the right.
            spans: start and stop of each turn among the row's tokens.
            forward_inputs: further ones of the forward pass, such as the cache of what was read.
        """
        pooled: dict[int, list[torch.Tensor]] = {}

        def take(layer: int, _module: Any, _inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            pooled[layer] = [
                self._pool(hidden[row], row_spans) for row, row_spans in enumerate(spans)
            ]

        hooks = [
            (self.model.norm if layer == len(self.model.layers) else self.model.layers[layer - 1])
            .register_forward_hook(partial(take, layer))
            for layer in set(self.layers)
        ]  # fmt: skip
        try:
            self.model(
                **{
                    "input_ids": pad_right(ids).to(self.device),
                    "use_cache": False,
                    **forward_inputs,
                }
            )
        finally:
            for hook in hooks:
                hook.remove()
        return [
            torch.cat([pooled[layer][row] for layer in self.layers], dim=1).cpu().numpy()
            for row in range(len(ids))
        ]

    def _pool(self, hidden: torch.Tensor, spans: Sequence[tuple[int, int]]) -> torch.Tensor:
        """(tokens, hidden) -> float32 (user turns, hidden)."""
        if not spans:
            return hidden.new_zeros(0, hidden.shape[1], dtype=torch.float32)
        if self.config.state == "last":
            return hidden[[stop - 1 for _, stop in spans]].float()
        return torch.stack([hidden[a:b].float().mean(dim=0) for a, b in spans])
