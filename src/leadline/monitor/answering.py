"""How likely it is that somebody who is asked answers, learned from the asks of a store.

A person's own asks count beside everybody's: the chance is a Beta posterior whose prior is the
population's rate, worth as many asks as `PRIOR_ASKS`. The population's rate is itself shrunk
towards a half, so that a store without any ask orders people by value alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, func, select

from leadline.arrays import Array
from leadline.store.schema import ask

PRIOR_ASKS = 4.0  # of one's own, which the population's rate outweighs until then
PRIOR_RATE, PRIOR_WEIGHT = 0.5, 2.0  # before anybody was asked


@dataclass(frozen=True)
class Answering:
    """What asks were answered.

    Attributes:
        ended: asks of each person that ended, by person.
        answered: of them, those that were answered.
    """

    ended: dict[str, int]
    answered: dict[str, int]

    @property
    def rate(self) -> float:
        """Share of the asks that people answer."""
        ended, answered = sum(self.ended.values()), sum(self.answered.values())
        return (answered + PRIOR_RATE * PRIOR_WEIGHT) / (ended + PRIOR_WEIGHT)

    def chances(self, person_ids: Sequence[str]) -> Array:
        """Probability that each would answer, shape (P,)."""
        ended = np.array(
            [self.ended.get(person_id, 0) for person_id in person_ids], dtype=np.float64
        )
        answered = np.array(
            [self.answered.get(person_id, 0) for person_id in person_ids], dtype=np.float64
        )
        chances: Array = (answered + self.rate * PRIOR_ASKS) / (ended + PRIOR_ASKS)
        return chances


def read_answering(connection: Connection) -> Answering:
    """What became of the asks of a store; suggestions that nobody took up say nothing."""
    query = (
        select(ask.c.person_id, func.count(), func.count(ask.c.answered_at))
        .where(ask.c.asked_at.is_not(None), ask.c.ended_at.is_not(None))
        .group_by(ask.c.person_id)
    )
    rows = connection.execute(query).all()
    return Answering(
        {person_id: int(ended) for person_id, ended, _ in rows},
        {person_id: int(answered) for person_id, _, answered in rows},
    )
