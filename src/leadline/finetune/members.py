"""Fine-tuned readers (LoRA, full) as members of an ensemble.

The model has its own distribution, or a scalar. Its calibration is cross-conformal: the model
of a fold is calibrated on what the models of the *other* folds said of people that those
models never saw, because an inner cross-validation would multiply hours of training. Those
other models were trained on the fold that this one left out, so its labels touch the few
numbers of the calibration in that roundabout way, and nothing else.

The members of an ensemble share one base in memory, which holds the weights of one member at a
time (`SharedBase`): five models on a base of 27 billion weights take one base, not five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leadline.arrays import Array
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import FinetunedModel
from leadline.finetune.shared import SharedReader
from leadline.phq9.distribution import SMALLEST_DEVIATION, Totals

SCALAR_DEVIATION = 4.0  # PHQ-9 points: where a calibration starts; it is fitted, not kept


@dataclass
class SharedBase:
    """The base of a run's members, and the checkpoint whose weights are in it.

    With `shared` it is that of the fits of this process, and so is what it gave of people.
    """

    home: Path | None
    model: FinetunedModel | None = None
    checkpoint: Path | None = None
    shared: SharedReader | None = None

    def load(self, checkpoint: Path) -> FinetunedModel:
        """The model with the weights of `checkpoint`.

        Raises:
            LeadlineError: as `FinetunedModel.load`.
        """
        if self.model is None:
            self.model = FinetunedModel.load(checkpoint, home=self.home, shared=self.shared)
        elif self.checkpoint != checkpoint:
            self.model.load_weights(checkpoint)
        self.checkpoint = checkpoint
        return self.model


@dataclass(frozen=True)
class StoredModel:
    """A fine-tuned member of an ensemble: a checkpoint on disk and the base that it shares."""

    checkpoint: Path
    base: SharedBase

    def predict(self, people: Sequence[TrainPerson]) -> list[np.ndarray]:
        """As `FinetunedModel.predict`."""
        return self.shared().predict(people)

    def shared(self) -> FinetunedModel:
        """The shared base with these weights in it, until another member asks for it."""
        return self.base.load(self.checkpoint)

    def separate(self) -> FinetunedModel:
        """The model on a base of its own, for who uses several members by turns."""
        return FinetunedModel.load(self.checkpoint, home=self.base.home)


def raw_estimates(model: Any, people: Sequence[Timeline], spans: Sequence[Span]) -> Array:
    """What the model's head gives at each span: (len(spans), 28), or (len(spans),)."""
    order: dict[int, list[int]] = {}
    for row, span in enumerate(spans):
        order.setdefault(span.person, []).append(row)
    spanned_people = [
        TrainPerson(people[p].messages, [LabelledSpan(spans[r].first, spans[r].last) for r in rows])
        for p, rows in order.items()
    ]
    estimates = model.predict(spanned_people)
    flat = np.concatenate(estimates).astype(np.float64)
    rows = np.concatenate([np.array(rows) for rows in order.values()])
    out = np.empty_like(flat)
    out[rows] = flat
    return out


def moments(raw: Array) -> tuple[Array, Array, Totals | None]:
    """Mean, deviation and (from a distribution head) the distributions of a head's output."""
    if raw.ndim == 1:
        return raw, np.full(len(raw), SCALAR_DEVIATION), None
    totals = Totals(raw / raw.sum(axis=1, keepdims=True))
    deviation = np.sqrt(np.maximum(totals.variance(), SMALLEST_DEVIATION**2))
    return totals.mean(), deviation, totals
