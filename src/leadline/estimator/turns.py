"""The turns behind pooled readings, for a head that looks at turns one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.arrays import Ints, States


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

    def join(self, other: Turns) -> Turns:
        """These readings and then those of `other`, which has the same views."""
        moved = other.spans + np.array([len(self.people), 0, 0])
        return Turns(self.people + other.people, np.concatenate([self.spans, moved]))

    def states(self, person: int, views: Sequence[str]) -> States:
        """All turn states of a person, views side by side, (U, width)."""
        whole = self.people[person]
        if len(views) == 1:
            return whole[views[0]]
        return np.concatenate([whole[view] for view in views], axis=1)
