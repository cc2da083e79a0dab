"""What a head sees of a reading: its states, anchor scores and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline.arrays import Array, Ints, States
from leadline.heads.terms import Terms


@dataclass(frozen=True)
class Inputs:
    """What a closed-form head sees of R readings.

    Attributes:
        states: pooled states by view (a reader's layer), each of shape (R, width).
        anchors: anchor scores, shape (R, A).
        turns: the turns of each reading, for heads that look at them one by one.
        terms: words and characters of each reading, where turns were counted.
    """

    states: Mapping[str, Array]
    anchors: Array
    turns: Turns | None = None
    terms: Terms | None = None

    def __len__(self) -> int:
        return len(self.anchors)

    def take(self, rows: npt.NDArray[np.int64]) -> Inputs:
        """The readings at `rows`."""
        return Inputs(
            {name: x[rows] for name, x in self.states.items()},
            self.anchors[rows],
            None if self.turns is None else self.turns.take(rows),
            None if self.terms is None else self.terms.take(rows),
        )


@dataclass(frozen=True)
class Scaler:
    """Centres and scales each column by the training rows; a constant column becomes 0."""

    mean: Array
    sd: Array

    @classmethod
    def fit(cls, x: npt.NDArray[np.floating[Any]]) -> Scaler:
        """Take mean and deviation of the columns of `x`, shape (R, D), in double precision."""
        sd = x.std(axis=0, dtype=np.float64)
        return cls(x.mean(axis=0, dtype=np.float64), np.where(sd > 1e-9, sd, np.inf))

    def __call__(self, x: Array) -> Array:
        """Standardise `x`, shape (R, D)."""
        out: Array = (x - self.mean) / self.sd
        return out


def join_views(inputs: Inputs, views: tuple[str, ...]) -> Array:
    """Pooled states of `views` side by side, shape (R, width)."""
    parts = [np.asarray(inputs.states[name], dtype=np.float64) for name in views]
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Turns:
    """Readings as stretches of turns.

    Attributes:
        people: turn states by view of each person, each (U, width).
        spans: row of `people`, first and last turn of each reading, both included, (R, 3).
    """

    people: tuple[Mapping[str, States], ...]
    spans: Ints

    def __len__(self) -> int:
        return len(self.spans)

    def take(self, rows: Ints) -> Turns:
        """The readings at `rows`."""
        return Turns(self.people, self.spans[rows])

    def join(self, addition: Turns) -> Turns:
        """These readings and then those of `addition`, which has the same views."""
        moved = addition.spans + np.array([len(self.people), 0, 0])
        return Turns(self.people + addition.people, np.concatenate([self.spans, moved]))

    def states(self, person: int, views: Sequence[str]) -> States:
        """All turn states of a person, views side by side, (U, width)."""
        by_view = self.people[person]
        if len(views) == 1:
            return by_view[views[0]]
        return np.concatenate([by_view[view] for view in views], axis=1)
