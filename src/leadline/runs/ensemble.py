"""The models of a run as one ensemble that never estimates a person from their own label.

Each fold of each repeat gives one model. A new person is estimated by all of them, averaged; a
person who was trained on only by those whose fold left that person out. The ledger says who
was left out where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.arrays import Array, Ints
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span
from leadline.heads.calibration import Calibration
from leadline.heads.candidates import FrozenModel
from leadline.heads.design import Design, PersonStates
from leadline.phq9.distribution import Totals
from leadline.runs.state_source import StateSource


@dataclass(frozen=True)
class AdaptedModel:
    """A fine-tuned reader with conformal widths from people that it never saw."""

    model: Any  # finetune.members.StoredModel; Any, so that frozen runs need not import torch here
    calibration: Calibration
    scalar: bool

    def distributions(self, people: Sequence[Timeline], spans: Sequence[Span]) -> Totals:
        """Distributions of the total at the spans, in order."""
        from leadline.finetune.members import raw_estimates

        words = np.array([people[s.person].user_words()[s.turns].sum() for s in spans], dtype=float)
        return self.calibrated(raw_estimates(self.model, people, spans), words)

    def calibrated(self, raw: Array, words: Array) -> Totals:
        """Distributions from what the model gives at readings of so many words (R,)."""
        from leadline.finetune.members import moments

        mean, sd, totals = moments(raw)
        return totals if totals is not None else self.calibration.distribution(mean, sd, words)


Model = FrozenModel | AdaptedModel


@dataclass(frozen=True)
class Member:
    """One model of the ensemble and the fold that it never saw."""

    repeat: int
    fold: int
    model: Model


@dataclass(frozen=True)
class Ensemble:
    """The models of a run.

    Attributes:
        members: one model a repeat and fold.
        left_out: person -> repeat -> fold that left the person out, for training people.
        source: readers of frozen models; None for adapted ones.
        pool: how frozen turn states are combined.
    """

    members: tuple[Member, ...]
    left_out: Mapping[str, Mapping[int, int]]
    source: StateSource | None
    pool: str

    def members_for(self, person_id: str) -> tuple[int, ...]:
        """Members that may estimate this person: all, or those that left the person out."""
        folds = self.left_out.get(person_id)
        return tuple(
            row
            for row, member in enumerate(self.members)
            if folds is None or folds.get(member.repeat) == member.fold
        )

    def width(self, level: float, person_id: str | None = None) -> float:
        """Nominal level of the central interval that covers `level` of unseen people.

        For a training person only the models that never saw the person have a say.
        """
        widths = [calibration.width(level) for calibration in self._calibrations(person_id)]
        return float(np.mean(widths))

    def centre(self, person_id: str | None = None) -> float:
        """The estimate before a single word: the mean total of the training people.

        For a training person it is that of the models that never saw the person.
        """
        centres = [calibration.centre for calibration in self._calibrations(person_id)]
        return float(np.mean(centres))

    def _calibrations(self, person_id: str | None) -> list[Calibration]:
        rows = range(len(self.members)) if person_id is None else self.members_for(person_id)
        return [self.members[row].model.calibration for row in rows]

    def distributions(
        self,
        people: Sequence[Timeline],
        states: Sequence[PersonStates] | None,
        spans: Sequence[Span],
    ) -> Totals:
        """Averaged distributions of the total at the spans, in order.

        Args:
            people: whose text it is.
            states: their turn states (frozen readers), None for adapted readers.
            spans: readings; `Span.person` is a row of `people`.
        """
        design = None
        if self.source is not None and states is not None:
            design = Design.of(self.source.directions, states, spans, self.pool)

        def estimate(number: int, rows: Ints) -> Totals:
            model = self.members[number].model
            if isinstance(model, AdaptedModel):
                return model.distributions(people, [spans[int(row)] for row in rows])
            assert design is not None, "frozen models come with their readers"
            return model.distribution(design.take(rows))

        return self.average(people, spans, estimate)

    def average(
        self,
        people: Sequence[Timeline],
        spans: Sequence[Span],
        estimate: Callable[[int, Ints], Totals],
    ) -> Totals:
        """Average at each span over the members that may estimate its person.

        Args:
            people: of whom `Span.person` is a row.
            spans: readings.
            estimate: gives the distributions by a member's number at rows of `spans`.
        """
        allowed = {
            row: self.members_for(people[row].person_id) for row in {s.person for s in spans}
        }
        rows_of = [
            np.flatnonzero([number in allowed[span.person] for span in spans])
            for number in range(len(self.members))
        ]
        return Totals.average(
            len(spans),
            ((rows, estimate(number, rows)) for number, rows in enumerate(rows_of) if len(rows)),
        )
