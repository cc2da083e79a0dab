"""Examples of an adapted reader: one person as tokens, and people as one padded batch.

One example is one person: the conversation is read once and every reading of that person is
estimated in the same pass. Two people are never in one row: the memory of a gated-delta layer
would leak from the first into the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.readers.batching import join_pieces, pad_right
from leadline.readers.tokens import Tokens, plan_passes


class LabelledSpan(NamedTuple):
    """User turns `first..last` (inclusive) of a person, and the label if there is one.

    `sd` is the standard deviation of the label itself in points: 0 for what the person
    answered, that of the label model's posterior for a pseudolabel. `gold` says which it is.
    """

    first: int
    last: int
    total: float = float("nan")
    weight: float = 1.0
    sd: float = 0.0
    gold: bool = True


@dataclass(frozen=True)
class TrainPerson:
    """One example: all messages of a person in order, and the readings among them."""

    messages: Sequence[Message]
    readings: Sequence[LabelledSpan]


class TokenisedPerson(NamedTuple):
    """One person as tokens: rows of ids, where turn states come from, readings."""

    rows: list[list[int]]
    spans: list[tuple[int, int, int]]  # row, start, stop of each user turn
    readings: list[LabelledSpan]
    lower: list[Tensor] | None = None  # per row, see `lower.lower_outputs`

    @property
    def tokens(self) -> int:
        """Tokens to be read."""
        return sum(len(row) for row in self.rows)


def encode(person: TrainPerson, tokens: Tokens, budget: int) -> TokenisedPerson:
    """Tokens of a person, divided into passes as the frozen reader divides them.

    Raises:
        LeadlineError: a reading lies outside the person's user turns.
    """
    pieces = tokens.pieces(person.messages, budget)
    rows: list[list[int]] = []
    spans: list[tuple[int, int, int]] = []
    for part in plan_passes([len(p.ids) for p in pieces], budget - len(tokens.start)):
        ids, turn_spans = join_pieces(tokens.start, pieces, part)
        if turn_spans:
            spans += [(len(rows), start, stop) for start, stop in turn_spans]
            rows.append(ids)
    for reading in person.readings:
        if not 0 <= reading.first <= reading.last < len(spans):
            raise LeadlineError(
                f"A reading of user turns {reading.first} to {reading.last} was asked for; "
                f"the person has {len(spans)}.",
                remedy="Give indices of user turns, first and last inclusive, from 0.",
            )
    return TokenisedPerson(rows, spans, list(person.readings))


def collate(examples: Sequence[TokenisedPerson], state: str) -> dict[str, Tensor]:
    """People as one batch of tensors: rows padded on the right, no attention mask.

    Every token that a turn state is made of has an entry in `where` (its place in the
    flattened batch) and in `turn` (the turn it belongs to).
    """
    rows = [row for example in examples for row in example.rows]
    ids = pad_right(rows)
    length = ids.shape[1]
    where: list[int] = []
    turn: list[int] = []
    sizes: list[int] = []
    readings: list[tuple[int, int]] = []
    first_row = 0
    for example in examples:
        offset = len(sizes)
        for row, start, stop in example.spans:
            begin = stop - 1 if state == "last" else start
            flat = (first_row + row) * length
            where += range(flat + begin, flat + stop)
            turn += [len(sizes)] * (stop - begin)
            sizes.append(stop - start)
        readings += [(r.first + offset, r.last + offset) for r in example.readings]
        first_row += len(example.rows)
    lower = [outputs for example in examples for outputs in example.lower or []]
    flat_readings = [reading for example in examples for reading in example.readings]
    return {
        "input_ids": ids,
        "where": torch.tensor(where),
        "turn": torch.tensor(turn),
        "sizes": torch.tensor(sizes),
        "readings": torch.tensor(readings, dtype=torch.long).reshape(-1, 2),
        "totals": torch.tensor([r.total for r in flat_readings], dtype=torch.float32),
        "weights": torch.tensor([r.weight for r in flat_readings], dtype=torch.float32),
        "sds": torch.tensor([r.sd for r in flat_readings], dtype=torch.float32),
        "gold": torch.tensor([r.gold for r in flat_readings], dtype=torch.bool),
        **({"lower": nn.utils.rnn.pad_sequence(lower, batch_first=True)} if lower else {}),
    }


def token_groups(examples: Sequence[TokenisedPerson], budget: int) -> Iterator[list[int]]:
    """Indices of people with a reading, longest first, at most `budget` padded tokens a group."""
    rows = [max((len(row) for row in example.rows), default=0) for example in examples]
    order = [i for i in sorted(range(len(rows)), key=lambda i: -rows[i]) if examples[i].readings]
    group: list[int] = []
    group_rows = 0
    for index in order:
        if group and (group_rows + len(examples[index].rows)) * rows[group[0]] > budget:
            yield group
            group, group_rows = [], 0
        group.append(index)
        group_rows += len(examples[index].rows)
    if group:
        yield group
