"""Rows of tokens that are read together, and their pieces joined again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from leadline.readers.tokens import Pass


@dataclass(frozen=True)
class TokenRow:
    """Tokens to be read in one row of a batch and where the states belong."""

    conversation: int
    row: int
    ids: list[int]
    spans: list[tuple[int, int]]


def pad_right(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows of token ids as one int64 tensor (rows, longest), zeros behind the shorter ones."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids


def join_pieces(
    start: Sequence[int], pieces: Sequence[Any], part: Pass
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a pass and the spans of the user turns that it reads anew."""
    ids, spans = list(start), []
    for position in range(part.first, part.end):
        piece = pieces[position]
        if piece.user and position >= part.first_new:
            spans.append((len(ids) + piece.start, len(ids) + piece.stop))
        ids += piece.ids
    return ids, spans


def batches(jobs: Sequence[TokenRow], budget: int) -> Iterator[list[TokenRow]]:
    """Jobs of like length together, longest first, at most `budget` tokens with padding."""
    batch: list[TokenRow] = []
    for job in sorted(jobs, key=lambda job: -len(job.ids)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > budget:
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch
