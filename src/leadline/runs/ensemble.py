"""The models of a run as one ensemble that never estimates a person from their own label.

Each fold of each repeat gives one model. A new person is estimated by all of them, averaged; a
person who was trained on only by those whose fold left that person out. The ledger says who
was left out where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from leadline.arrays import Array, Ints
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span
from leadline.heads.calibration import Calibrated, Calibration
from leadline.heads.candidates import FrozenModel
from leadline.heads.design import Design, PersonStates
from leadline.heads.gaussian_process import GaussianProcess
from leadline.phq9.distribution import Totals
from leadline.runs.state_source import StateSource
from leadline.threads import one_thread


@dataclass(frozen=True)
class AdaptedModel:
    """A fine-tuned reader, calibrated on people that it never saw.

    Attributes:
        model: the stored model.
        calibration: of what its head says.
        scalar: whether the head gives a number.
        keeps_form: whether the head's histogram was calibrated, its form kept. It was not in
            runs of earlier versions: they deliver what they were evaluated on.
    """

    model: Any  # StoredModel; Any, so that frozen runs need not import torch here
    calibration: Calibration
    scalar: bool
    keeps_form: bool = True

    def estimates(self, people: Sequence[Timeline], spans: Sequence[Span]) -> Calibrated:
        """Calibrated estimates at the spans, in order."""
        from leadline.finetune.members import raw_estimates

        words = np.array([people[s.person].user_words()[s.turns].sum() for s in spans], dtype=float)
        return self.calibrated(raw_estimates(self.model, people, spans), words)

    def calibrated(self, raw: Array, words: Array) -> Calibrated:
        """Calibrated estimates from what the head gives at readings of so many words (R,)."""
        from leadline.finetune.members import moments

        mean, sd, histograms = moments(raw)
        if self.keeps_form:
            return self.calibration.calibrated(mean, sd, words, histograms)
        normal = self.calibration.calibrated(mean, sd, words)
        return replace(normal, fixed=histograms if histograms is not None else normal.totals())


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

    def widths(self, level: float, person_ids: Sequence[str]) -> Array:
        """`width` of each person, shape (len(person_ids),)."""
        each = {name: self.width(level, name) for name in set(person_ids)}
        return np.array([each[name] for name in person_ids], dtype=np.float64)

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
        if self.source is None:

            def adapted(number: int, rows: Ints) -> Calibrated:
                model = self.members[number].model
                assert isinstance(model, AdaptedModel), "no other goes without readers"
                return model.estimates(people, [spans[int(row)] for row in rows])

            return self.pool_estimates(people, spans, adapted)
        assert states is not None, "frozen models come with their readers"
        design = Design.of(self.source.directions, states, spans, self.pool)

        def frozen(number: int, rows: Ints) -> Totals:
            model = self.members[number].model
            assert isinstance(model, FrozenModel), "no other comes with readers"
            return model.distribution(design.take(rows))

        with one_thread(max(self._training_rows(), len(spans) // 4)):
            return self.average(people, spans, frozen)

    def _training_rows(self) -> int:
        """Rows that the largest Gaussian process of the frozen models was fitted on."""
        parts = [m.model.parts for m in self.members if isinstance(m.model, FrozenModel)]
        heads = [head for views in parts for _, head in views]
        return max((len(h.dual) for h in heads if isinstance(h, GaussianProcess)), default=0)

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
        rows_of = self.rows_by_member(people, spans)
        return Totals.average(
            len(spans),
            ((rows, estimate(number, rows)) for number, rows in rows_of.items()),
        )

    def pool_estimates(
        self,
        people: Sequence[Timeline],
        spans: Sequence[Span],
        estimate: Callable[[int, Ints], Calibrated],
    ) -> Totals:
        """As `average`, of models whose own deviations cover their disagreement already.

        Each model is calibrated on its own errors. What the models disagree about is part of
        these, and most of it is gone from the error of their average: the average of n models
        has a squared error smaller by the variance among them (Krogh and Vedelsby 1995). The
        average of their distributions is wider by that variance instead, so each is narrowed
        by twice as much first. Where one model speaks, nothing changes.
        """
        rows_of = self.rows_by_member(people, spans)
        parts = {number: estimate(number, rows) for number, rows in rows_of.items()}
        votes, first, second = (np.zeros(len(spans)) for _ in range(3))
        for number, rows in rows_of.items():
            location = parts[number].location
            votes[rows] += 1.0
            first[rows] += location
            second[rows] += location**2
        votes = np.maximum(votes, 1.0)
        among = np.maximum(second / votes - (first / votes) ** 2, 0.0)
        return Totals.average(
            len(spans),
            (
                (rows, parts[number].narrowed(2.0 * among[rows]).totals())
                for number, rows in rows_of.items()
            ),
        )

    def rows_by_member(self, people: Sequence[Timeline], spans: Sequence[Span]) -> dict[int, Ints]:
        """For each member that has a say anywhere the rows of `spans` that it may estimate."""
        allowed = {
            row: self.members_for(people[row].person_id) for row in {s.person for s in spans}
        }
        rows_of = {
            number: np.flatnonzero([number in allowed[span.person] for span in spans])
            for number in range(len(self.members))
        }
        return {number: rows for number, rows in rows_of.items() if len(rows)}
