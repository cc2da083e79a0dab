"""What a head sees: turn states pooled over readings, with anchor scores, for many people.

A `StateSource` holds one or two readers and gives each user turn one state per *view* (a layer
of a language model, or a sentence encoder). Pooling the turns of a reading gives the row that
a head is fitted on; the same pooling at every turn gives the running estimate, so training and
scoring cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leadline.arrays import Array, Ints
from leadline.cohort.windows import Timeline
from leadline.errors import LeadlineError
from leadline.estimator.anchors import anchor_directions, anchor_statements
from leadline.estimator.cache import StateCache, cached_states
from leadline.estimator.gp import Inputs
from leadline.estimator.progress import Advance
from leadline.estimator.reader import LMReader, Reader, ReaderConfig, open_reader
from leadline.estimator.turns import Turns


@dataclass(frozen=True)
class PersonStates:
    """One person's turn states.

    Attributes:
        views: states of the user turns by view, each (U, width).
        words: words of each user turn, shape (U,).
    """

    views: Mapping[str, npt.NDArray[np.float32]]
    words: Ints


class StateSource:
    """Readers, the views that they give, and the anchor directions in each view.

    Args:
        names: readers joined by ``+``, such as ``smollm2+minilm``.
        config: how language models are read.
        home: where readers and cached states are kept; see `fetch.leadline_home`.
        use_cache: keep states on disk between runs.

    Raises:
        LeadlineError: a reader is not on this machine.
    """

    def __init__(
        self,
        names: str,
        config: ReaderConfig | None = None,
        *,
        home: Path | None = None,
        use_cache: bool = True,
    ) -> None:
        self.names = tuple(part.strip() for part in names.split("+"))
        if not all(self.names) or len(set(self.names)) < len(self.names):
            raise LeadlineError(
                f"--reader {names!r} names no reader, or one twice.",
                remedy="Join different readers by +, such as smollm2+minilm.",
            )
        self.readers: list[Reader] = [
            open_reader(name, config=config, home=home) for name in self.names
        ]
        self.home, self.use_cache = home, use_cache
        self.views: dict[str, tuple[int, slice]] = {}
        for index, (name, reader) in enumerate(zip(self.names, self.readers, strict=True)):
            self.views |= {view: (index, part) for view, part in _views(name, reader)}
        self.directions = self._directions()

    @property
    def identities(self) -> dict[str, str]:
        """Identity of each reader by name; a checkpoint refuses readers of another identity."""
        return {
            name: f"{reader.identity}:anchors-{anchor_statements()[0]}"
            for name, reader in zip(self.names, self.readers, strict=True)
        }

    def _cache(self, reader: Reader) -> StateCache | None:
        return StateCache(reader, home=self.home) if self.use_cache else None

    def _directions(self) -> dict[str, Array]:
        whole = [anchor_directions(reader, self._cache(reader)) for reader in self.readers]
        return {view: whole[index][:, part] for view, (index, part) in self.views.items()}

    def read(
        self, people: Sequence[Timeline], progress: Advance | None = None
    ) -> list[PersonStates]:
        """Turn states of each person, by view."""
        talks = [timeline.messages for timeline in people]
        whole = []
        for reader in self.readers:
            whole.append(cached_states(reader, talks, self._cache(reader), progress))
        return [
            PersonStates(
                {view: whole[index][row][:, part] for view, (index, part) in self.views.items()},
                timeline.user_words(),
            )
            for row, timeline in enumerate(people)
        ]


def _views(name: str, reader: Reader) -> list[tuple[str, slice]]:
    """Names and columns of the views of a reader: a language model has one per layer."""
    if not isinstance(reader, LMReader):
        return [(name, slice(None))]
    return [
        (f"{name}:{layer}", slice(row * reader.hidden, (row + 1) * reader.hidden))
        for row, layer in enumerate(reader.layers)
    ]


@dataclass(frozen=True)
class Span:
    """A reading of person `person` (a row of the people read): user turns first..last."""

    person: int
    first: int
    last: int


def pool_states(
    people: Sequence[PersonStates], spans: Sequence[Span], view: str, pool: str
) -> Array:
    """Pooled states of each span, shape (len(spans), width).

    Args:
        people: turn states.
        spans: stretches of user turns, both ends included.
        view: which states.
        pool: ``mean`` over turns, ``words`` for a mean weighted by words, or ``last`` turn.
    """
    out = np.zeros((len(spans), people[0].views[view].shape[1] if people else 0))
    sums: dict[int, tuple[Array, Array]] = {}
    for row, span in enumerate(spans):
        states = people[span.person].views[view]
        if pool == "last":
            out[row] = states[span.last]
            continue
        if span.person not in sums:
            weight = np.maximum(people[span.person].words, 1.0) if pool == "words" else None
            sums[span.person] = _cumulative(states, weight)
        total, mass = sums[span.person]
        out[row] = (total[span.last + 1] - total[span.first]) / (
            mass[span.last + 1] - mass[span.first]
        )
    return out


def _cumulative(states: npt.NDArray[np.float32], weight: Array | None) -> tuple[Array, Array]:
    """Sums of weighted states and of weights up to each turn, with a leading zero."""
    w = np.ones(len(states)) if weight is None else weight
    total = np.cumsum(states * w[:, None], axis=0, dtype=np.float64)
    zeros = np.zeros((1, states.shape[1]))
    return np.concatenate([zeros, total]), np.concatenate([[0.0], np.cumsum(w)])


def span_words(people: Sequence[PersonStates], spans: Iterable[Span]) -> Array:
    """Words of the person in each span."""
    return np.array(
        [people[s.person].words[s.first : s.last + 1].sum() for s in spans], dtype=np.float64
    )


@dataclass(frozen=True)
class Design:
    """Pooled rows of many readings, from which a candidate takes what it needs.

    Attributes:
        states: pooled states by view, each (R, width).
        anchors: anchor scores by view, each (R, symptoms).
        words: of the person in each reading, shape (R,).
        turns: the turns of each reading, where they are known.
    """

    states: Mapping[str, Array]
    anchors: Mapping[str, Array]
    words: Array
    turns: Turns | None = None

    @classmethod
    def of(
        cls,
        source: StateSource,
        people: Sequence[PersonStates],
        spans: Sequence[Span],
        pool: str,
    ) -> Design:
        """Pool the states of `people` over `spans`."""
        states = {view: pool_states(people, spans, view, pool) for view in source.views}
        anchors = {view: x @ source.directions[view].T for view, x in states.items()}
        where = np.array([(s.person, s.first, s.last) for s in spans], dtype=np.int64)
        turns = Turns(tuple(person.views for person in people), where.reshape(-1, 3))
        return cls(states, anchors, span_words(people, spans), turns)

    def __len__(self) -> int:
        return len(self.words)

    def inputs(self, views: Sequence[str], anchor_views: Sequence[str]) -> Inputs:
        """States of `views` and anchor scores in `anchor_views`."""
        none = np.zeros((len(self), 0))
        anchors = np.concatenate([none, *(self.anchors[view] for view in anchor_views)], axis=1)
        return Inputs({view: self.states[view] for view in views}, anchors, self.turns)

    def take(self, rows: Ints) -> Design:
        """The readings at `rows`."""
        return Design(
            {view: x[rows] for view, x in self.states.items()},
            {view: x[rows] for view, x in self.anchors.items()},
            self.words[rows],
            None if self.turns is None else self.turns.take(rows),
        )

    def join(self, other: Design) -> Design:
        """These readings and then those of `other`, which has the same views."""
        return Design(
            {view: np.concatenate([x, other.states[view]]) for view, x in self.states.items()},
            {view: np.concatenate([x, other.anchors[view]]) for view, x in self.anchors.items()},
            np.concatenate([self.words, other.words]),
            None if self.turns is None or other.turns is None else self.turns.join(other.turns),
        )
