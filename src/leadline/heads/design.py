"""What a head sees: turn states pooled over readings, with anchor scores, for many people.

A `StateSource` holds one or two readers and gives each user turn one state per *view* (a layer
of a language model, or a sentence encoder). Pooling the turns of a reading gives the row that
a head is fitted on; the same pooling at every turn gives the running estimate, so training and
scoring cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from leadline.arrays import Array, Ints
from leadline.cohort.windows import Span
from leadline.heads.inputs import Inputs, Turns
from leadline.heads.terms import Terms


@dataclass(frozen=True)
class PersonStates:
    """One person's turn states.

    Attributes:
        views: states of the user turns by view, each (U, width).
        words: words of each user turn, shape (U,).
        terms: counts of the words and characters of each, as `terms.count_terms` gives them;
            None where no head looks at them.
    """

    views: Mapping[str, npt.NDArray[np.float32]]
    words: Ints
    terms: csr_matrix | None = None


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
    return np.array([people[s.person].words[s.turns].sum() for s in spans], dtype=np.float64)


@dataclass(frozen=True)
class Design:
    """Pooled rows of many readings, from which a candidate takes what it needs.

    Attributes:
        states: pooled states by view, each (R, width).
        anchors: anchor scores by view, each (R, symptoms).
        words: of the person in each reading, shape (R,).
        turns: the turns of each reading, where they are known.
        terms: words and characters of each reading, where turns were counted.
    """

    states: Mapping[str, Array]
    anchors: Mapping[str, Array]
    words: Array
    turns: Turns | None = None
    terms: Terms | None = None

    @classmethod
    def of(
        cls,
        directions: Mapping[str, Array],
        people: Sequence[PersonStates],
        spans: Sequence[Span],
        pool: str,
    ) -> Design:
        """Pool the states of `people` over `spans`, in the views that `directions` names."""
        states = {view: pool_states(people, spans, view, pool) for view in directions}
        anchors = {view: x @ directions[view].T for view, x in states.items()}
        places = [(s.person, s.first, s.last) for s in spans]
        where = np.array(places, dtype=np.int64).reshape(-1, 3)
        turns = Turns(tuple(person.views for person in people), where)
        counts = tuple(person.terms for person in people if person.terms is not None)
        terms = Terms(counts, where) if people and len(counts) == len(people) else None
        return cls(states, anchors, span_words(people, spans), turns, terms)

    def __len__(self) -> int:
        return len(self.words)

    def inputs(self, views: Sequence[str], anchor_views: Sequence[str]) -> Inputs:
        """States of `views` and anchor scores in `anchor_views`."""
        none = np.zeros((len(self), 0))
        anchors = np.concatenate([none, *(self.anchors[view] for view in anchor_views)], axis=1)
        return Inputs({view: self.states[view] for view in views}, anchors, self.turns, self.terms)

    def take(self, rows: Ints) -> Design:
        """The readings at `rows`."""
        return Design(
            {view: x[rows] for view, x in self.states.items()},
            {view: x[rows] for view, x in self.anchors.items()},
            self.words[rows],
            None if self.turns is None else self.turns.take(rows),
            None if self.terms is None else self.terms.take(rows),
        )

    def join(self, addition: Design) -> Design:
        """These readings and then those of `addition`, which has the same views."""
        return Design(
            {view: np.concatenate([x, addition.states[view]]) for view, x in self.states.items()},
            {view: np.concatenate([x, addition.anchors[view]]) for view, x in self.anchors.items()},
            np.concatenate([self.words, addition.words]),
            None
            if self.turns is None or addition.turns is None
            else self.turns.join(addition.turns),
            None
            if self.terms is None or addition.terms is None
            else self.terms.join(addition.terms),
        )
