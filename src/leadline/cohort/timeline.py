"""A person's conversations as one timeline, read left to right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.cohort.store import Cohort
from leadline.cohort.words import word_count


class Message(NamedTuple):
    """One turn as a reader sees it: who spoke and what was said."""

    role: str
    text: str


@dataclass(frozen=True)
class Timeline:
    """Everything one person said and heard, in order.

    Attributes:
        person_id: whose it is.
        messages: every turn, all roles, length M.
        user: indices into `messages` of the person's own turns, shape (U,).
        times: time of each message, shape (M,), ``datetime64[us]``, NaT where unknown.
        conversation_ids: of each message, length M.
        turns: the turn number of each message in its conversation, shape (M,).
    """

    person_id: str
    messages: tuple[Message, ...]
    user: npt.NDArray[np.int64]
    times: npt.NDArray[np.datetime64]
    conversation_ids: tuple[str, ...]
    turns: npt.NDArray[np.int32]

    @property
    def user_times(self) -> npt.NDArray[np.datetime64]:
        """Times of the person's own turns, shape (U,)."""
        return self.times[self.user]

    @property
    def as_of(self) -> npt.NDArray[np.datetime64]:
        """When everything up to each message had been said, shape (M,); NaT where it has no time.

        It is later than the message's own time where an earlier message has a later time. A
        message without a time says nothing about the others: the order is taken as it stands.
        """
        return np.where(np.isnat(self.times), self.times, np.fmax.accumulate(self.times))

    def without(self, dropped: npt.NDArray[np.bool_]) -> Timeline:
        """The timeline without some messages.

        The person's turns keep their places among the person's own turns.

        Args:
            dropped: which messages, shape (M,); of the person's own only the last ones.
        """
        remaining = np.flatnonzero(~dropped)
        return Timeline(
            person_id=self.person_id,
            messages=tuple(self.messages[i] for i in remaining),
            user=np.searchsorted(remaining, self.user[~dropped[self.user]]),
            times=self.times[remaining],
            conversation_ids=tuple(self.conversation_ids[i] for i in remaining),
            turns=self.turns[remaining],
        )

    def slice(self, first: int, last: int) -> tuple[Message, ...]:
        """What was said between user turns `first` and `last`, both included.

        The turns of others since the user turn before the first belong to it: they are what it
        answers.
        """
        start = int(self.user[first - 1]) + 1 if first else 0
        return self.messages[start : int(self.user[last]) + 1]

    def user_words(self) -> npt.NDArray[np.int64]:
        """Words in each of the person's own turns (`words.word_count`), shape (U,)."""
        return np.array([word_count(self.messages[i].text) for i in self.user], dtype=np.int64)


def timelines(cohort: Cohort) -> Iterator[Timeline]:
    """Yield one timeline per person who has any turn, in the order of the cohort."""
    return timelines_of(cohort.turns)


def timelines_of(turns: pl.DataFrame) -> Iterator[Timeline]:
    """The same for rows of `turns` that hold everything these people said and heard."""
    for (person_id,), rows in turns.group_by("person_id", maintain_order=True):
        yield _timeline(str(person_id), rows)


def _timeline(person_id: str, rows: pl.DataFrame) -> Timeline:
    roles = rows["role"].to_list()
    times = rows["time"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
    return Timeline(
        person_id=person_id,
        messages=tuple(map(Message, roles, rows["text"].to_list())),
        user=np.flatnonzero(np.array([role == "user" for role in roles], dtype=bool)),
        times=times,
        conversation_ids=tuple(rows["conversation_id"].to_list()),
        turns=rows["turn"].to_numpy(),
    )
