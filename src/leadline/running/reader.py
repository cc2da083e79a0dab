"""Running readers: a new message costs its own tokens, not the conversation's.

A causal model that has read a text can go on from where it was, because the states of what is
read do not depend on what follows. `RunningReader` keeps a `Context` for each person: the
model's memory and the lengths of the messages in it. Messages arrive one or many at a time, of
one person or of many together; the turn states are those that one pass over the whole
conversation gives, up to rounding.

The context budget is `tokens.plan_passes`, which looks at the messages so far and at nothing
later. A pass that overflows is begun anew from its newest messages; their text is not kept, so
the caller is asked for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from leadline.arrays import States
from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.finetune.model import FinetunedModel
from leadline.readers.batching import TokenRow, join_pieces
from leadline.readers.language import LMReader
from leadline.readers.sentence import SentenceReader
from leadline.readers.tokens import plan_passes
from leadline.running.memory import BatchCache, Memory, check_layers, no_decay

EarlierMessages = Callable[[int], Sequence[Message]]

# Rows that are shorter than this share of the longest wait for a batch of their own,
LEAST_FILLED = 0.8

# once a batch has so many tokens that more rows gain nothing: on two CPU cores padding costs
# more than a larger batch saves. On a GPU it is not measured; there only `batch_tokens` counts.
ENOUGH = 128


@dataclass(frozen=True)
class Context:
    """Where the reading of one person stands. It is never changed, only continued.

    Attributes:
        read: messages read so far, all roles.
        lengths: tokens of each message of the running pass; empty for a sentence reader.
        memory: the model's; None before the first token and for a sentence reader.
    """

    read: int = 0
    lengths: tuple[int, ...] = ()
    memory: Memory | None = None


class OtherHistory(LeadlineError):
    """The earlier messages that were given are not those that were read."""


def no_history(count: int) -> Sequence[Message]:
    """What a caller says who has no text but the new: a pass cannot begin anew."""
    raise LeadlineError(
        f"The context is full; the {count} messages before the new ones must be read again.",
        remedy="Give the earlier messages too: they are not kept.",
    )


class NewMessages(NamedTuple):
    """New messages of one person.

    Attributes:
        context: where the reading stands.
        messages: all that was said since, in order, all roles.
        earlier: gives the last so many of the messages read before; asked only if a pass
            begins anew.
    """

    context: Context
    messages: Sequence[Message]
    earlier: EarlierMessages = no_history


class Continuation(NamedTuple):
    """What came of it: where the reading stands now, and the new user turns.

    Attributes:
        context: to go on from.
        states: float32 (new user turns, width).
        sizes: tokens that each state is made of (new user turns,).
    """

    context: Context
    states: States
    sizes: npt.NDArray[np.int64]


class RunningReader:
    """Continues the reading of many people.

    Args:
        reader: a causal reader, frozen or adapted, or a sentence reader (which has no memory).
        batch_tokens: new tokens read at once, padding included.

    Raises:
        LeadlineError: the model remembers in a way that is not known here.
    """

    def __init__(
        self, reader: LMReader | SentenceReader | FinetunedModel, *, batch_tokens: int = 4096
    ) -> None:
        self.reader, self.batch_tokens = reader, batch_tokens
        self.width, self.identity = reader.width, reader.identity
        self.device = reader.device
        if isinstance(reader, SentenceReader):
            return
        self.model = reader.model if isinstance(reader, LMReader) else reader.regressor.backbone
        check_layers(self.model)

    def read(self, people: Sequence[NewMessages]) -> list[Continuation]:
        """Read the new messages of each person; the contexts given stay as they were.

        Raises:
            LeadlineError: a pass begins anew and the earlier messages are not given.
            OtherHistory: those that are given are not those that were read.
        """
        if isinstance(self.reader, SentenceReader):
            return _read_sentences(self.reader, people)
        plans = [self._plan(person) for person in people]
        memories = [person.context.memory for person in people]
        waiting = [deque(plan.parts) for plan in plans]
        states_by_person: list[list[States]] = [[] for _ in people]
        while any(waiting):
            next_parts = {row: parts.popleft() for row, parts in enumerate(waiting) if parts}
            jobs = [TokenRow(row, 0, part.ids, part.spans) for row, part in next_parts.items()]
            enough = ENOUGH if self.device.type == "cpu" else self.batch_tokens
            for batch in fill_batches(jobs, self.batch_tokens, enough):
                rows = [job.conversation for job in batch]
                old = [None if next_parts[row].anew else memories[row] for row in rows]
                for row, states, memory in zip(rows, *self._forward(batch, old), strict=True):
                    states_by_person[row].append(states)
                    memories[row] = memory
        empty = np.zeros((0, self.width), np.float32)
        return [
            Continuation(
                Context(person.context.read + len(person.messages), plan.lengths, memories[row]),
                np.concatenate([empty, *states_by_person[row]]),
                np.array([b - a for part in plan.parts for a, b in part.spans], np.int64),
            )
            for row, (person, plan) in enumerate(zip(people, plans, strict=True))
        ]

    def _plan(self, person: NewMessages) -> _Plan:
        """What to feed: first what still fits the running pass, then passes begun anew."""
        assert not isinstance(self.reader, SentenceReader)
        tokens, budget = self.reader.tokens, self.reader.budget
        first_new = len(person.context.lengths)
        new_pieces = tokens.pieces(person.messages, budget)
        lengths = [*person.context.lengths, *(len(piece.ids) for piece in new_pieces)]
        passes = plan_passes(lengths, budget - len(tokens.start))
        if not passes:
            return _Plan((), ())
        # A new pass never reaches back beyond the one before it, so the messages of the running
        # pass are all that the rule needs. The first new pass reaches furthest.
        reach = max((first_new - part.first for part in passes[1:]), default=0)
        again = self._pieces_again(person, reach) if reach > 0 else []
        blank = [None] * (first_new - len(again))
        pieces = [*blank, *again, *new_pieces]
        parts = []
        for number, part in enumerate(passes):
            if number == 0:
                start = tokens.start if person.context.memory is None else []
                ids, spans = join_pieces(
                    start, pieces, part._replace(first=first_new, first_new=first_new)
                )
            else:
                ids, spans = join_pieces(tokens.start, pieces, part)
            if ids and (spans or number == len(passes) - 1):
                parts.append(PassTokens(ids, spans, number > 0))
        return _Plan(tuple(parts), tuple(lengths[passes[-1].first :]))

    def _pieces_again(self, person: NewMessages, count: int) -> list[object]:
        assert not isinstance(self.reader, SentenceReader)
        earlier = person.earlier(count)[-count:]
        pieces = self.reader.tokens.pieces(earlier, self.reader.budget)
        if tuple(len(piece.ids) for piece in pieces) != person.context.lengths[-count:]:
            raise OtherHistory(
                "The earlier messages are not those that were read.",
                remedy="Give all messages of the person in the order in which they were read, "
                "or begin the person anew.",
            )
        return list(pieces)

    @torch.inference_mode()
    def _forward(
        self, batch: Sequence[TokenRow], old: Sequence[Memory | None]
    ) -> tuple[list[States], list[Memory]]:
        assert not isinstance(self.reader, SentenceReader)
        new = [len(job.ids) for job in batch]
        cache = BatchCache(old, new, self.model)
        with no_decay(self.model, new):
            states = self.reader.turn_states(
                [job.ids for job in batch], [job.spans for job in batch], **cache.inputs()
            )
        return states, cache.memories()


class PassTokens(NamedTuple):
    """Tokens for one forward pass of one person."""

    ids: list[int]
    spans: list[tuple[int, int]]
    anew: bool


class _Plan(NamedTuple):
    parts: tuple[PassTokens, ...]
    lengths: tuple[int, ...]


def _read_sentences(reader: SentenceReader, people: Sequence[NewMessages]) -> list[Continuation]:
    states = reader.states([person.messages for person in people])
    return [
        Continuation(
            Context(person.context.read + len(person.messages)),
            person_states,
            np.ones(len(person_states), np.int64),
        )
        for person, person_states in zip(people, states, strict=True)
    ]


def fill_batches(jobs: Sequence[TokenRow], budget: int, enough: int) -> Iterator[list[TokenRow]]:
    """Jobs of like length together, longest first, at most `budget` tokens with padding.

    Once a batch has `enough` tokens, it takes no row that would be padded by more than
    1 - `LEAST_FILLED` of its length.
    """
    batch: list[TokenRow] = []
    for job in sorted(jobs, key=lambda job: -len(job.ids)):
        longest = len(batch[0].ids) if batch else 0
        padded = len(job.ids) < LEAST_FILLED * longest and len(batch) * longest >= enough
        if batch and (padded or (len(batch) + 1) * longest > budget):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch
